/** Connections for the proxies of hosts in other subnets: wrapped, taken out, refused, asked whether they live. */
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { hostPrefix } from '@l4d/kit/ip-prefix.ts';
import {
  type ProxyFar,
  type ProxyHost,
  type ProxySlot,
  proxyFarMac,
  proxySlots,
  proxyTunnelOverhead,
} from '@l4d/l4d/core/forwarding/proxy-hosts.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadDataPlane, ownMac, type TestDataPlane } from './testing/data-plane.ts';
import {
  counting,
  ethernet,
  etherType,
  icmp4,
  icmp6,
  join,
  mac,
  protocolNumber,
  tcpFlag,
  udp,
  word,
} from './testing/packet.ts';
import { checksumStatuses, hasTshark } from './testing/tshark.ts';
import { encapsulated, networkOf, readOuter } from './testing/tunnel-packets.ts';
import {
  clientPort,
  families,
  frame,
  ipHeaderWith,
  networkPacket,
  routerMac,
  sentTo,
  tcpFrame,
  tcpSegment,
  udpFrame,
  vipOf,
  vipPort,
} from './testing/world.ts';

let plane: TestDataPlane;

const nearMac = '02:00:00:00:0b:01';
const nextHopMac = '02:00:00:00:0b:fe';
const port = 6080;
const outers = [
  { family: 4, own: '10.0.0.11', remote: '10.9.0.12', other: '10.9.9.13', stranger: '10.9.0.99' },
  { family: 6, own: 'fd00::11', remote: 'fd00:9::12', other: 'fd00:99::13', stranger: 'fd00:9::99' },
] as const;
type Outer = (typeof outers)[number];

/** Indices into hosts. */
const [self, near, far, further] = [0, 1, 2, 3];
const hosts: readonly ProxyHost[] = [
  { mac: mac(ownMac), isSelf: true },
  { mac: mac(nearMac), isSelf: false },
  { mac: proxyFarMac(7), isSelf: false, isFar: true },
  { mac: proxyFarMac(31), isSelf: false, isFar: true },
];
const [once, last] = [1, 2];

function place(owner: number, alternate?: number): void {
  plane.maps.writeProxySlots(
    hosts,
    Array.from({ length: proxySlots }, (): ProxySlot => ({ owner, alternate })),
  );
}

function reach(outer: Outer, changes: Partial<ProxyFar> = {}): void {
  const way = { source: ipAddress(outer.own), mac: mac(nextHopMac), mtu: 1500, port, ...changes };
  plane.maps.writeProxyFar([
    { ...way, number: 7, remote: ipAddress(outer.remote) },
    { ...way, number: 31, remote: ipAddress(outer.other) },
  ]);
}

interface Sent {
  readonly from?: string;
  readonly to?: string;
  readonly port?: number;
  readonly tags?: ReadonlyArray<readonly [type: number, id: number]>;
  readonly trafficClass?: number;
  /** Changes the UDP payload, before the checksums. */
  readonly change?: (payload: Uint8Array) => void;
  /** Changes the frame, after them. */
  readonly break?: (frame: Uint8Array) => void;
}

const innerType = (inner: Uint8Array) => ((inner[0] ?? 0) >> 4 === 4 ? 4 : 41);

/** A frame by the router with UDP of that payload from the far host. */
function datagramFrom(outer: Outer, payload: Uint8Array, sent: Sent = {}): Uint8Array {
  const ends = { source: sent.from ?? outer.remote, destination: sent.to ?? outer.own };
  sent.change?.(payload);
  const message = udp(ends, 50_000, sent.port ?? port, payload);
  const whole = networkPacket(families[outer.family === 4 ? 0 : 1], protocolNumber.udp, message, ends);
  const network = sent.trafficClass === undefined ? whole : ipHeaderWith(whole, sent.trafficClass);
  const out = ethernet(
    {
      destination: ownMac,
      source: routerMac,
      type: outer.family === 4 ? etherType.ipv4 : etherType.ipv6,
      ...(sent.tags === undefined ? {} : { tags: sent.tags }),
    },
    network,
  );
  sent.break?.(out);
  return out;
}

/** As the far host hands the packet of a frame over. */
function handed(outer: Outer, mark: number, packet: Uint8Array, sent: Sent = {}): Uint8Array {
  const inner = networkOf(packet);
  return datagramFrom(outer, join(Uint8Array.of(1, innerType(inner), 0, 0, mark, 0, 0, 0), inner), sent);
}

