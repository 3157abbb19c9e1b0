/** The table of NAT from outside of single packets: ports that run out, many clients at once, and the daemon's sweep. */

import { mapKeys } from '@l4d/kit/ffi/libbpf.ts';
import { type IdleConnection, resetToBackend, resetToClient } from '@l4d/l4d/core/nat-reset.ts';
import { objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { unfitIndex } from '@l4d/l4d/io/forwarding/map-migration.ts';
import { openNatEnder } from '@l4d/l4d/io/forwarding/nat-end.ts';
import { createNatTable } from '@l4d/l4d/io/forwarding/nat-table.ts';
import { openTickReader } from '@l4d/l4d/io/forwarding/tick.ts';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { natBackend, natVip, segment } from './fixtures/nat.ts';
import { internetChecksum } from './testing/checksum.ts';
import { loadDataPlane, ownMac, type TestDataPlane, testNat } from './testing/data-plane.ts';
import { type Ends, endsOfConnection, frameOf, type Hop, leg } from './testing/nat-packets.ts';
import { etherType, mac, type TcpParts, tcpFlag, word } from './testing/packet.ts';
import { networkOffset } from './testing/tunnel-packets.ts';
import { verifiedChecksums } from './testing/verify-checksums.ts';
import { backendMacs, type Family, families, four, idleTicks } from './testing/world.ts';

let plane: TestDataPlane | undefined;

afterEach(() => {
  plane?.close();
  plane = undefined;
});

const from = (family: Family, port: number, content = segment(tcpFlag.syn)) =>
  frameOf(leg.fromClient, { ...endsOfConnection(family).request, sourcePort: port }, content);

/** Source port of a frame without tags, options and extension headers. */
const portOf = (frame: Uint8Array) =>
  ((frame[14 + (frame[12] === 8 ? 20 : 40)] ?? 0) << 8) + (frame[15 + (frame[12] === 8 ? 20 : 40)] ?? 0);

describe.each(families.map((family) => [family.name, family] as const))('%s', (_name, family) => {
  it('takes every port of a small range, once for each backend, and then none', () => {
    plane = loadDataPlane({ nat: { ...testNat, ports: { first: 20_000, last: 20_031 } } });
    plane.forwarding.apply(natVip(family, { backends: [natBackend(family, 0), natBackend(family, 1)] }));
    const taken = new Map<string, Set<number>>();
    let refused = 0;
    for (let client = 1; client <= 400; client++) {
      const { action, packet, reasons } = plane.send(from(family, client));
      if (action === 'drop') {
        expect(reasons).toEqual(['drop_nat_full']);
        refused += 1;
        continue;
      }
      expect(verifiedChecksums(packet)).toBe(true);
      const backend = Buffer.from(packet.subarray(0, 6)).toString('hex');
      const ports = taken.get(backend) ?? new Set();
      expect(ports.has(portOf(packet)), `port ${portOf(packet)} of ${backend}`).toBe(false);
      taken.set(backend, ports.add(portOf(packet)));
    }
    expect([...taken.values()].map(({ size }) => size)).toEqual([32, 32]);
    expect(refused).toBe(400 - 64);
    expect(plane.natEntryCount()).toBe(128);
  });

  it('finds a free port wherever it is, however many there are', () => {
    for (const last of [20_032, 20_044, 20_059]) {
      const ports = { first: 20_000, last };
      plane = loadDataPlane({ nat: { ...testNat, ports } });
      plane.forwarding.apply(natVip(family));
      // Who looks at 32 different ports meets a free one, when 31 are taken at most.
      const most = 32;
      const clients = Array.from({ length: 300 }, (_, n) => n + 1);
      const begun = clients.filter((client) => plane?.send(from(family, client)).action === 'tx');
      const first = clients.slice(0, most);
      expect(begun.slice(0, most), `${last - ports.first + 1} ports`).toEqual(first);
      plane.close();
      plane = undefined;
    }
  });

  it('answers of connections that have begun come through when the ports are declared anew', () => {
    plane = loadDataPlane();
    plane.forwarding.apply(natVip(family));
    const { request, answer } = endsOfConnection(family);
    plane.send(frameOf(leg.fromClient, request, segment(tcpFlag.syn)));
    plane.maps.writeNatSettings({ ...testNat, ports: { first: 30_000, last: 30_999 } });
    const answered = plane.send(frameOf(leg.fromBackend, answer, segment(tcpFlag.syn | tcpFlag.ack)));
    expect(answered.reasons).toEqual(['tx_nat_return']);
    plane.maps.writeNatSettings({ ...testNat, ports: undefined });
    expect(plane.send(frameOf(leg.fromBackend, answer, segment(tcpFlag.ack))).reasons).toEqual([
      'tx_nat_return',
    ]);
  });

  it('does not fit into a table with less room than it has connections', () => {
    plane = loadDataPlane({ nat: { ...testNat, ports: { first: 20_000, last: 20_031 } } });
    plane.forwarding.apply(natVip(family));
    for (let client = 1; client <= 5; client++) plane.send(from(family, client));
    const name = family.name === 'ipv4' ? 'nat4_in' : 'nat6_in';
    expect(unfitIndex(plane.fds, { [name]: 4 })).toBe(name);
    expect(unfitIndex(plane.fds, { [name]: 5 })).toBeUndefined();
  });

  it('a full table refuses, forgets nobody, and takes over what has expired', () => {
    plane = loadDataPlane({ natFlows: 16, nat: { ...testNat, ports: { first: 20_000, last: 20_031 } } });
    plane.forwarding.apply(natVip(family));
    const outcomes = Array.from({ length: 40 }, (_, n) => plane?.send(from(family, n + 1)).action);
    expect(outcomes.filter((action) => action === 'tx')).toHaveLength(16);
    expect(outcomes.slice(0, 16)).toEqual(new Array(16).fill('tx'));
    plane.ageFlows(29);
    expect(plane.send(from(family, 1000)).notes).toEqual(['note_nat_reused']);
    expect(plane.natEntryCount()).toBe(32);
  });

  it('is swept: what has expired goes, with both entries; what has not is counted', async () => {
    plane = loadDataPlane({ nat: { ...testNat, ports: { first: 20_000, last: 29_999 } } });
    plane.forwarding.apply(natVip(family));
    for (let client = 1; client <= 300; client++) plane.send(from(family, client));
    const table = createNatTable(plane.fds, objectTypes('l4d_xdp'));
    const tick = openTickReader();
    const whole = async () => {
      for (let part = 0; part < 20; part++) {
        const totals = await table.sweep(tick.now(), 256);
        if (totals !== undefined) return totals;
      }
      throw new Error('the sweep has no end');
    };
    const counted = await whole();
    expect(counted.phases).toEqual({ opening: 300, established: 0, closing: 0 });
    expect(counted.sources.map(({ connections }) => connections)).toEqual([300]);
    plane.ageFlows(28);
    plane.send(from(family, 1));
    plane.ageFlows(5);
    expect((await whole()).phases.opening).toBe(1);
    tick.close();
    expect(table.forgotten()).toBe(299);
    expect(plane.natEntryCount()).toBe(2);
  });

  it('is swept with turns for others, wherever those lie that have expired', async () => {
    // Of so many ports none is ever hard to find: a packet looks at a few of them alone.
    plane = loadDataPlane({ nat: { ...testNat, ports: { first: 20_000, last: 29_999 } } });
    plane.forwarding.apply(natVip(family));
    for (let client = 1; client <= 400; client++) plane.send(from(family, client));
    // Most of the time that they have: the others' is over ten ticks later, on a slow machine too.
    plane.ageFlows(19);
    const table = createNatTable(plane.fds, objectTypes('l4d_xdp'));
    for await (const batch of table.read(family === four ? 4 : 6))
      for (const at of [127, 255, 383]) plane.send(from(family, batch[at]?.clientPort ?? 0));
    plane.ageFlows(14);
    const seen = [0];
    let isOver = false;
    const look = () => {
      seen.push(table.forgotten());
      if (!isOver) setImmediate(look);
    };
    look();
    const tick = openTickReader();
    for (let part = 0; part < 2; part++) await table.sweep(tick.now(), 512);
    isOver = true;
    tick.close();
    seen.push(table.forgotten());
    expect(seen.at(-1)).toBe(397);
    expect(Math.max(...seen.map((count, n) => count - (seen[n - 1] ?? 0)))).toBeLessThanOrEqual(128);
  });

  it('tells of connections that were idle for too long what both ends wait for, to the byte', async () => {
    for (const tags of [[], [[etherType.vlan, 77]]] as const) {
      plane = loadDataPlane();
      plane.forwarding.apply(natVip(family));
      const { request, translatedRequest, answer, translatedAnswer } = endsOfConnection(family);
      const send = (hop: Hop, ends: Ends, parts: Partial<TcpParts>) =>
        plane?.send(frameOf(hop, ends, { kind: 'tcp', parts }, { tags })).reasons;
      send(leg.fromClient, request, { flags: tcpFlag.syn, sequence: 100, acknowledged: 0 });
      send(leg.fromBackend, answer, {
        flags: tcpFlag.syn | tcpFlag.ack,
        sequence: 0xfffffff0,
        acknowledged: 101,
      });
      send(leg.fromClient, request, { sequence: 101, acknowledged: 0xfffffff1 });
      // Later ones of the same tick too, past where the numbers begin anew.
      send(leg.fromClient, request, { sequence: 101, acknowledged: 0x10 });
      send(leg.fromBackend, answer, { sequence: 0x10, acknowledged: 0x401 });
      // What has no acknowledgement says nothing.
      send(leg.fromClient, request, { flags: 0, sequence: 101, acknowledged: 7 });
      const seen: IdleConnection[] = [];
      const table = createNatTable(plane.fds, objectTypes('l4d_xdp'));
      const tick = openTickReader();
      const whole = async () => {
        while ((await table.sweep(tick.now(), 256, (one) => seen.push(one))) === undefined);
      };
      await whole();
      expect(seen).toEqual([]);
      plane.ageFlows(idleTicks + 2);
      await whole();
      tick.close();
      expect(plane.natEntryCount()).toBe(0);
      const [idle] = seen;
      if (idle === undefined) throw new Error('nobody was told');
      expect(seen).toHaveLength(1);
      const step = { source: mac(ownMac), tags: idle.way.tags };
      const reset = (hop: Hop, ends: Ends, sequence: number, acknowledged: number) => {
        const parts = { flags: tcpFlag.rst | tcpFlag.ack, sequence, acknowledged, window: 0 };
        const changes = { ttl: 64, hopLimit: 64, tags };
        const frame = frameOf(hop, ends, { kind: 'tcp', parts }, changes);
        return Buffer.from(withoutIdentification(frame)).toString('hex');
      };
      const hex = (frame: Uint8Array | undefined) => Buffer.from(frame ?? []).toString('hex');
      expect(hex(resetToClient(idle, { ...step, destination: idle.way.mac }))).toBe(
        reset(leg.toClient, translatedAnswer, 0x10, 0x401),
      );
      expect(hex(resetToBackend(idle, { ...step, destination: mac(backendMacs[0]) }))).toBe(
        reset(leg.toBackend, translatedRequest, 0x401, 0x10),
      );
      plane.close();
      plane = undefined;
    }
  });

  it('tells nobody of what one side has ended, or never began', async () => {
    const { request, answer } = endsOfConnection(family);
    const opening = [segment(tcpFlag.syn)];
    const reset = [segment(tcpFlag.syn), segment(tcpFlag.syn | tcpFlag.ack), segment(tcpFlag.ack)];
    for (const [contents, last] of [
      [opening, []],
      [reset, [[leg.fromBackend, answer, segment(tcpFlag.rst | tcpFlag.ack)]]],
      [
        reset,
        [
          [leg.fromClient, request, segment(tcpFlag.fin | tcpFlag.ack)],
          [leg.fromBackend, answer, segment(tcpFlag.fin | tcpFlag.ack)],
        ],
      ],
    ] as const) {
      plane = loadDataPlane();
      plane.forwarding.apply(natVip(family));
      for (const [n, content] of contents.entries())
        plane.send(
          n === 1 ? frameOf(leg.fromBackend, answer, content) : frameOf(leg.fromClient, request, content),
        );
      for (const [hop, ends, content] of last) plane.send(frameOf(hop, ends, content));
      plane.ageFlows(2 * idleTicks);
      const table = createNatTable(plane.fds, objectTypes('l4d_xdp'));
      const tick = openTickReader();
      let told = 0;
      for (let part = 0; part < 4; part++) await table.sweep(tick.now(), 256, () => (told += 1));
      tick.close();
      expect({ told, left: plane.natEntryCount() }).toEqual({ told: 0, left: 0 });
      plane.close();
      plane = undefined;
    }
  });

  it('is never without a connection that lives, whoever takes it to be over', () => {
    plane = loadDataPlane();
    plane.forwarding.apply(natVip(family));
    const { request, answer } = endsOfConnection(family);
    plane.send(frameOf(leg.fromClient, request, segment(tcpFlag.syn)));
    const [map, keyName] =
      family.name === 'ipv4' ? (['nat4_in', 'nat4_tuple'] as const) : (['nat6_in', 'nat6_tuple'] as const);
    const [key] = mapKeys(plane.fds[map], structLayout(objectTypes('l4d_xdp'), keyName).size);
    if (key === undefined) throw new Error('no connection');
    const ender = openNatEnder(plane.fds);
    expect(ender.end(family === four ? 4 : 6, key)).toBeUndefined();
    // Of 28 ticks: what is left is enough for a machine on which these lines take seconds.
    plane.ageFlows(18);
    expect(ender.end(family === four ? 4 : 6, key)).toBeUndefined();
    expect(plane.natEntryCount()).toBe(2);
    expect(plane.send(frameOf(leg.fromBackend, answer, segment(tcpFlag.syn | tcpFlag.ack))).reasons).toEqual([
      'tx_nat_return',
    ]);
    plane.ageFlows(60);
    expect(ender.end(family === four ? 4 : 6, key)).toBeDefined();
    expect(ender.end(family === four ? 4 : 6, key)).toBeUndefined();
    expect(plane.natEntryCount()).toBe(0);
  });

  it('keeps checksums right whatever the payload, odd sums among them', () => {
    plane = loadDataPlane();
    plane.forwarding.apply(natVip(family, { protocol: 'udp' }));
    const on = plane;
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 40 }), (payload) => {
        const { request, answer } = endsOfConnection(family);
        for (const [hop, ends] of [
          [leg.fromClient, request],
          [leg.fromBackend, answer],
        ] as const) {
          const { action, packet } = on.send(frameOf(hop, ends, { kind: 'udp', payload }));
          expect(action).toBe('tx');
          expect(verifiedChecksums(packet)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
    // A sum of zero is said as 0xffff: 0 would say that there is none (RFC 768).
    const at = family.name === 'ipv4' ? 40 : 60;
    for (const direction of ['request', 'answer'] as const) {
      const hop = direction === 'request' ? leg.fromClient : leg.fromBackend;
      const ends = endsOfConnection(family)[direction];
      const checksumOf = (word: number) => {
        const payload = Uint8Array.of(0, 0, word >> 8, word & 0xff);
        const { packet } = on.send(frameOf(hop, ends, { kind: 'udp', payload }));
        expect(verifiedChecksums(packet)).toBe(true);
        return ((packet[at] ?? 0) << 8) | (packet[at + 1] ?? 0);
      };
      expect(checksumOf(checksumOf(0)), direction).toBe(0xffff);
    }
  });

  it('survives mutated packets in both directions', () => {
    plane = loadDataPlane();
    plane.forwarding.apply(natVip(family));
    const on = plane;
    const { request, answer } = endsOfConnection(family);
    on.send(from(family, request.sourcePort));
    const frames = [
      frameOf(leg.fromClient, request, segment(tcpFlag.ack)),
      frameOf(leg.fromBackend, answer, segment(tcpFlag.ack)),
    ];
    const mutation = fc.record({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(
        fc.constantFrom(...frames),
        fc.array(mutation, { maxLength: 4 }),
        fc.option(fc.nat()),
        (sample, mutations, cut) => {
          const frame = Uint8Array.from(sample);
          for (const { at, value } of mutations) frame[12 + (at % (frame.length - 12))] = value;
          const { action, reasons } = on.send(
            cut === null ? frame : frame.slice(0, Math.max(14, cut % frame.length)),
          );
          expect(reasons).toHaveLength(1);
          expect(reasons[0]?.startsWith(`${action}_`)).toBe(true);
        },
      ),
      { numRuns: 1500 },
    );
  });
});

/** The frame of an IPv4 packet as who never fragments sends it: without identification, with DF. */
function withoutIdentification(frame: Uint8Array): Uint8Array {
  const at = networkOffset(frame);
  if ((frame[at] ?? 0) >> 4 !== 4) return frame;
  const out = frame.slice();
  out.set([0, 0, 0x40, 0], at + 4);
  out.set(word(0), at + 10);
  out.set(word(internetChecksum(out.subarray(at, at + 20))), at + 10);
  return out;
}
