/** ICMP errors about outer packets: the way's MTU is learned, the client is told, the rest is counted by the end. */
import { possibleCpus, updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { encodeStruct } from '@l4d/kit/struct-codec.ts';
import { vipKeyText } from '@l4d/l4d/core/desired/vip.ts';
import type { TunnelEnd } from '@l4d/l4d/core/forwarding/tunnel-end.ts';
import { objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { internetChecksum } from './testing/checksum.ts';
import { loadDataPlane, ownMac, type TestDataPlane, testTunnel } from './testing/data-plane.ts';
import {
  counting,
  ethernet,
  etherType,
  icmp4,
  icmp6,
  ipv4,
  ipv6,
  join,
  long,
  protocolNumber,
  word,
} from './testing/packet.ts';
import { networkOf, readOuter } from './testing/tunnel-packets.ts';
import { overheadOf, remote, useWay, type Way, ways } from './testing/tunnel-ways.ts';
import { verifiedChecksums } from './testing/verify-checksums.ts';
import { type Family, four, routerMac, six, tcpFrame, udpFrame, vipOf } from './testing/world.ts';

let plane: TestDataPlane;

beforeAll(() => {
  plane = loadDataPlane({ dirtyHeadroom: true });
});

afterAll(() => plane.close());

beforeEach(() => plane.clear());

/** A router between this host and the ends. */
const router = { 4: '192.0.2.254', 6: '2001:db8:b::fe' } as const;

/** What a router quotes at most, of IP packets of either family (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 c). */
const quoteOf = { 4: 548, 6: 1232 } as const;

type Kind = 'too-big' | 'unreachable' | 'time-exceeded' | 'other';

interface ErrorParts {
  readonly kind?: Kind;
  /** Bytes of the outer packet that are quoted. */
  readonly quoted?: number;
  readonly mtu?: number;
  readonly tags?: ReadonlyArray<readonly [type: number, id: number]>;
  /** Where it is sent to; the outer source when not given. */
  readonly destination?: string;
}

const numbers = {
  4: { 'too-big': [3, 4], unreachable: [3, 1], 'time-exceeded': [11, 0], other: [12, 0] },
  6: { 'too-big': [2, 0], unreachable: [1, 3], 'time-exceeded': [3, 0], other: [4, 1] },
} as const;

/** The frame in which a router reports on the outer packet `sent`. */
function errorAbout(sent: Uint8Array, parts: ErrorParts = {}): Uint8Array {
  const outer = networkOf(sent);
  const { family, source } = readOuter(sent);
  const { kind = 'too-big', quoted = quoteOf[family], mtu = 1400, tags } = parts;
  const [type, code] = numbers[family][kind];
  const ends = { source: router[family], destination: parts.destination ?? source };
  const quote = outer.slice(0, quoted);
  const rest = long(kind === 'too-big' ? mtu : 0);
  const packet =
    family === 4
      ? ipv4({ ...ends, protocol: protocolNumber.icmp }, icmp4(type, code, rest, quote))
      : ipv6({ ...ends, nextHeader: protocolNumber.icmp6 }, icmp6(ends, type, code, rest, quote));
  return framed(family, packet, tags);
}

function framed(family: 4 | 6, packet: Uint8Array, tags?: ErrorParts['tags']): Uint8Array {
  const type = family === 4 ? etherType.ipv4 : etherType.ipv6;
  const macs = { destination: ownMac, source: routerMac };
  return ethernet({ ...macs, type, ...(tags === undefined ? {} : { tags }) }, packet);
}

/** What the client is told of its packet, `within` as far as it was quoted. */
function told(inner: Family, within: Uint8Array, mtu: number, tags?: ErrorParts['tags']): Uint8Array {
  const ends = { source: inner.vip, destination: inner.client };
  const macs = { destination: routerMac, source: ownMac };
  const of = (type: number, packet: Uint8Array) =>
    ethernet({ ...macs, type, ...(tags === undefined ? {} : { tags }) }, packet);
  if (inner === six) {
    const message = icmp6(ends, 2, 0, long(mtu), within);
    return of(etherType.ipv6, ipv6({ ...ends, nextHeader: protocolNumber.icmp6, hopLimit: 64 }, message));
  }
  const packet = ipv4({ ...ends, protocol: protocolNumber.icmp, ttl: 64 }, icmp4(3, 4, long(mtu), within));
  packet.set([0xc0], 1);
  packet.fill(0, 4, 8);
  packet.fill(0, 10, 12);
  packet.set(word(internetChecksum(packet.subarray(0, 20))), 10);
  return of(etherType.ipv4, packet);
}

function endOf(way: Way): TunnelEnd {
  const end = plane.maps.readTunnelEnd(ipAddress(remote[way.outer]));
  if (end === undefined) throw new Error('the end is not in the kernel');
  return end;
}

/** A packet that just fits into what is declared, and the outer one that it becomes. */
function sendLarge(way: Way): { readonly packet: Uint8Array; readonly sent: Uint8Array } {
  const header = way.inner === four ? 40 : 60;
  const packet = tcpFrame(way.inner, {}, counting(1500 - overheadOf(way) - header), { ttl: 9, hopLimit: 9 });
  const outcome = plane.send(packet);
  expect(outcome.reasons).toEqual(['tx_tunnel']);
  return { packet, sent: outcome.packet };
}

/** Moves what was learned of the way back by so many ticks. */
function ageWay(way: Way, ticks: number): void {
  const end = endOf(way);
  const layout = structLayout(objectTypes('l4d_xdp'), 'tunnel_end');
  const value = encodeStruct(layout, {
    egress: end.egress,
    mtu: end.learned?.mtu ?? 0,
    mtu_tick: ((end.learned?.tick ?? 0) - ticks) >>> 0,
  });
  updateElement(plane.fds.tunnel_ends, ipv6Mapped(remote[way.outer]), value);
}

function ipv6Mapped(text: string): Uint8Array {
  const { family, bytes } = ipAddress(text);
  return family === 6 ? bytes : join(new Uint8Array(10), word(0xffff), bytes);
}

/** The smallest MTU of a way that a packet of the inner family can be told of. */
const pathMtu = 1400;

describe.each(ways)('$name', (way) => {
  const { inner, outer } = way;
  const size = inner === six ? Math.max(pathMtu - overheadOf(way), 1280) : pathMtu - overheadOf(way);
  beforeEach(() => useWay(plane, way));

  it('tells the client at once, and of the next large packet too', () => {
    for (const tags of [[], [[etherType.vlan, 77]]] as const) {
      plane.clear();
      useWay(plane, way);
      const { packet, sent } = sendLarge(way);
      const outcome = plane.send(errorAbout(sent, { mtu: pathMtu, tags }));
      expect({ action: outcome.action, reasons: outcome.reasons }).toEqual({
        action: 'tx',
        reasons: ['tx_tunnel_error'],
      });
      expect(verifiedChecksums(outcome.packet)).toBe(true);
      const within = networkOf(sent).slice(overheadOf(way), quoteOf[outer]);
      expect(hex(outcome.packet)).toBe(hex(told(inner, within, size, tags)));
      expect(endOf(way)).toMatchObject({
        learned: { mtu: pathMtu },
        errors: { 'too-big': 1, unreachable: 0 },
        last: { type: outer === 4 ? 3 : 2, code: outer === 4 ? 4 : 0 },
      });
      const answered = plane.send(packet);
      expect(answered.reasons).toEqual(['tx_too_big']);
      const view = new DataView(networkOf(answered.packet).slice().buffer);
      expect(inner === four ? view.getUint16(26) : view.getUint32(44)).toBe(size);
      // What fits goes; a byte more does not.
      const header = inner === four ? 40 : 60;
      const fitting = (bytes: number) =>
        plane.send(tcpFrame(inner, {}, new Uint8Array(bytes - header))).reasons;
      expect(fitting(size)).toEqual(['tx_tunnel']);
      expect(fitting(size + 1)).toEqual(['tx_too_big']);
    }
  });

  it('holds what it has learned for ten minutes', () => {
    const { packet, sent } = sendLarge(way);
    plane.send(errorAbout(sent));
    expect(plane.send(packet).reasons).toEqual(['tx_too_big']);
    ageWay(way, 558);
    expect(plane.send(packet).reasons).toEqual(['tx_too_big']);
    ageWay(way, 5);
    expect(plane.send(packet).reasons).toEqual(['tx_tunnel']);
  });

  it('learns from a quote of 8 bytes behind the header, and tells nobody', () => {
    const { packet, sent } = sendLarge(way);
    const outcome = plane.send(errorAbout(sent, { quoted: (outer === 4 ? 20 : 40) + 8 }));
    expect({ action: outcome.action, reasons: outcome.reasons }).toEqual({
      action: 'pass',
      reasons: ['pass_tunnel_error'],
    });
    expect(endOf(way).learned?.mtu).toBe(pathMtu);
    expect(plane.send(packet).reasons).toEqual(['tx_too_big']);
  });

  it('counts what is not reached, by its kind', () => {
    const { sent } = sendLarge(way);
    for (const kind of ['unreachable', 'unreachable', 'time-exceeded', 'other'] as const) {
      const error = errorAbout(sent, { kind });
      const outcome = plane.send(error);
      expect(outcome.reasons).toEqual(['pass_tunnel_error']);
      expect(hex(outcome.packet)).toBe(hex(error));
    }
    expect(endOf(way)).toMatchObject({
      learned: undefined,
      errors: { 'too-big': 0, unreachable: 2, 'time-exceeded': 1, other: 1 },
      last: { reporter: ipAddress(router[outer]) },
    });
  });

  it('bounds what it is told', () => {
    const { packet, sent } = sendLarge(way);
    const least = 1280;
    plane.send(errorAbout(sent, { mtu: 68 }));
    expect(endOf(way).learned?.mtu).toBe(least);
    // QUIC gives up where datagrams of 1200 bytes do not come through: a forged error does not bring that about.
    if (inner === six || 1228 + overheadOf(way) <= least)
      expect(plane.send(udpFrame(inner, counting(1200))).reasons).toEqual(['tx_tunnel']);
    // A larger one is of another way to the same end.
    plane.send(errorAbout(sent, { mtu: 1400 }));
    expect(endOf(way).learned?.mtu).toBe(least);
    expect(plane.send(packet).reasons).toEqual(['tx_too_big']);
    // IPv6 packets of 1280 bytes cannot be made smaller.
    if (inner === six) {
      const small = tcpFrame(six, {}, new Uint8Array(1280 - 60));
      expect(plane.send(small).reasons).toEqual(['tx_tunnel']);
    }
  });

  it('takes no error about what it has not sent', () => {
    const { sent } = sendLarge(way);
    const error = errorAbout(sent);
    const at = (offset: number) => (outer === 4 ? 14 + 28 : 14 + 48) + offset;
    const forged: Record<string, Uint8Array> = {
      'another end': changed(way, sent, at(outer === 4 ? 19 : 39) - at(0), 0x99),
      'another source': errorAbout(sent, { destination: outer === 4 ? '172.16.9.9' : '100:0:0:1::9' }),
      'another protocol': changed(way, sent, outer === 4 ? 9 : 6, 50),
    };
    for (const [what, packet] of Object.entries(forged)) {
      const outcome = plane.send(packet);
      expect({ what, action: outcome.action, reasons: outcome.reasons }).toEqual({
        what,
        action: 'pass',
        reasons: ['pass_not_vip'],
      });
    }
    const broken = error.slice();
    broken[broken.length - 3] = (broken.at(-3) ?? 0) ^ 1;
    expect(plane.send(broken).reasons).toEqual(['pass_not_vip']);
    expect(endOf(way).learned).toBeUndefined();
    // Known, but no reason to send less: as large as what was sent, or larger.
    const length = networkOf(sent).length;
    for (const mtu of [length, 9000])
      expect(plane.send(errorAbout(sent, { mtu })).reasons).toEqual(['pass_tunnel_error']);
    expect(endOf(way).learned).toBeUndefined();
  });

  it('tells no client about a flow that has another source', () => {
    const { sent } = sendLarge(way);
    // Another port within: source and outer port follow from the flow.
    const transport = overheadOf(way) + (inner === four ? 20 : 40);
    const outcome = plane.send(changed(way, sent, transport, 0x11));
    expect(outcome.reasons).toEqual(['pass_tunnel_error']);
  });

  it('tells clients no more than so often', () => {
    const { sent } = sendLarge(way);
    const ahead = BigInt(process.hrtime.bigint()) + 10_000_000_000n;
    const due = new BigUint64Array(possibleCpus()).fill(ahead);
    updateElement(plane.tooBigDue, new Uint8Array(4), new Uint8Array(due.buffer));
    expect(plane.send(errorAbout(sent)).reasons).toEqual(['pass_tunnel_error']);
    expect(endOf(way).learned?.mtu).toBe(pathMtu);
  });

  it('arbitrary changes lead a known way, and what is sent has its checksums', () => {
    const { sent } = sendLarge(way);
    const error = errorAbout(sent);
    const change = fc.record({ at: fc.nat(150), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(
        fc.array(change, { maxLength: 3 }),
        fc.option(fc.nat()),
        fc.boolean(),
        (changes, cut, isSummed) => {
          const packet = error.slice();
          for (const { at, value } of changes) packet[at] = value;
          const shown = isSummed ? summed(outer, packet) : packet;
          const given = cut === null ? shown : shown.slice(0, Math.max(14, cut % shown.length));
          const outcome = plane.send(given);
          expect(outcome.reasons).toHaveLength(1);
          if (outcome.action === 'tx' && cut === null) expect(verifiedChecksums(outcome.packet)).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe('ends of tunnels', () => {
  const [way] = ways.filter(({ forward, outer }) => forward === 'ipip' && outer === 4);
  if (way === undefined) throw new Error('no such way');

  it('are there while a backend is reached by them', () => {
    useWay(plane, way);
    expect(plane.maps.hasFeature('tunnels')).toBe(true);
    expect(plane.maps.readTunnelEnds().map((one) => formatIpAddress(one.remote))).toEqual([remote[4]]);
    for (const protocol of ['tcp', 'udp'] as const)
      plane.forwarding.remove(vipKeyText(vipOf(way.inner, { protocol })));
    expect(plane.maps.readTunnelEnds()).toEqual([]);
    expect(plane.maps.hasFeature('tunnels')).toBe(false);
  });

  it('follow the interface of their backends, and keep what was learned', () => {
    useWay(plane, way);
    plane.send(errorAbout(sendLarge(way).sent));
    expect(endOf(way).learned?.mtu).toBe(pathMtu);
    useWay(plane, way, {}, 5);
    expect(endOf(way)).toMatchObject({ egress: 5, learned: { mtu: pathMtu } });
  });

  it('have the next smaller usual size where a router tells none', () => {
    useWay(plane, way);
    plane.send(errorAbout(sendLarge(way).sent, { mtu: 0 }));
    expect(endOf(way).learned?.mtu).toBe(1492);
  });

  it('never carry more than is declared, whatever IPv6 packets need', () => {
    const ip6 = ways.find(({ forward, outer, inner }) => forward === 'ipip' && outer === 4 && inner === six);
    if (ip6 === undefined) throw new Error('no such way');
    useWay(plane, ip6, { mtu: 1290 });
    const send = (bytes: number) => plane.send(tcpFrame(six, {}, counting(bytes - 60)));
    plane.send(errorAbout(send(1270).packet, { mtu: 1285 }));
    expect(endOf(ip6).learned?.mtu).toBe(1285);
    expect(send(1270).reasons).toEqual(['tx_tunnel']);
    expect(send(1271).reasons).toEqual(['tx_too_big']);
  });

  it('are learned of from errors about UDP too', () => {
    const gue = ways.find(({ forward, outer, inner }) => forward === 'gue' && outer === 6 && inner === six);
    if (gue === undefined) throw new Error('no such way');
    useWay(plane, gue);
    const sent = plane.send(udpFrame(six, counting(1500 - overheadOf(gue) - 48)));
    expect(sent.reasons).toEqual(['tx_tunnel']);
    expect(plane.send(errorAbout(sent.packet)).reasons).toEqual(['tx_tunnel_error']);
  });

  it('are asked for nothing where no tunnel is used', () => {
    plane.forwarding.apply(vipOf(four));
    const source = formatIpAddress((testTunnel.sources.ipv4 ?? { address: ipAddress('::') }).address);
    const packet = ipv4(
      { source: router[4], destination: source, protocol: protocolNumber.icmp },
      icmp4(3, 4, long(1400), networkOf(tcpFrame(four))),
    );
    expect(plane.send(framed(4, packet)).reasons).toEqual(['pass_not_vip']);
  });
});

/** The error about the outer packet with one byte changed: its checksum holds. */
function changed(way: Way, sent: Uint8Array, at: number, value: number): Uint8Array {
  const out = sent.slice();
  const place = out.length - networkOf(out).length + at;
  out[place] = (out[place] ?? 0) ^ value;
  return errorAbout(out, { destination: readOuter(sent).source, quoted: quoteOf[way.outer] });
}

/** The frame with the checksum of its ICMP message made right, where that lies where it usually does. */
function summed(family: 4 | 6, packet: Uint8Array): Uint8Array {
  const out = packet.slice();
  const at = 14 + (family === 4 ? 20 : 40);
  out.set(word(0), at + 2);
  const message = out.subarray(at);
  const length = Uint8Array.of(0, 0, message.length >> 8, message.length & 0xff, 0, 0, 0, 58);
  const sum =
    family === 4 ? internetChecksum(message) : internetChecksum(join(out.slice(22, 54), length), message);
  out.set(word(sum), at + 2);
  return out;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
