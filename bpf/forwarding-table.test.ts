import { systemClock } from '@l4d/kit/clock.ts';
import { mapInfo, updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { usualSelection } from '@l4d/l4d/core/forwarding/backend-selection.ts';
import type { WantedVip } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { createForwardingTable } from '@l4d/l4d/io/forwarding/forwarding-table.ts';
import type { VipRecord } from '@l4d/l4d/io/forwarding/map-codec.ts';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import { backend, families, four, six, vipOf } from './testing/world.ts';

/** The forwarding table against the kernel's own maps. */

let plane: TestDataPlane;
beforeEach(() => {
  plane = loadDataPlane();
});
afterEach(() => plane.close());

const prefixes = {
  ipv4: ['198.51.100.0/24', '198.51.100.0/25', '0.0.0.0/0'].map(ipPrefix),
  ipv6: ['2001:db8::/32', '2001:db8:1::/48', '::/0'].map(ipPrefix),
} as const;

const identityOf = (vip: WantedVip, text: string) => `${text}-${vip.port}-${vip.protocol}`;

describe('a forwarding table', () => {
  it('leaves no source behind, writes a list that somebody else has changed again, and finds one without a VIP', () => {
    const classes = [
      { prefix: ipPrefix('198.51.100.0/24'), policy: 'l7' as const },
      { prefix: ipPrefix('198.51.100.66/32'), policy: 'drop' as const },
    ];
    const vip = vipOf(four, { classes });
    plane.forwarding.apply(vip);
    const [, second] = plane.maps.readAllSources();
    if (second === undefined) throw new Error('no source');
    plane.maps.deleteSource(second);
    expect(plane.forwarding.verify(vip)).toBe('the VIP in the kernel has other policies by source');
    plane.forwarding.refresh('203.0.113.10-80-tcp');
    plane.forwarding.apply(vip);
    expect(plane.forwarding.verify(vip)).toBeUndefined();
    expect(plane.maps.readAllSources()).toHaveLength(2);
    plane.forwarding.apply(vipOf(four, { classes: classes.slice(1) }));
    expect(plane.maps.readAllSources().map(({ policy }) => policy)).toEqual(['drop']);
    // A process that ended between two steps has left a list that no VIP names.
    plane.maps.writeSource({ list: 77, ...(classes[0] as (typeof classes)[0]) });
    createForwardingTable(plane.maps, systemClock);
    expect(plane.maps.readAllSources().map(({ policy }) => policy)).toEqual(['drop']);
    plane.forwarding.remove('203.0.113.10-80-tcp');
    expect(plane.maps.readAllSources()).toEqual([]);
  });

  it('reads back what all VIPs share, and writes again what somebody else has changed', () => {
    const { maps } = plane;
    maps.setFeature('any-port', true);
    maps.writeFragmentHosts([{ mac: Uint8Array.of(2, 0, 0, 0, 0, 9), isSelf: true }]);
    maps.writeNatSettings({ sources: {}, ports: { first: 30_000, last: 30_999 } });
    expect(maps.sharedDifference()).toBeUndefined();
    for (const [map, size, name] of [
      [plane.fds.features, 4, 'the parts of the program that are in use'],
      [
        plane.fds.fragment_hosts,
        mapInfo(plane.fds.fragment_hosts).valueSize,
        'the hosts that may place fragments',
      ],
      [plane.fds.nat_settings, mapInfo(plane.fds.nat_settings).valueSize, 'the settings of NAT'],
    ] as const) {
      updateElement(map, new Uint8Array(4), new Uint8Array(size));
      expect(maps.sharedDifference()).toBe(name);
      maps.writeSharedAgain();
      expect(maps.sharedDifference()).toBeUndefined();
    }
    expect(maps.hasFeature('any-port')).toBe(true);
  });

  it('compares the loads of a VIP that gets its first backend by NAT', () => {
    const loads = { ...usualSelection, by: 'load' as const };
    const before = vipOf(four, { selection: loads, backends: [backend(four, 0)] });
    const after = { ...before, backends: [...before.backends, backend(four, 1, { forward: 'nat' })] };
    plane.forwarding.apply(before);
    plane.forwarding.apply(after);
    expect(plane.forwarding.verify(after)).toBeUndefined();
    expect(plane.forwarding.comparedBackends().size).toBe(2);
  });

  it('adopts exactly what another one wrote, and then has nothing to do', () => {
    const aVip = fc.record({
      family: fc.constantFrom(four, six),
      port: fc.integer({ min: 80, max: 84 }),
      protocol: fc.constantFrom('tcp' as const, 'udp' as const),
      onBackendDown: fc.constantFrom('keep' as const, 'repick' as const, 'reset' as const),
      members: fc.subarray([0, 1] as const),
      state: fc.constantFrom('up' as const, 'draining' as const, 'down' as const),
      policies: fc.subarray(['forward', 'l7', 'drop'] as const),
    });
    fc.assert(
      fc.property(fc.array(aVip, { minLength: 1, maxLength: 8 }), (vips) => {
        const wanted = new Map<string, WantedVip>();
        for (const { family, members, state, policies, ...settings } of vips) {
          const backends = members.map((n) => backend(family, n, n === 0 ? { state } : {}));
          const classes = policies.map((policy, at) => ({
            prefix: prefixes[family.name][at] as IpPrefix,
            policy,
          }));
          const vip = vipOf(family, { ...settings, backends, ...(classes.length === 0 ? {} : { classes }) });
          wanted.set(identityOf(vip, family.vip), vip);
          plane.forwarding.apply(vip);
        }
        const adopted = createForwardingTable(plane.maps, systemClock);
        expect(adopted.identities().sort()).toEqual([...wanted.keys()].sort());
        for (const vip of wanted.values()) {
          expect(adopted.verify(vip)).toBeUndefined();
          expect(adopted.apply(vip)).toBe(0);
        }
        for (const identity of wanted.keys()) expect(plane.forwarding.remove(identity)).toBe(true);
        expect(plane.maps.readAllVips()).toEqual([]);
        expect(plane.maps.readAllBackends().size).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('frees backends and addresses whose VIP a crash had already removed', () => {
    plane.forwarding.apply(vipOf(four));
    plane.maps.deleteVip({ address: ipAddress(four.vip), port: 80, protocol: 6 });
    const adopted = createForwardingTable(plane.maps, systemClock);
    expect(adopted.identities()).toEqual([]);
    expect(plane.maps.readAllBackends().size).toBe(0);
    expect(plane.maps.readAllVips()).toEqual([]);
    // The index is free again, with a generation that flows of before do not have.
    adopted.apply(vipOf(four));
    expect(plane.maps.readBackend(0)).toMatchObject({ generation: 1, vipId: 1 });
  });

  it.each<[string, RegExp, (record: VipRecord, first: VipRecord) => Partial<VipRecord>]>([
    ['the number', /number 1 of .* is taken/, (_, first) => ({ id: first.id })],
    ['the slots', /table of .* overlaps/, (_, first) => ({ tableOffset: first.tableOffset + 1 })],
    [
      'a number that no VIP can have',
      /number \d+ of .* out of range/,
      () => ({ id: plane.maps.capacity.vips }),
    ],
    ['slots past the end', /the end of the map/, () => ({ tableOffset: plane.maps.capacity.slots })],
  ])('drops a VIP that has %s of another, tells it, and programs it anew', (_, told, damage) => {
    const vips = [vipOf(four), vipOf(four, { port: 81 })];
    for (const vip of vips) plane.forwarding.apply(vip);
    const [first, second] = vips.map((vip) => ({ address: vip.address, port: vip.port, protocol: 6 }));
    const [firstRecord, record] = [first, second].map((key) => key && plane.maps.readVip(key));
    if (!second || !firstRecord || !record) throw new Error('the VIPs are not there');
    plane.maps.writeVip(second, { ...record, ...damage(record, firstRecord) });
    const contradictions: string[] = [];
    const adopted = createForwardingTable(plane.maps, systemClock, (what) => contradictions.push(what));
    expect(contradictions).toEqual([expect.stringMatching(told)]);
    expect(adopted.identities()).toHaveLength(1);
    for (const vip of vips) {
      adopted.apply(vip);
      expect(adopted.verify(vip)).toBeUndefined();
    }
    const again = createForwardingTable(plane.maps, systemClock, (what) => contradictions.push(what));
    expect(contradictions).toHaveLength(1);
    for (const vip of vips) expect(again.apply(vip)).toBe(0);
  });

  it('frees a backend that a VIP has twice', () => {
    plane.forwarding.apply(vipOf(four));
    const free = plane.maps.readAllBackends().size;
    plane.maps.writeBackend(free, plane.maps.readBackend(0));
    const contradictions: string[] = [];
    const adopted = createForwardingTable(plane.maps, systemClock, (what) => contradictions.push(what));
    expect(contradictions).toEqual([expect.stringMatching(/is there twice/)]);
    expect(plane.maps.readAllBackends().size).toBe(free);
    expect(adopted.apply(vipOf(four))).toBe(0);
  });

  it('sees by reading back that the kernel holds something else', () => {
    for (const family of families) {
      const vip = vipOf(family);
      expect(plane.forwarding.verify(vip)).toMatch(/not in the kernel/);
      plane.forwarding.apply(vip);
      expect(plane.forwarding.verify(vip)).toBeUndefined();
      expect(plane.forwarding.verify({ ...vip, onBackendDown: 'reset' })).toMatch(/another policy/);
      expect(plane.forwarding.verify({ ...vip, tableSize: 11 })).toMatch(/another size/);
    }
    plane.maps.writeSlots(0, Uint32Array.of(7));
    expect(plane.forwarding.verify(vipOf(four))).toMatch(/table in the kernel differs/);
  });

  it('mends what somebody else changed, and nothing else', () => {
    for (const family of families) {
      const vip = vipOf(family);
      plane.forwarding.apply(vip);
      const key = identityOf(vip, family.vip);
      const held = plane.forwarding.held(key);
      const entry = plane.maps.readAllVips().find(({ record }) => record.id === held?.id);
      const spoil = [
        () => plane.maps.writeSlots(entry?.record.tableOffset ?? 0, Uint32Array.of(99)),
        () => entry !== undefined && plane.maps.deleteVip(entry.key),
        () => entry !== undefined && plane.maps.writeVip(entry.key, { ...entry.record, tableSize: 0 }),
      ];
      for (const change of spoil) {
        change();
        expect(plane.forwarding.verify(vip)).toBeDefined();
        plane.forwarding.refresh(key);
        expect(plane.forwarding.apply(vip)).toBeGreaterThan(0);
        expect(plane.forwarding.verify(vip)).toBeUndefined();
      }
      plane.forwarding.refresh(key);
      expect(plane.forwarding.apply(vip)).toBe(0);
    }
  });

  it('server ids go from one backend to another within one change', () => {
    const quic = (...ids: ReadonlyArray<readonly [number, string]>) =>
      vipOf(four, {
        protocol: 'udp',
        selection: { ...usualSelection, quic: { configId: 0, serverIdLength: 2 } },
        backends: ids.map(([n, serverId]) => ({
          ...backend(four, 0),
          address: ipAddress(`10.2.0.${n}`),
          serverId,
        })),
      });
    const changes = [
      quic([1, '0001'], [2, '0002']),
      // They change places; each takes the other's; a new backend takes that of one that goes; they go.
      quic([1, '0002'], [2, '0001']),
      quic([1, '0003'], [2, '0002'], [3, '0001']),
      quic([4, '0003'], [2, '0001'], [3, '0002']),
      quic([2, '0001']),
    ];
    for (const vip of changes) {
      plane.forwarding.apply(vip);
      expect(plane.forwarding.verify(vip)).toBeUndefined();
      expect(plane.maps.readQuicServers()).toHaveLength(vip.backends.length);
    }
    // What somebody else has taken away is written again.
    const [vip] = changes.slice(-1) as [WantedVip];
    plane.maps.deleteQuicServer(1, '0001');
    expect(plane.forwarding.verify(vip)).toMatch(/server id/);
    plane.forwarding.refresh(identityOf(vip, four.vip));
    plane.forwarding.apply(vip);
    expect(plane.forwarding.verify(vip)).toBeUndefined();
  });

  it('refuses, in words for the operator, what does not fit, and holds what did', () => {
    const many = (count: number, from: number) =>
      Array.from({ length: count }, (_, n) => ({
        ...backend(four, 0),
        address: ipAddress(`10.2.0.${from + n}`),
      }));
    plane.forwarding.apply(vipOf(four, { backends: many(60, 1) }));
    const tooMany = vipOf(four, { port: 81, backends: many(5, 100) });
    expect(() => plane.forwarding.apply(tooMany)).toThrow(/no room for 5 more backends: 4 of 64/);
    plane.forwarding.apply({ ...tooMany, backends: many(4, 100) });
    expect(() =>
      plane.forwarding.apply(vipOf(four, { port: 82, tableSize: 16_381, backends: [] })),
    ).not.toThrow();
    const tooLarge = vipOf(four, { tableSize: 16_381, backends: many(60, 1) });
    expect(() => plane.forwarding.apply(tooLarge)).toThrow(/no room for a Maglev table/);
    expect(plane.forwarding.verify(vipOf(four, { backends: many(60, 1) }))).toBeUndefined();
    for (let port = 100; port < 129; port++) plane.forwarding.apply(vipOf(four, { port, backends: [] }));
    expect(() => plane.forwarding.apply(vipOf(four, { port: 129, backends: [] }))).toThrow(
      /no room for another VIP/,
    );
  });
});
