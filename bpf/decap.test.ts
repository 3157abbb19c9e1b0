/** The backend's end of a tunnel: what comes out of it, and what does not come in. */
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { objectPath } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { fillDecap } from '@l4d/l4d/io/forwarding/decap.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownMac, xdpAction } from './testing/data-plane.ts';
import { counting, ethernet, etherType, join, protocolNumber, word } from './testing/packet.ts';
import { encapsulated, networkOf, type OuterParts } from './testing/tunnel-packets.ts';
import { verifiedChecksums } from './testing/verify-checksums.ts';
import {
  type Family,
  families,
  four,
  ipHeaderWith,
  routerMac,
  six,
  tcpFrame,
  udpFrame,
} from './testing/world.ts';

let object: libbpf.BpfObject;
let counted: () => Record<string, number>;

const own = { 4: '10.80.2.21', 6: 'fd80:2::21' } as const;
const balancer = { 4: '10.99.3.4', 6: 'fd99::304' } as const;

beforeAll(() => {
  object = libbpf.openObject(objectPath('decap'));
  const rules = {
    sources: [ipPrefix('10.99.0.0/16'), ipPrefix('fd99::/96')],
    addresses: [ipAddress(own[4]), ipAddress(own[6])],
    vips: [ipAddress(four.vip), ipAddress(six.vip)],
    guePort: 6080,
  };
  counted = fillDecap(object, rules);
});

afterAll(() => libbpf.closeObject(object));

function send(packet: Uint8Array) {
  const before = counted();
  const run = libbpf.testRun(libbpf.programFd(object, 'decap'), packet);
  const after = counted();
  const reasons = Object.keys(after).filter((name) => after[name] !== before[name]);
  return { action: xdpAction[run.action], reason: reasons.join(), packet: run.packet };
}

const ways = ([4, 6] as const).flatMap((outer) =>
  families.flatMap((inner) => [
    { name: `${inner.name} in IPv${outer}`, outer, inner, gue: undefined },
    {
      name: `${inner.name} in GUE variant 1 over IPv${outer}`,
      outer,
      inner,
      gue: { sourcePort: 50_000, variant: 1 },
    },
    {
      name: `${inner.name} in GUE variant 0 over IPv${outer}`,
      outer,
      inner,
      gue: { sourcePort: 50_000, variant: 0, hasChecksum: true },
    },
  ]),
) as readonly { name: string; outer: 4 | 6; inner: Family; gue?: NonNullable<OuterParts['gue']> }[];

type Way = (typeof ways)[number];

const typeOf = (family: 4 | 6) => (family === 4 ? etherType.ipv4 : etherType.ipv6);
const ethernetParts = { destination: ownMac, source: routerMac };
type Tags = ReadonlyArray<readonly [type: number, id: number]>;

function outerFrame(
  way: Way,
  inner: Uint8Array,
  changes: Partial<OuterParts> = {},
  tags: Tags = [],
): Uint8Array {
  const parts = {
    family: way.outer,
    source: balancer[way.outer],
    destination: own[way.outer],
    trafficClass: 0,
    ...(way.gue === undefined ? {} : { gue: way.gue }),
    ...changes,
  };
  return ethernet({ ...ethernetParts, type: typeOf(way.outer), tags }, encapsulated(parts, inner));
}

function innerFrame(way: Way, inner: Uint8Array, tags: Tags = []): Uint8Array {
  return ethernet({ ...ethernetParts, type: typeOf(way.inner === four ? 4 : 6), tags }, inner);
}