/** What a packet of a frame is sent on as. */
function wrapped(outer: Outer, to: string, mark: number, packet: Uint8Array, out: Uint8Array): Uint8Array {
  const seen = readOuter(out);
  const before = packet.subarray(0, packet.length - networkOf(packet).length);
  const head = Uint8Array.from(before);
  head.set(mac(nextHopMac), 0);
  head.set(mac(ownMac), 6);
  head.set(word(outer.family === 4 ? etherType.ipv4 : etherType.ipv6), head.length - 2);
  expect(seen.sourcePort).toBeGreaterThanOrEqual(0xc000);
  const parts = { family: outer.family, source: outer.own, destination: to, trafficClass: 0 };
  const gue = { sourcePort: seen.sourcePort, variant: 0, mark, hasChecksum: outer.family === 6 } as const;
  return join(
    head,
    encapsulated({ ...parts, flowLabel: seen.flowLabel, gue }, networkOf(sentTo(nearMac, packet))),
  );
}

beforeAll(() => {
  plane = loadDataPlane();
});

afterAll(() => plane.close());

describe.each(
  outers.flatMap((outer) =>
    families.map((family) => [`${family.name} in IPv${outer.family}`, outer, family] as const),
  ),
)('%s', (_name, outer, family) => {
  const syn = (changes = {}) => tcpFrame(family, { flags: tcpFlag.syn }, undefined, changes);
  const ack = (payload?: Uint8Array, changes = {}) => tcpFrame(family, {}, payload, changes);
  const words = (packet: Uint8Array) => {
    const { action, reasons, notes } = plane.send(packet);
    return [action, ...reasons, ...notes].join(' ');
  };
  const from = (source: string, packet: Uint8Array) => {
    const changed = Uint8Array.from(packet);
    changed.set(mac(source), 6);
    return changed;
  };

  beforeEach(() => {
    plane.clear();
    plane.maps.setFeature('proxy-hosts', true);
    plane.maps.setFeature('proxy-far', true);
    plane.maps.writeProxyMarks(hosts);
    reach(outer);
    plane.forwarding.apply(vipOf(family, { policy: 'l7', backends: [] }));
    plane.forwarding.apply(vipOf(family, { policy: 'l7', protocol: 'udp', backends: [] }));
  });

  it('what is another one’s goes there whole, with the mark beside it', () => {
    place(far, further);
    for (const packet of [
      syn(),
      ack(counting(1)),
      ack(counting(999)),
      udpFrame(family, counting(77)),
      syn({ tags: [[0x8100, 7]] }),
      syn({
        tags: [
          [0x88a8, 7],
          [0x8100, 9],
        ],
      }),
    ]) {
      const { action, reasons, notes, packet: out } = plane.send(packet);
      expect([action, ...reasons, ...notes]).toEqual(['tx', 'tx_proxy_host', 'note_proxy_wrapped']);
      expect(Buffer.from(out)).toEqual(Buffer.from(wrapped(outer, outer.remote, once, packet, out)));
    }
    // Handed over by a host of this subnet: for the last time.
    const again = from(nearMac, ack());
    const { reasons, packet: out } = plane.send(again);
    expect(reasons).toEqual(['tx_proxy_second']);
    expect(Buffer.from(out)).toEqual(Buffer.from(wrapped(outer, outer.remote, last, again, out)));
  });

  it('all that it sends has right checksums (skipped without tshark)', () => {
    if (!hasTshark()) return;
    place(far);
    const sent = [syn(), ack(counting(55)), udpFrame(family, counting(3))].map(
      (one) => plane.send(one).packet,
    );
    for (const statuses of checksumStatuses(sent)) expect(JSON.stringify(statuses)).not.toMatch(/bad/i);
  });

  it('what was handed over goes its way as if it had come here, and nothing goes on after the last time', () => {
    const first = (packet: Uint8Array, sent?: Sent) => handed(outer, once, packet, sent);
    const second = (packet: Uint8Array, sent?: Sent) => handed(outer, last, packet, sent);
    place(self, near);
    // Nothing listens here: by MAC address to the alternate.
    const out = plane.send(first(syn()));
    expect([...out.reasons, ...out.notes]).toEqual(['tx_proxy_second', 'note_proxy_unwrapped']);
    const expected = sentTo(nearMac, syn());
    expected.set(mac(ownMac.replace(/^02/, '00')), 6);
    expect(Buffer.from(out.packet)).toEqual(Buffer.from(expected));
    expect(words(second(syn()))).toBe('pass pass_l7 note_proxy_unwrapped');
    expect(words(second(ack()))).toBe('drop drop_proxy_stray note_proxy_unwrapped');
    // The sender itself is the alternate: it has been asked.
    place(self, far);
    expect(words(first(ack()))).toBe('pass pass_l7 note_proxy_unknown note_proxy_unwrapped');
    place(further, far);
    const onward = plane.send(first(ack()));
    expect(onward.reasons).toEqual(['tx_proxy_second']);
    expect(Buffer.from(onward.packet)).toEqual(
      Buffer.from(wrapped(outer, outer.other, last, ack(), onward.packet)),
    );
    expect(words(second(ack()))).toBe('drop drop_proxy_stray note_proxy_unwrapped');
    place(further);
    expect(words(second(udpFrame(family, counting(9))))).toBe('pass pass_l7 note_proxy_unwrapped');
  });

  it('what stays is as it was, from the MAC address of its sender', () => {
    place(self);
    for (const tags of [
      [],
      [[0x8100, 7]],
      [
        [0x88a8, 7],
        [0x8100, 9],
      ],
    ] as const) {
      const { action, packet } = plane.send(handed(outer, last, syn(), { tags }));
      expect(action).toBe('pass');
      const expected = Uint8Array.from(syn({ tags }));
      expected.set(proxyFarMac(7), 6);
      expected[6] = 0;
      expect(Buffer.from(packet)).toEqual(Buffer.from(expected));
    }
  });

  it('an address some of whose clients are the proxy’s takes what was handed over, by their class', () => {
    place(self);
    const classes = [{ prefix: hostPrefix(ipAddress(family.client)), policy: 'l7' as const }];
    plane.forwarding.apply(vipOf(family, { classes }));
    expect(words(handed(outer, last, syn()))).toBe('pass pass_l7 note_proxy_unwrapped');
    plane.forwarding.apply(vipOf(family, { classes: classes.map((one) => ({ ...one, policy: 'drop' })) }));
    expect(words(handed(outer, last, syn()))).toBe('drop drop_source note_proxy_unwrapped');
  });

  it('a congestion mark that a router has set goes on with the packet, and ends one that knows none', () => {
    place(self);
    const plain = syn();
    const at = plain.length - networkOf(plain).length;
    const withClass = (trafficClass: number) =>
      join(plain.subarray(0, at), ipHeaderWith(networkOf(plain), trafficClass));
    const { packet } = plane.send(handed(outer, last, withClass(2), { trafficClass: 3 }));
    expect(Buffer.from(networkOf(packet))).toEqual(Buffer.from(networkOf(withClass(3))));
    expect(words(handed(outer, last, plain, { trafficClass: 3 }))).toBe('drop drop_proxy_tunnel');
  });

  it('nobody else can write a mark', () => {
    place(further);
    expect(words(handed(outer, last, ack(), { from: outer.stranger }))).toBe('pass pass_not_vip');
    expect(words(handed(outer, last, ack(), { port: 6081 }))).toBe('pass pass_not_vip');
    expect(words(handed(outer, last, ack(), { to: outer.other }))).toBe('pass pass_not_vip');
    plane.maps.setFeature('proxy-far', false);
    expect(words(handed(outer, last, ack()))).toBe('pass pass_not_vip');
  });

  it('what is not sound, or not for an l7 VIP, is dropped', () => {
    place(self);
    const dropped = 'drop drop_proxy_tunnel';
    const change = (at: number, value: number) => ({
      change: (payload: Uint8Array) => {
        payload[at] = value;
      },
    });
    for (const [at, value] of [
      [0, 0], // no private data
      [0, 2],
      [0, 0x41], // another version
      [0, 0x21], // a control message of an unknown type
      [1, 17],
      [2, 1],
      [3, 1],
      [4, 0],
      [4, 3],
      [8, family.name === 'ipv4' ? 0x65 : 0x45], // another version within
    ] as const)
      expect(words(handed(outer, last, syn(), change(at, value))), `${at} ${value}`).toBe(dropped);
    const lengthAt = family.name === 'ipv4' ? 10 : 12;
    expect(words(handed(outer, last, syn(), change(lengthAt, 9)))).toBe(dropped);
    const elsewhere = (destination: string) => tcpFrame(family, {}, undefined, { destination });
    expect(words(handed(outer, last, elsewhere(family.host)))).toBe(dropped);
    plane.forwarding.apply(vipOf(family, { address: ipAddress(family.otherVip) }));
    expect(words(handed(outer, last, elsewhere(family.otherVip)))).toBe(dropped);
    const broken = (at: number) =>
      words(
        handed(outer, last, syn(), {
          break: (packet) => {
            packet[at] = (packet[at] ?? 0) ^ 1;
          },
        }),
      );
    // The TTL of IPv4, which its checksum covers; the UDP length.
    if (outer.family === 4) expect(broken(14 + 8)).toBe(dropped);
    else expect(broken(14 + 40)).toBe(dropped);
    expect(broken(14 + (outer.family === 4 ? 20 : 40) + 5)).toBe(dropped);
    for (let length = 14; length < 80; length += 3)
      expect(words(handed(outer, last, syn()).subarray(0, length))).toMatch(/^(drop|pass) /);
  });

  it('does not fit: the client is told, unless another host stands between', () => {
    place(far);
    const overhead = proxyTunnelOverhead(outer.family);
    const header = family.name === 'ipv4' ? 40 : 60;
    expect(words(ack(counting(1500 - overhead - header)))).toBe('tx tx_proxy_host note_proxy_wrapped');
    const { reasons, packet } = plane.send(ack(counting(1501 - overhead - header)));
    expect(reasons).toEqual(['tx_too_big']);
    const told = networkOf(packet);
    const view = new DataView(told.buffer, told.byteOffset);
    expect(family.name === 'ipv4' ? view.getUint16(26) : view.getUint32(44)).toBe(1500 - overhead);
    expect(words(from(nearMac, ack(counting(1000))))).toMatch(/proxy_second/);
    expect(words(from(nearMac, ack(counting(1501 - overhead - header))))).toBe('drop drop_too_big');
    reach(outer, { mtu: 1280 });
    const sentBack = { sourcePort: vipPort, destinationPort: clientPort };
    const quoted = networkPacket(family, protocolNumber.tcp, tcpSegment(family, sentBack, counting(1180)), {
      source: family.vip,
      destination: family.client,
    });
    const error =
      family.name === 'ipv4'
        ? frame(family, 1, icmp4(3, 3, new Uint8Array(4), quoted))
        : frame(
            family,
            58,
            icmp6({ source: family.client, destination: family.vip }, 1, 4, new Uint8Array(4), quoted),
          );
    expect(words(error)).toBe('drop drop_too_big');
  });

  it('what somebody else changes of the ways is seen, and written again', () => {
    expect(plane.maps.sharedDifference()).toBeUndefined();
    const number = new Uint8Array(Uint32Array.of(7).buffer);
    libbpf.updateElement(plane.fds.proxy_far, number, new Uint8Array(48));
    expect(plane.maps.sharedDifference()).toBe(`the way to the host ${outer.remote}`);
    plane.maps.writeSharedAgain();
    expect(plane.maps.sharedDifference()).toBeUndefined();
    libbpf.deleteElement(plane.fds.proxy_far_numbers, toMappedBytes(ipAddress(outer.remote)));
    expect(plane.maps.sharedDifference()).toBe(`the number of the host ${outer.remote}`);
    reach(outer);
    expect(
      plane.maps
        .readProxyFarNumbers()
        .map((one) => one.number)
        .sort(),
    ).toEqual([31, 7]);
    plane.maps.writeProxyFar([]);
    expect(plane.maps.sharedDifference()).toBeUndefined();
    expect(plane.maps.readProxyFarNumbers()).toEqual([]);
  });

  it('without a next hop, or a hop left, nothing goes', () => {
    place(far);
    reach(outer, { mac: undefined });
    expect(words(syn())).toBe('drop drop_unresolved');
    reach(outer);
    expect(words(syn({ ttl: 1, hopLimit: 1 }))).toBe('drop drop_ttl_expired');
    plane.maps.writeProxyMarks(hosts.filter(({ isSelf }) => !isSelf));
    expect(words(syn())).toBe('pass pass_l7');
  });

  it('a probe of another host is answered as it came, of nobody else', () => {
    const probe = (type: number, length: number) =>
      join(Uint8Array.of(0x21, type, 0, 0, 0, 0, 0, 0), counting(length));
    for (const length of [8, 1400]) {
      const { action, reasons, packet } = plane.send(datagramFrom(outer, probe(0xe0, length)));
      expect([action, ...reasons]).toEqual(['tx', 'tx_proxy_probe']);
      const ends = { source: outer.own, destination: outer.remote };
      const answer = udp(ends, port, 50_000, probe(0xe1, length));
      const type = outer.family === 4 ? etherType.ipv4 : etherType.ipv6;
      const expected = ethernet(
        { destination: routerMac, source: ownMac, type },
        networkPacket(families[outer.family === 4 ? 0 : 1], protocolNumber.udp, answer, {
          ...ends,
          ttl: 64,
          hopLimit: 64,
        }),
      );
      expect(Buffer.from(packet)).toEqual(Buffer.from(expected));
    }
    // A checksum that comes out as none is sent as its other zero (RFC 768).
    const ends = { source: outer.own, destination: outer.remote };
    const sumOf = (payload: Uint8Array) => udp(ends, port, 50_000, payload).subarray(6, 8);
    const filler = sumOf(join(probe(0xe1, 8), new Uint8Array(2)));
    const { packet } = plane.send(datagramFrom(outer, join(probe(0xe0, 8), filler)));
    const sumAt = outer.family === 4 ? 26 : 46;
    expect([...networkOf(packet).subarray(sumAt, sumAt + 2)]).toEqual([0xff, 0xff]);
    expect(words(datagramFrom(outer, probe(0xe0, 8), { from: outer.stranger }))).toBe('pass pass_not_vip');
    // Two hosts do not answer each other's answers.
    expect(words(datagramFrom(outer, probe(0xe1, 8)))).toBe('drop drop_proxy_tunnel');
  });
});
