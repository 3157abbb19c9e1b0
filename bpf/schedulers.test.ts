/** Schedulers over many flows: whom they give them to, and what floods leave of the flow table. */

import { execFileSync } from 'node:child_process';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { usualSelection } from '@l4d/l4d/core/forwarding/backend-selection.ts';
import { flowSlot, sourceSlot } from '@l4d/l4d/core/forwarding/flow-slot.ts';
import { tableOf, type WantedBackend, type WantedVip } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LoadOptions, loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import { counting, mac, tcpFlag } from './testing/packet.ts';
import {
  backend,
  type Family,
  families,
  four,
  sentTo,
  six,
  tcpFrame,
  udpFrame,
  vipOf,
} from './testing/world.ts';

let plane: TestDataPlane;
afterEach(() => plane.close());

const load = (options: LoadOptions = {}): TestDataPlane => {
  plane = loadDataPlane(options);
  return plane;
};

/** Backends of these weights; the last byte of their MAC address is their number. */
function pool(family: Family, weights: readonly number[]): WantedBackend[] {
  return weights.map((weight, n) => ({
    ...backend(family, 0, { weight, mac: mac(`02:00:00:00:01:${(n + 1).toString(16).padStart(2, '0')}`) }),
    address: ipAddress(family.name === 'ipv4' ? `10.0.1.${n + 1}` : `fd00::1:${n + 1}`),
  }));
}

const scheduled = (
  family: Family,
  by: 'turn' | 'load',
  weights: readonly number[],
  more: Partial<WantedVip> = {},
) => vipOf(family, { selection: { ...usualSelection, by }, backends: pool(family, weights), ...more });

/** Number of the backend that a packet went to, from 0. */
function chosen(packet: Uint8Array): number {
  const outcome = plane.send(packet);
  expect(outcome.action).toBe('tx');
  return (outcome.packet[5] ?? 0) - 1;
}

const segment = (family: Family, sourcePort: number, flags: number = tcpFlag.ack, source?: string) =>
  tcpFrame(family, { sourcePort, flags }, undefined, source === undefined ? {} : { source });

function tally(numbers: readonly number[], of: number): number[] {
  return Array.from({ length: of }, (_, n) => numbers.filter((number) => number === n).length);
}

/** Keeps this thread, and with it the packets that it sends, on one CPU; gives how to let it go. */
function stayOnOneCpu(): () => void {
  const affinity = (cpus: string) =>
    execFileSync('taskset', ['-cp', cpus, String(process.pid)], { encoding: 'utf8' });
  const before = /current affinity list: (\S+)/.exec(affinity('0'))?.[1];
  return () => {
    if (before !== undefined) affinity(before);
  };
}

/** As many flows that could be stored as there are. */
const unlimited = { insertsPerSecond: 0, burst: 0 };