describe.each(ways)('$name', (way) => {
  const segment = networkOf(tcpFrame(way.inner, {}, counting(77)));
  const taken = { action: 'pass', reason: 'pass_decapsulated' };

  it('comes out whole', () => {
    for (const inner of [
      segment,
      networkOf(udpFrame(way.inner, counting(3))),
      networkOf(tcpFrame(way.inner, {}, counting(1400))),
    ]) {
      for (const tags of [
        [],
        [[etherType.vlan, 7]],
        [
          [etherType.qinq, 9],
          [etherType.vlan, 7],
        ],
      ] as Tags[]) {
        const seen = send(outerFrame(way, inner, {}, tags));
        expect(seen).toMatchObject(taken);
        expect(Buffer.from(seen.packet).toString('hex')).toBe(
          Buffer.from(innerFrame(way, inner, tags)).toString('hex'),
        );
      }
    }
  });

  it('takes the congestion mark of the way along (RFC 6040 section 4.2)', () => {
    // Outer, inner, what comes out; undefined: dropped.
    const table = [
      [0, 0, 0],
      [1, 0, 0],
      [2, 0, 0],
      [3, 0, undefined],
      [0, 1, 1],
      [1, 1, 1],
      [2, 1, 1],
      [3, 1, 3],
      [0, 2, 2],
      [1, 2, 1],
      [2, 2, 2],
      [3, 2, 3],
      [0, 3, 3],
      [1, 3, 3],
      [2, 3, 3],
      [3, 3, 3],
    ] as const;
    for (const [outer, inner, out] of table) {
      const seen = send(outerFrame(way, ipHeaderWith(segment, 0xb8 | inner), { trafficClass: 0x20 | outer }));
      if (out === undefined) {
        expect(seen).toMatchObject({ action: 'drop', reason: 'drop_decap_congested' });
        continue;
      }
      expect(seen).toMatchObject(taken);
      expect(verifiedChecksums(seen.packet)).toBe(true);
      expect(networkOf(seen.packet)).toEqual(ipHeaderWith(segment, 0xb8 | out));
    }
  });

  it('looks at the checksum of GUE where there is one, as far as the headers go', () => {
    const { gue } = way;
    if (gue === undefined) return;
    const ipLength = way.outer === 4 ? 20 : 40;
    const udpAt = 14 + ipLength;
    const innerAt = udpAt + 8 + (gue.variant === 0 ? 4 : 0);
    const wrongAt = (packet: Uint8Array, at: number) => {
      const wrong = packet.slice();
      wrong[at] = (wrong[at] ?? 0) ^ 0x10;
      return send(wrong);
    };
    const malformed = { action: 'drop', reason: 'drop_decap_malformed' };
    const summed = { gue: { ...gue, hasChecksum: true } };
    for (const inner of [segment, networkOf(udpFrame(way.inner, counting(5)))]) {
      const packet = outerFrame(way, inner, summed);
      expect(send(packet)).toMatchObject(taken);
      // The source port, the checksum, and the outer source, which another one of the balancers may have.
      for (const at of [udpAt, udpAt + 1, udpAt + 6, udpAt + 7])
        expect(wrongAt(packet, at), `${at}`).toMatchObject(malformed);
      if (way.outer === 6) expect(wrongAt(packet, udpAt - 17)).toMatchObject(malformed);
      // The last byte of the payload: the stack sees that by the checksum within.
      expect(wrongAt(packet, packet.length - 1)).toMatchObject(taken);
      const bare = outerFrame(way, inner, { gue: { ...gue, hasChecksum: false } });
      expect(wrongAt(bare, udpAt + 1)).toMatchObject(taken);
    }
    // Its sum is not known from its headers: not looked at.
    const unsummed = networkOf(udpFrame(way.inner, counting(5)));
    unsummed.fill(0, unsummed.length - 5 - 2, unsummed.length - 5);
    const packet = outerFrame(way, unsummed, summed);
    expect(send(packet)).toMatchObject(taken);
    expect(packet.length).toBe(innerAt + unsummed.length);
  });

  it('passes untouched what is for others or from others', () => {
    const strangers = [
      [{ source: way.outer === 4 ? '10.98.0.1' : 'fd98::1' }, 'pass_other_source'],
      [{ destination: way.outer === 4 ? '10.80.2.22' : 'fd80:2::22' }, 'pass_other_destination'],
    ] as const;
    for (const [changes, reason] of strangers) {
      const packet = outerFrame(way, segment, changes);
      expect(send(packet)).toEqual({ action: 'pass', reason, packet });
    }
    const plain = tcpFrame(way.inner);
    expect(send(plain)).toEqual({ action: 'pass', reason: 'pass_not_tunnelled', packet: plain });
  });

  it('drops what is no packet for a VIP, or contradicts itself', () => {
    const other = networkOf(tcpFrame(way.inner, {}, undefined, { destination: way.inner.host }));
    expect(send(outerFrame(way, other))).toMatchObject({ action: 'drop', reason: 'drop_decap_not_vip' });
    // Its own addresses are where tunnels end, not what is served through them; and the other way round.
    const toItself = networkOf(
      tcpFrame(way.inner, {}, undefined, { destination: own[way.inner === four ? 4 : 6] }),
    );
    expect(send(outerFrame(way, toItself))).toMatchObject({ action: 'drop', reason: 'drop_decap_not_vip' });
    const toVip = outerFrame(way, segment, { destination: way.outer === 4 ? four.vip : six.vip });
    expect(send(toVip)).toMatchObject({ action: 'pass', reason: 'pass_other_destination' });
    const lying = networkOf(tcpFrame(way.inner, {}, undefined, { totalLength: 600, payloadLength: 600 }));
    expect(send(outerFrame(way, lying))).toMatchObject({ action: 'drop', reason: 'drop_decap_malformed' });
    const packet = outerFrame(way, segment);
    for (let length = 14; length < packet.length - segment.length + 20; length++) {
      expect(send(packet.slice(0, length)).reason, `${length}`).not.toBe('pass_decapsulated');
    }
    if (way.outer === 4) {
      const wrong = packet.slice();
      wrong.set(word(0x1234), 14 + 10);
      expect(send(wrong)).toMatchObject({ action: 'drop', reason: 'drop_decap_malformed' });
    }
  });
});

it('passes fragments, other ports and GUE options by', () => {
  const [way] = ways;
  if (way === undefined) throw new Error('no ways');
  const inner = networkOf(tcpFrame(four));
  const other = join(outerFrame(way, inner));
  other[14 + 9] = protocolNumber.udp;
  expect(send(other).reason).toBe('pass_not_tunnelled');
  const gue = ways.find((one) => one.outer === 6 && one.gue?.variant === 0);
  if (gue === undefined) throw new Error('no such way');
  for (const [at, value] of [
    [0, 1],
    [0, 0x20],
    [1, 6],
    [2, 0x80],
    [3, 1],
  ] as const) {
    const packet = outerFrame(gue, inner);
    packet[14 + 40 + 8 + at] = value;
    expect(send(packet)).toMatchObject({ action: 'drop', reason: 'drop_decap_malformed' });
  }
});
