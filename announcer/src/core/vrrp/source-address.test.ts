import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, it } from 'vitest';
import { sourceAddress } from './source-address.ts';

const choose = (own: readonly string[], virtual: readonly string[], before?: string) => {
  const chosen = sourceAddress(
    own.map(ipAddress),
    virtual.map(ipAddress),
    before === undefined ? undefined : ipAddress(before),
  );
  return chosen === undefined ? undefined : formatIpAddress(chosen);
};

it('is the first that does not move, and stays while the interface has it', () => {
  expect(choose(['fe80::200:5eff:fe00:233', 'fe80::1'], ['fe80::200:5eff:fe00:233'])).toBe('fe80::1');
  expect(choose(['fe80::2', 'fe80::1'], [], 'fe80::1')).toBe('fe80::1');
  expect(choose(['fe80::2'], [], 'fe80::1')).toBe('fe80::2');
  expect(choose(['10.0.0.50'], ['10.0.0.50'])).toBe('10.0.0.50');
  expect(choose([], [])).toBeUndefined();
});
