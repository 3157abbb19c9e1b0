import { expect, it } from 'vitest';
import { vrrpSchema } from './config.ts';
import { withdrawFromGroups } from './withdrawal.ts';

const vrrp = vrrpSchema.parse({
  groups: [
    { id: 'web', interface: 'eth0', vrid: 51, addresses: ['10.0.0.50', 'fd00::50'] },
    { id: 'mail', interface: 'eth0', vrid: 52, addresses: ['10.0.0.60'] },
  ],
});
const partOf = (names: readonly string[] | 'all') =>
  withdrawFromGroups(vrrp, names).groups.flatMap(({ id, enabled }) => (enabled ? [id] : []));

it('takes a group out of the election for any address of it, however it is written', () => {
  expect(partOf(['10.0.0.50/32'])).toEqual(['mail']);
  expect(partOf(['FD00:0::50/128#2'])).toEqual(['mail']);
  expect(partOf(['10.0.0.0/24', '10.0.0.51/32', 'nonsense'])).toEqual(['web', 'mail']);
  expect(partOf('all')).toEqual([]);
});