describe.each(families)('$name', (family) => {
  it('gives flows in turn, exactly by weight', () => {
    load();
    plane.forwarding.apply(scheduled(family, 'turn', [3, 1, 1]));
    // Each CPU goes round by itself.
    const release = stayOnOneCpu();
    const given = Array.from({ length: 100 }, (_, n) => chosen(segment(family, 2000 + n, tcpFlag.syn)));
    release();
    expect(tally(given, 3)).toEqual([60, 20, 20]);
    for (let at = 0; at < 100; at += 5) expect(tally(given.slice(at, at + 5), 3)).toEqual([3, 1, 1]);
  });

  it('gives flows to the less loaded, weighed, and learns from FIN and RST', () => {
    load();
    const weights = [1, 1, 2];
    const vip = scheduled(family, 'load', weights);
    plane.forwarding.apply(vip);
    const place = (n: number) => {
      const to = chosen(segment(family, n, tcpFlag.syn));
      expect(chosen(segment(family, n))).toBe(to);
      return to;
    };
    const owners = Array.from({ length: 400 }, (_, n) => place(1000 + n));
    const loads = () => vip.backends.map(({ address }) => plane.forwarding.activeFlows(keyOf(vip), address));
    expect(loads()).toEqual(tally(owners, 3));
    // Two of chance keep each within a few flows of its share; chance alone would be off by ten.
    for (const [n, count] of tally(owners, 3).entries()) {
      expect(Math.abs(count - (weights[n] ?? 0) * 100)).toBeLessThan(25);
    }
    for (const [n, owner] of owners.entries()) {
      if (owner === 0) chosen(segment(family, 1000 + n, n % 2 ? tcpFlag.fin | tcpFlag.ack : tcpFlag.rst));
    }
    expect(loads()[0]).toBe(0);
    // A FIN that comes twice counts once.
    chosen(segment(family, 1000 + owners.indexOf(0), tcpFlag.fin | tcpFlag.ack));
    expect(loads()[0]).toBe(0);
    // It is one of the two drawn in 7 of 16 cases, and then always taken; chance alone would give it 50.
    const next = Array.from({ length: 200 }, (_, n) => place(5000 + n));
    expect(tally(next, 3)[0]).toBeGreaterThan(65);
  });

  it('counts no end for a backend that has got the number of another one', () => {
    load();
    const vip = scheduled(family, 'load', [1]);
    plane.forwarding.apply(vip);
    for (const port of [1000, 1001, 1002]) {
      chosen(segment(family, port, tcpFlag.syn));
      chosen(segment(family, port));
    }
    const [old] = vip.backends;
    if (old === undefined) throw new Error('no backend');
    expect(plane.forwarding.activeFlows(keyOf(vip), old.address)).toBe(3);
    const index = plane.forwarding.backendIndex(keyOf(vip), old.address);
    // All leave, and another one comes: it gets the number that is free.
    plane.forwarding.apply({ ...vip, backends: [] });
    const other = { ...old, address: ipAddress(family.name === 'ipv4' ? '10.0.1.9' : 'fd00::1:9') };
    plane.forwarding.apply({ ...vip, backends: [other] });
    expect(plane.forwarding.backendIndex(keyOf(vip), other.address)).toBe(index);
    for (const port of [2000, 2001, 2002, 2003]) {
      chosen(segment(family, port, tcpFlag.syn));
      chosen(segment(family, port));
    }
    for (const port of [1000, 1001, 1002]) plane.send(segment(family, port, tcpFlag.fin | tcpFlag.ack));
    // They were flows of the old one, and begin none with the segment that ends them.
    expect(plane.forwarding.activeFlows(keyOf(vip), other.address)).toBe(4);
  });

  it('takes a count below zero for none, and never for a huge one', () => {
    load();
    const vip = scheduled(family, 'load', [1, 1]);
    plane.forwarding.apply(vip);
    const [low, high] = vip.backends.map(
      ({ address }) => plane.forwarding.backendIndex(keyOf(vip), address) ?? 0,
    );
    if (low === undefined || high === undefined) throw new Error('no backends');
    plane.maps.addBackendFlows(low, -3);
    plane.maps.addBackendFlows(high, 50);
    const given = Array.from({ length: 60 }, (_, n) => chosen(segment(family, 3000 + n, tcpFlag.syn)));
    // It is drawn in three cases of four, and then always taken.
    expect(tally(given, 2)[0]).toBeGreaterThan(30);
    const [address] = vip.backends.map((one) => one.address);
    expect(address && plane.forwarding.activeFlows(keyOf(vip), address)).toBe(0);
  });

  it('answers the same for all ports of a client, or all clients of a prefix', () => {
    load();
    const backends = pool(family, [1, 1, 1, 1, 1]);
    const [bits, prefix] = family.name === 'ipv4' ? [32, 20] : [128, 50];
    for (const sourceBits of [bits, prefix]) {
      const selection = { ...usualSelection, sourceBits };
      plane.forwarding.apply(vipOf(family, { selection, backends }));
      const table = tableOf(backends, { tableSize: 101, selection });
      const seen = new Set<number>();
      for (let site = 0; site < 24; site++) {
        const clients =
          family.name === 'ipv4'
            ? [`10.9.${site * 16}.1`, `10.9.${site * 16 + 15}.9`].filter(() => site < 16)
            : [
                `2001:db8:5:${(site << 14).toString(16).slice(-4)}::1`,
                `2001:db8:5:${((site << 14) + 0x3fff).toString(16).slice(-4)}::7`,
              ];
        for (const client of clients) {
          const expected = table[sourceSlot(ipAddress(client), sourceBits, 101)];
          for (const port of [1000, 2000])
            expect(chosen(segment(family, port, tcpFlag.syn, client))).toBe(expected);
          seen.add(expected ?? -1);
        }
        if (sourceBits === prefix && clients.length > 0) {
          expect(new Set(clients.map((client) => sourceSlot(ipAddress(client), prefix, 101))).size).toBe(1);
        }
      }
      expect(seen.size).toBeGreaterThan(1);
    }
  });

  it.each(['turn', 'load'] as const)('by %s: a flood of SYNs evicts first packets and no flow', (by) => {
    load({ embryonic: 64 });
    plane.forwarding.apply(scheduled(family, by, [1, 1, 1]));
    const real = Array.from({ length: 30 }, (_, n) => {
      const to = chosen(segment(family, 100 + n, tcpFlag.syn));
      expect(chosen(segment(family, 100 + n))).toBe(to);
      return to;
    });
    const before = plane.flowCount();
    for (let n = 0; n < 3000; n++) plane.send(segment(family, 10_000 + n, tcpFlag.syn));
    expect(plane.embryoCount()).toBeLessThanOrEqual(64);
    expect(plane.flowCount()).toBe(before);
    plane.forwarding.apply(scheduled(family, by, [1, 1, 1, 1]));
    expect(real.map((_, n) => chosen(segment(family, 100 + n)))).toEqual(real);
  });

  it('stores flows no faster than it may: a flood of ACKs leaves real flows what they have', () => {
    load({ flows4: 1024 });
    const backends = pool(family, [1, 1, 1]);
    plane.forwarding.apply(vipOf(family, { backends }));
    plane.maps.writeFlowSettings({ insertsPerSecond: 1, burst: 100 });
    const begun = performance.now();
    const real = Array.from({ length: 50 }, (_, n) => chosen(segment(family, 100 + n)));
    for (let n = 0; n < 4000; n++) {
      plane.send(segment(family, 10_000 + n));
      if (n % 100 === 0) for (const port of real.keys()) plane.send(segment(family, 100 + port));
    }
    // The burst, a batch more, and what the seconds let through: minutes where the machine is emulated.
    const most = 180 + (performance.now() - begun) / 1000;
    expect(plane.flowCount()).toBeLessThan(most);
    expect(plane.maps.readReasons()['note_flow_limited']).toBeGreaterThan(3680 - most);
    plane.forwarding.apply(
      vipOf(family, { backends: [...backends, ...pool(family, [1, 1, 1, 1]).slice(3)] }),
    );
    expect(real.map((_, n) => chosen(segment(family, 100 + n)))).toEqual(real);
    // What could not be stored follows the table, as the hash answers.
    const table = tableOf([...backends, ...pool(family, [1, 1, 1, 1]).slice(3)], {
      tableSize: 101,
      selection: usualSelection,
    });
    const late = 10_000 + 3999;
    expect(chosen(segment(family, late))).toBe(table[flowSlot(ipAddress(family.client), late, 80, 101)]);
  });

  it('keeps UDP flows of two datagrams from those of one', () => {
    load({ embryonic: 64 });
    plane.forwarding.apply(scheduled(family, 'turn', [1, 1], { protocol: 'udp' }));
    const datagram = udpFrame(family, counting(12));
    const to = chosen(datagram);
    expect([chosen(datagram), chosen(datagram)]).toEqual([to, to]);
    expect([plane.flowCount(), plane.embryoCount()]).toEqual([1, 0]);
  });
});

