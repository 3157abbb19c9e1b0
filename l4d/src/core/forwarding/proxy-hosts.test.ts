import { ipAddress } from '@l4d/kit/ip-address.ts';
import { describe, expect, it } from 'vitest';
import { type DeclaredProxyHost, type ProxyHostState, proxySlots, proxyTable } from './proxy-hosts.ts';

const host = (last: number, state: ProxyHostState = 'active'): DeclaredProxyHost => ({
  address: ipAddress(`10.0.0.${last}`),
  state,
});
/** Addresses' last bytes of owner and alternate, by slot. */
const placed = (hosts: readonly DeclaredProxyHost[]) =>
  proxyTable(hosts).map(({ owner, alternate }) => ({
    owner: hosts[owner]?.address.bytes[3],
    alternate: alternate === undefined ? undefined : hosts[alternate]?.address.bytes[3],
  }));

describe('proxyTable', () => {
  it('does not depend on the order, and is even', () => {
    const hosts = Array.from({ length: 32 }, (_, n) => host(n + 1));
    const slots = placed(hosts);
    expect(placed(hosts.toReversed())).toEqual(slots);
    const shares = new Map<unknown, number>();
    for (const { owner } of slots) shares.set(owner, (shares.get(owner) ?? 0) + 1);
    expect(shares.size).toBe(32);
    for (const count of shares.values()) expect(Math.abs(count - proxySlots / 32)).toBeLessThan(50);
  });

  it.each(['joining', 'active'] as const)(
    'a host that comes as %s takes its share alone, and who had it is asked',
    (state) => {
      const before = placed([host(1), host(2)]);
      const after = placed([host(1), host(2), host(3, state)]);
      let moved = 0;
      for (const [slot, { owner, alternate }] of after.entries()) {
        if (owner === before[slot]?.owner) continue;
        moved += 1;
        expect([owner, alternate]).toEqual([3, before[slot]?.owner]);
      }
      expect(moved / proxySlots).toBeCloseTo(1 / 3, 1);
    },
  );

  it('two hosts that join at once: the one of before is asked', () => {
    const before = placed([host(1), host(2)]);
    const after = placed([host(1), host(2), host(3, 'joining'), host(4, 'joining')]);
    for (const [slot, { owner, alternate }] of after.entries()) {
      if (owner === 3 || owner === 4) expect(alternate).toBe(before[slot]?.owner);
      else expect(owner).toBe(before[slot]?.owner);
    }
  });

  it('a draining host gets nothing new, and is asked for what it had', () => {
    const before = placed([host(1), host(2), host(3)]);
    const after = placed([host(1), host(2), host(3, 'draining')]);
    for (const [slot, { owner, alternate }] of after.entries()) {
      expect(owner).not.toBe(3);
      if (before[slot]?.owner === 3) expect(alternate).toBe(3);
      else expect(owner).toBe(before[slot]?.owner);
    }
  });

  it('one host has nobody to ask; draining ones alone still serve', () => {
    expect(new Set(placed([host(1)]).map((one) => JSON.stringify(one)))).toEqual(new Set(['{"owner":1}']));
    expect(placed([host(1, 'draining')])[0]?.owner).toBe(1);
    expect(proxyTable([])).toEqual([]);
  });
});
