import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { parseDesiredState } from './desired-state.ts';
import { outsideSubnet, subnetWarnings } from './outside-subnet.ts';

const subnets = [ipPrefix('10.77.0.0/24')];

test('a backend in no subnet of the interface is told how it is reached', () => {
  expect(outsideSubnet(subnets, ipAddress('10.78.0.1'))).toBe(
    "outside the subnets of this host's interfaces (10.77.0.0/24): forward: l2 needs it in one of them, forward: ipip, gue or vxlan reaches it",
  );
  expect(outsideSubnet(subnets, ipAddress('10.77.0.1'))).toBeUndefined();
});

test('nothing is said where the subnets of the family are not known', () => {
  expect(outsideSubnet(subnets, ipAddress('fd00::1'))).toBeUndefined();
  expect(outsideSubnet([ipPrefix('10.77.0.1/32')], ipAddress('10.78.0.1'))).toBeUndefined();
  expect(outsideSubnet([ipPrefix('fd00::/64')], ipAddress('fe80::1'))).toBeUndefined();
});

test('a plan warns of backends with forward: l2 alone', () => {
  const parsed = parseDesiredState({
    version: 1,
    vips: [
      {
        ...{ name: 'web', address: '203.0.113.1', port: 80 },
        backends: [
          { address: '10.77.0.1' },
          { address: '10.78.0.1' },
          { address: '10.78.0.2', forward: 'ipip' },
        ],
      },
    ],
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  expect(subnetWarnings(parsed.value.vips, subnets)).toEqual([
    expect.stringMatching(
      /^VIP "web": backend 10\.78\.0\.1 is outside the subnets of this host's interfaces/,
    ),
  ]);
});