describe('a table for each CPU', () => {
  let release: () => void;
  beforeEach(() => {
    release = stayOnOneCpu();
  });
  afterEach(() => release());

  it('holds copies, which do without the shared table, and store again what it has lost', () => {
    load({ tableByCpu: true });
    plane.maps.writeFlowSettings(unlimited);
    for (const family of [four, six]) {
      plane.forwarding.apply(vipOf(family, { idleTicks: 60 }));
      const ack = tcpFrame(family);
      plane.send(ack);
      expect(plane.copyCount()).toBe(0);
      plane.send(ack);
      expect(plane.copyCount()).toBe(1);
      plane.evictShared();
      plane.forwarding.apply(
        vipOf(family, { idleTicks: 60, backends: [backend(family, 0, { weight: 0 }), backend(family, 1)] }),
      );
      // The copy alone knows the flow's backend; a tick later it is in the shared table again.
      expect(Buffer.from(plane.send(ack).packet)).toEqual(Buffer.from(sentTo('02:00:00:00:00:21', ack)));
      plane.ageFlows(1);
      plane.send(ack);
      expect(plane.flowCount()).toBe(1);
      plane.evictCopies();
      expect(Buffer.from(plane.send(ack).packet)).toEqual(Buffer.from(sentTo('02:00:00:00:00:21', ack)));
      plane.evictShared();
      plane.evictCopies();
    }
  });

  it('leaves it to the shared table where the backend of the copy is not up', () => {
    load({ tableByCpu: true });
    plane.forwarding.apply(vipOf(four));
    const ack = tcpFrame(four);
    plane.send(ack);
    plane.send(ack);
    // As if another CPU had begun the connection afresh: the shared entry is another than the copy.
    plane.evictShared();
    const drained = vipOf(four, { backends: [backend(four, 0, { state: 'draining' }), backend(four, 1)] });
    plane.forwarding.apply(drained);
    expect(Buffer.from(plane.send(ack).packet)).toEqual(Buffer.from(sentTo('02:00:00:00:00:22', ack)));
    expect(Buffer.from(plane.send(ack).packet)).toEqual(Buffer.from(sentTo('02:00:00:00:00:22', ack)));
  });
});

function keyOf(vip: WantedVip): string {
  return `${vip.address.family === 4 ? four.vip : six.vip}-${vip.port}-${vip.protocol}`;
}
