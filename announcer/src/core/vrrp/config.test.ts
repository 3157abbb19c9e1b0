import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { describe, expect, it } from 'vitest';
import { type VrrpInput, vrrpSchema } from './config.ts';
import { advertisedAddresses, planGroup } from './group-plan.ts';
import { virtualLinkLocal } from './virtual-mac.ts';

const group = { id: 'web', interface: 'eth0', vrid: 51, addresses: ['10.0.0.50', 'fd00::50', 'FD00::50'] };
const parse = (input: VrrpInput) => vrrpSchema.safeParse(input);
const plans = (changes: object = {}) =>
  vrrpSchema.parse({ groups: [{ ...group, ...changes }] }).groups.flatMap(planGroup);

describe('plan of a group', () => {
  it('is one virtual router a family; IPv6 begins with a link-local address', () => {
    expect(plans().map(({ key, addresses }) => [key, addresses.map(formatIpAddress)])).toEqual([
      ['web/51/4', ['10.0.0.50']],
      ['web/51/6', ['fe80::200:5eff:fe00:233', 'fd00::50']],
    ]);
    expect(virtualLinkLocal(1)).toEqual(ipAddress('fe80::200:5eff:fe00:201'));
  });

  it('is one a host with share, each with its priority', () => {
    const share = { vrids: [61, 62, 63], step: 10 };
    const shared = plans({ vrid: 62, priority: 200, useVmac: true, share, addresses: ['10.0.0.50'] });
    expect(shared.map(({ vrid, priority }) => [vrid, priority])).toEqual([
      [61, 190],
      [62, 200],
      [63, 180],
    ]);
  });

  it('names as many addresses as a packet holds', () => {
    const many = Array.from({ length: 1000 }, (_, index) => [
      `10.1.${index >> 8}.${index & 255}`,
      `fd00::${index + 1}`,
    ]);
    const [four, six] = plans({ addresses: many.flat() });
    if (four === undefined || six === undefined) throw new Error('two plans');
    expect(four.addresses).toHaveLength(1000);
    expect(advertisedAddresses(four, 1500)).toHaveLength(255);
    expect(advertisedAddresses(six, 1500)).toHaveLength(90);
  });
});

describe('the schema refuses', () => {
  it.each([
    ['an identifier of another group', [group, { ...group, id: 'other' }], 'vrid'],
    ['a name twice', [group, { ...group, vrid: 52 }], 'id'],
    ['an interval between hundredths', [{ ...group, advertiseIntervalMs: 15 }], 'advertiseIntervalMs'],
    ['share without the own identifier', [{ ...group, useVmac: true, share: { vrids: [52, 53] } }], 'vrids'],
    ['share without the virtual MAC address', [{ ...group, share: { vrids: [51, 52] } }], 'useVmac'],
    ['accept of frames that nobody takes', [{ ...group, useVmac: true, accept: true }], 'accept'],
    ['what is no address', [{ ...group, addresses: ['10.0.0'] }], 'addresses'],
  ])('%s', (_name, groups, field) => {
    const parsed = parse({ groups });
    expect(parsed.success ? [] : parsed.error.issues.flatMap(({ path }) => path)).toContain(field);
  });
});
