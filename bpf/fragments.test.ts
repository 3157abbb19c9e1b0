/** Packets in fragments: the first one decides, the others follow; across hosts by addresses and identification. */
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { hostPrefix } from '@l4d/kit/ip-prefix.ts';
import type { VipPolicy } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadDataPlane, type Outcome, ownMac, type TestDataPlane } from './testing/data-plane.ts';
import {
  type Cut,
  cut,
  type FragmentChanges,
  fragmentFrame,
  fragmentPacket,
} from './testing/fragment-packets.ts';
import {
  counting,
  etherType,
  icmp4,
  icmp6,
  mac,
  protocolNumber,
  tcp,
  tcpFlag,
  udp,
} from './testing/packet.ts';
import {
  encapsulated,
  networkOf,
  type OuterParts,
  readOuter,
  type SeenOuter,
} from './testing/tunnel-packets.ts';
import {
  backend,
  backendMacs,
  clientPort,
  endsOf,
  type Family,
  families,
  frame,
  routerMac,
  sentTo,
  tcpFrame,
  udpFrame,
  vipOf,
  vipPort,
} from './testing/world.ts';

let plane: TestDataPlane;

beforeAll(() => {
  plane = loadDataPlane({ dirtyHeadroom: true });
});

afterAll(() => plane.close());

beforeEach(() => {
  for (const identity of plane.forwarding.identities()) plane.forwarding.remove(identity);
  plane.maps.writeFragmentHosts([]);
});

/** Identifications that no other test has used: fragments are remembered. */
let lastId = 1;
const nextId = () => ++lastId;

const datagram = (family: Family, length = 4000, from = clientPort, to = vipPort) =>
  udp(endsOf(family), from, to, counting(length));
const udpPieces = (family: Family, changes: FragmentChanges, message = datagram(family)) =>
  cut(message, 1480).map((piece) => fragmentFrame(family, protocolNumber.udp, piece, changes));
const both = (family: Family) => ({
  protocol: 'udp' as const,
  backends: [backend(family, 0), backend(family, 1)],
});

/** The outer header that must come out, given what the sender chose by the flow: without a checksum of the whole's parts. */
function outerOf(seen: SeenOuter, destination: string, forward: 'ipip' | 'gue'): OuterParts {
  const gue = forward === 'gue' ? { gue: { sourcePort: seen.sourcePort, variant: 1 as const } } : {};
  return { ...seen, destination, trafficClass: 0, ...gue };
}

function summary({ action, reasons }: Outcome): string {
  return `${action} ${reasons.join()}`;
}

/** What became of each frame. */
const send = (frames: readonly Uint8Array[]) => frames.map((packet) => summary(plane.send(packet)));

describe.each(families.map((family) => [family.name, family] as const))('%s', (_name, family) => {
  const echoType = family.name === 'ipv4' ? 8 : 128;
  const ttlOf = (ttl: number) => (family.name === 'ipv4' ? { ttl } : { hopLimit: ttl });
  const icmpNumber = family.name === 'ipv4' ? protocolNumber.icmp : protocolNumber.icmp6;
  const icmp = (type: number, rest: Uint8Array, payload: Uint8Array) =>
    family.name === 'ipv4' ? icmp4(type, 0, rest, payload) : icmp6(endsOf(family), type, 0, rest, payload);

  it('all fragments go where whole datagrams of the flow go, unchanged', () => {
    plane.forwarding.apply(vipOf(family, both(family)));
    const used = new Set<string>();
    for (let from = 1000; from < 1020; from++) {
      const whole = plane.send(
        frame(family, protocolNumber.udp, udp(endsOf(family), from, vipPort, counting(8))),
      );
      const to = Buffer.from(whole.packet.subarray(0, 6)).toString('hex');
      used.add(to);
      for (const packet of udpPieces(family, { id: nextId() }, datagram(family, 4000, from))) {
        const outcome = plane.send(packet);
        expect(summary(outcome)).toBe('tx tx_forward');
        const mac = backendMacs.find((one) => one.replaceAll(':', '') === to) ?? '';
        expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(sentTo(mac, packet)));
      }
    }
    expect(used.size).toBe(2);
    expect(plane.forwarding.vipCounter(`${family.vip}-${vipPort}-udp`)).toMatchObject({
      packets: 80,
      flows: 20,
    });
  });

  it('one that comes before its first is dropped, and follows when it comes again', () => {
    plane.forwarding.apply(vipOf(family, both(family)));
    const [first = counting(0), ...rest] = udpPieces(family, { id: nextId() });
    expect(send(rest)).toEqual(rest.map(() => 'drop drop_fragment'));
    expect(send([first, ...rest, ...rest.reverse()])).toEqual(
      Array.from({ length: 5 }, () => 'tx tx_forward'),
    );
  });

  it('another identification or client is another packet', () => {
    plane.forwarding.apply(vipOf(family, both(family)));
    const id = nextId();
    const [first = counting(0)] = udpPieces(family, { id });
    expect(send([first])).toEqual(['tx tx_forward']);
    const other = family.name === 'ipv4' ? '198.51.100.8' : '2001:db8:c::8';
    for (const changes of [{ id: id + 1000 }, { id, source: other }, { id, destination: family.otherVip }]) {
      const [, second = counting(0)] = udpPieces(family, changes);
      const isVip = changes.destination === undefined;
      expect(send([second])).toEqual([isVip ? 'drop drop_fragment' : 'pass pass_not_vip']);
    }
    lastId += 2000;
  });

  it('a big ping is answered fragment by fragment', () => {
    plane.forwarding.apply(vipOf(family));
    const message = icmp(echoType, counting(4), counting(4000));
    const id = nextId();
    plane.maps.writeFragmentHosts(
      [routerMac, ownMac].map((one) => ({ mac: mac(one), isSelf: one === ownMac })),
    );
    const reply: Uint8Array[] = [];
    for (const piece of cut(message, 1480)) {
      const outcome = plane.send(fragmentFrame(family, icmpNumber, piece, { id, ...ttlOf(50) }));
      expect(summary(outcome)).toBe('tx tx_echo');
      const turned = { source: family.vip, destination: family.client };
      const expected = fragmentPacket(family, icmpNumber, piece, {
        id,
        ...turned,
        ...ttlOf(piece.at === 0 ? 64 : 49),
      });
      const network = networkOf(outcome.packet);
      const at = network.length - piece.data.length;
      expect(Buffer.from(network.subarray(0, at))).toEqual(Buffer.from(expected.subarray(0, at)));
      reply.push(network.subarray(at));
    }
    const whole = Buffer.concat(reply);
    const wanted = icmp(family.name === 'ipv4' ? 0 : 129, counting(4), counting(4000));
    expect(whole).toEqual(Buffer.from(wanted));
  });

  it('later fragments of ICMP between two VIPs come to an end', () => {
    plane.forwarding.apply(vipOf(family));
    plane.forwarding.apply(vipOf(family, { address: ipAddress(family.otherVip) }));
    const [, later] = cut(icmp(echoType, counting(4), counting(4000)), 1480);
    if (later === undefined) throw new Error('one fragment');
    let ends = { source: family.otherVip, destination: family.vip };
    const outcomes: string[] = [];
    for (let ttl = 5; ttl > 0; ttl--) {
      outcomes.push(
        summary(
          plane.send(fragmentFrame(family, icmpNumber, later, { id: nextId(), ...ends, ...ttlOf(ttl) })),
        ),
      );
      ends = { source: ends.destination, destination: ends.source };
    }
    expect(outcomes).toEqual([...new Array(4).fill('tx tx_echo'), 'drop drop_ttl_expired']);
    const once = plane.send(fragmentFrame(family, icmpNumber, later, { ...ends, ...ttlOf(5) }));
    const network = networkOf(once.packet);
    expect(network[family.name === 'ipv4' ? 8 : 7]).toBe(4);
  });

  it('the last bytes of a ping may be few', () => {
    plane.forwarding.apply(vipOf(family));
    const pieces = cut(icmp(echoType, counting(4), counting(9)), 8);
    const id = nextId();
    expect(send(pieces.map((piece) => fragmentFrame(family, icmpNumber, piece, { id })))).toEqual(
      pieces.map(() => 'tx tx_echo'),
    );
  });

  it('what is for no VIP of the address is passed, all of it', () => {
    plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
    const pieces = udpPieces(family, { id: nextId() }, datagram(family, 4000, clientPort, 9));
    expect(send(pieces)).toEqual(pieces.map(() => 'pass pass_not_vip'));
    const elsewhere = udpPieces(family, { id: nextId(), destination: family.host });
    expect(send(elsewhere)).toEqual(elsewhere.map(() => 'pass pass_not_vip'));
  });

  it('those for the proxy are passed: the stack puts them together', () => {
    plane.forwarding.apply(vipOf(family, { policy: 'l7', backends: [] }));
    const pieces = udpPieces(family, { id: nextId() });
    expect(send([...pieces].reverse())).toEqual(pieces.map(() => 'pass pass_l7'));
  });

  it('segments go as whole ones, also to VIPs of every port, behind tags and options', () => {
    plane.forwarding.apply(vipOf(family, { port: 0 }));
    const parts = { sourcePort: clientPort, destinationPort: 22, flags: tcpFlag.ack };
    const changes = {
      id: nextId(),
      tags: [[etherType.vlan, 7]] as const,
      ...(family.name === 'ipv4'
        ? { options: Uint8Array.of(1, 1, 1, 0) }
        : { extensions: [[protocolNumber.destinationOptions, counting(6)] as const] }),
    };
    const frames = cut(tcp(endsOf(family), parts, counting(3000)), 1440).map((piece) =>
      fragmentFrame(family, protocolNumber.tcp, piece, changes),
    );
    for (const packet of frames) {
      const outcome = plane.send(packet);
      expect(summary(outcome)).toBe('tx tx_forward');
      expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(sentTo(backendMacs[0], packet)));
    }
  });

  it('hostile ones are malformed', () => {
    plane.forwarding.apply(vipOf(family));
    plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
    const segment = tcp(
      endsOf(family),
      { sourcePort: 1, destinationPort: vipPort, flags: tcpFlag.syn },
      counting(64),
    );
    const of = (protocol: number, piece: Cut) => fragmentFrame(family, protocol, piece, { id: nextId() });
    const { tcp: tcpNumber, udp: udpNumber } = protocolNumber;
    const bad = [
      // A header in two fragments, and one that another fragment would overwrite.
      of(tcpNumber, { at: 0, data: segment.subarray(0, 16), isMore: true }),
      of(tcpNumber, { at: 8, data: segment.subarray(8), isMore: false }),
      of(tcpNumber, { at: 16, data: segment.subarray(16), isMore: false }),
      // No multiple of 8 although more follows; nothing at all; beyond what a packet can hold.
      of(udpNumber, { at: 0, data: datagram(family).subarray(0, 1001), isMore: true }),
      of(udpNumber, { at: 800, data: counting(0), isMore: false }),
      of(udpNumber, { at: 0, data: counting(0), isMore: true }),
      of(udpNumber, { at: 65_528, data: counting(100), isMore: false }),
      of(icmpNumber, { at: 65_528, data: counting(100), isMore: false }),
    ];
    expect(send(bad)).toEqual(bad.map(() => 'drop drop_malformed'));
  });

  it('a backend that is gone gets no more of them', () => {
    plane.forwarding.apply(vipOf(family, both(family)));
    const [first = counting(0), second = counting(0)] = udpPieces(family, { id: nextId() });
    expect(send([first])).toEqual(['tx tx_forward']);
    plane.forwarding.remove(`${family.vip}-${vipPort}-udp`);
    plane.forwarding.apply(vipOf(family, { ...both(family), port: 81 }));
    expect(send([second])).toEqual(['drop drop_no_backend']);
  });

  it.each([
    ['ipip', 4],
    ['ipip', 6],
    ['gue', 4],
    ['gue', 6],
  ] as const)('go through a tunnel: %s over IPv%s', (forward, outer) => {
    const address = outer === 4 ? '192.0.2.21' : '2001:db8:b::21';
    const backends = [backend(family, 0, { forward, address: ipAddress(address) })];
    plane.forwarding.apply(vipOf(family, { protocol: 'udp', backends }));
    const id = nextId();
    const message = datagram(family, 2000);
    const ports = new Set<unknown>();
    for (const piece of [...cut(message, 1000), { at: 2000, data: counting(3), isMore: false }]) {
      const outcome = plane.send(fragmentFrame(family, protocolNumber.udp, piece, { id }));
      expect(summary(outcome)).toBe('tx tx_tunnel');
      const network = networkOf(outcome.packet);
      const read = readOuter(outcome.packet);
      const inner = fragmentPacket(family, protocolNumber.udp, piece, { id, ttl: 62, hopLimit: 62 });
      expect(Buffer.from(network)).toEqual(Buffer.from(encapsulated(outerOf(read, address, forward), inner)));
      ports.add(JSON.stringify([read.source, read.flowLabel, forward === 'gue' && read.sourcePort]));
    }
    expect(ports.size).toBe(1);
  });

  it('too big for the tunnel: the first is answered, the others are not', () => {
    const backends = [backend(family, 0, { forward: 'ipip', address: ipAddress('192.0.2.21') })];
    plane.forwarding.apply(vipOf(family, { protocol: 'udp', backends }));
    const [first = counting(0), second = counting(0)] = udpPieces(
      family,
      { id: nextId() },
      datagram(family, 6000),
    );
    expect(send([first, second])).toEqual(['tx tx_too_big', 'drop drop_too_big']);
  });

  describe('several hosts', () => {
    const macs = ['02:00:00:00:0a:01', ownMac, '02:00:00:00:0a:03'];
    const hosts = macs.map((text) => ({ mac: mac(text), isSelf: text === ownMac }));

    it('addresses and identification choose the one that places all fragments of a packet', () => {
      plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
      plane.maps.writeFragmentHosts(hosts);
      const share = new Map<string, number>();
      for (let n = 0; n < 60; n++) {
        const frames = udpPieces(family, { id: nextId() });
        const outcomes = frames.map((packet) => plane.send(packet));
        const to = Buffer.from(outcomes[0]?.packet.subarray(0, 6) ?? []).toString('hex');
        share.set(to, (share.get(to) ?? 0) + 1);
        const isHere = to === backendMacs[0].replaceAll(':', '');
        const target = isHere ? backendMacs[0] : (macs.find((one) => one.replaceAll(':', '') === to) ?? '');
        for (const [index, outcome] of outcomes.entries()) {
          expect(summary(outcome)).toBe(isHere ? 'tx tx_forward' : 'tx tx_fragment_host');
          expect(Buffer.from(outcome.packet)).toEqual(
            Buffer.from(sentTo(target, frames[index] ?? counting(0))),
          );
        }
      }
      expect(share.size).toBe(3);
      for (const count of share.values()) expect(count).toBeGreaterThan(6);
    });

    it('what another host has sent on is placed here, whatever the choice', () => {
      plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
      plane.maps.writeFragmentHosts(hosts);
      for (let n = 0; n < 12; n++) {
        const frames = udpPieces(family, { id: nextId(), sourceMac: macs[n % 2 === 0 ? 0 : 2] ?? '' });
        expect(send(frames)).toEqual(frames.map(() => 'tx tx_forward'));
      }
    });

    it('one that comes before its first goes round once by another host', () => {
      plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
      plane.maps.writeFragmentHosts(hosts);
      const turned = (text: string) => text.replace(/^02/, '00');
      let rounds = 0;
      for (let n = 0; n < 20; n++) {
        const id = nextId();
        const [, second = counting(0)] = udpPieces(family, { id });
        const outcome = plane.send(second);
        if (summary(outcome) !== 'tx tx_fragment_round') continue;
        rounds += 1;
        const sent = sentTo(macs[2] ?? '', second);
        sent.set(mac(turned(ownMac)), 6);
        expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(sent));
        // Back from the other host it is placed, or not.
        const [first = counting(0), back = counting(0)] = udpPieces(family, { id, sourceMac: macs[2] ?? '' });
        expect(send([back, first, back])).toEqual(['drop drop_fragment', 'tx tx_forward', 'tx tx_forward']);
      }
      expect(rounds).toBeGreaterThan(1);
      // What another host sends round goes back to it, whatever the choice and whatever is known.
      for (let n = 0; n < 8; n++) {
        const frames = udpPieces(family, { id: nextId(), sourceMac: turned(macs[0] ?? '') });
        for (const packet of frames) {
          const outcome = plane.send(packet);
          expect(summary(outcome)).toBe('tx tx_fragment_host');
          expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(sentTo(macs[0] ?? '', packet)));
        }
      }
    });

    it('whole packets and pings of one piece are not sent on, and a hop is taken', () => {
      plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
      plane.maps.writeFragmentHosts(hosts.filter(({ isSelf }) => !isSelf));
      expect(send([udpFrame(family, counting(64))])).toEqual(['tx tx_forward']);
      const spent = udpPieces(family, { id: nextId(), ttl: 1, hopLimit: 1 });
      expect(send(spent)).toEqual(spent.map(() => 'drop drop_ttl_expired'));
    });
  });

  it('every prefix goes a known way', () => {
    plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
    for (const packet of udpPieces(family, { id: nextId() }, datagram(family, 1490))) {
      const longest = Math.min(packet.length, 120);
      for (let length = 14; length < longest; length++) {
        const { action, reasons } = plane.send(packet.slice(0, length));
        expect(action).not.toBe('aborted');
        expect(reasons).toHaveLength(1);
      }
    }
  });

  it('an ICMP error about a fragment of an answer finds the flow by the first one alone', () => {
    plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
    plane.send(udpFrame(family, counting(8)));
    const answer = udp(
      { source: family.vip, destination: family.client },
      vipPort,
      clientPort,
      counting(3000),
    );
    const quotes = cut(answer, 1480).map((piece) =>
      fragmentPacket(family, protocolNumber.udp, piece, { source: family.vip, destination: family.client }),
    );
    const error = (quote: Uint8Array) => {
      const type = family.name === 'ipv4' ? 11 : 3;
      return frame(family, icmpNumber, icmp(type, new Uint8Array(4), quote.subarray(0, 500)));
    };
    expect(send(quotes.map(error))).toEqual(['tx tx_icmp_error', 'pass pass_vip_icmp', 'pass pass_vip_icmp']);
    expect(send([tcpFrame(family)])).toEqual(['pass pass_not_vip']);
  });
});

describe.each(families)('$name: fragments of clients with a class', (family) => {
  const classed = (policy: VipPolicy) =>
    plane.forwarding.apply(
      vipOf(family, {
        protocol: 'udp',
        classes: [{ prefix: hostPrefix(ipAddress(family.client)), policy }],
      }),
    );

  it('for the proxy: passed, the later ones after their first', () => {
    classed('l7');
    const [first, ...later] = udpPieces(family, { id: nextId() });
    expect(plane.send(first as Uint8Array)).toMatchObject({ action: 'pass', reasons: ['pass_l7'] });
    for (const one of later) expect(plane.send(one)).toMatchObject({ action: 'pass' });
  });

  it('for the proxy, where fragments are placed on one of several hosts: on the one that they come to', () => {
    classed('l7');
    plane.maps.writeFragmentHosts([
      { mac: mac(ownMac), isSelf: true },
      { mac: mac('02:00:00:00:00:99'), isSelf: false },
    ]);
    for (let n = 0; n < 16; n++) {
      const [first, ...later] = udpPieces(family, { id: nextId() });
      expect(plane.send(first as Uint8Array)).toMatchObject({ action: 'pass', reasons: ['pass_l7'] });
      for (const one of later) expect(plane.send(one)).toMatchObject({ action: 'pass' });
    }
  });

  it('dropped: the first one for its source, the others without it', () => {
    classed('drop');
    const [first, ...later] = udpPieces(family, { id: nextId() });
    expect(plane.send(first as Uint8Array)).toMatchObject({ action: 'drop', reasons: ['drop_source'] });
    for (const one of later)
      expect(plane.send(one)).toMatchObject({ action: 'drop', reasons: ['drop_fragment'] });
  });

  it('dropped on an address that has VIPs of the proxy as well', () => {
    plane.forwarding.apply(vipOf(family, { port: 81, protocol: 'udp', policy: 'l7', backends: [] }));
    plane.forwarding.apply(
      vipOf(family, {
        ...{ protocol: 'udp', policy: 'l7', backends: [] },
        classes: [{ prefix: hostPrefix(ipAddress(family.client)), policy: 'drop' }],
      }),
    );
    const [first] = udpPieces(family, { id: nextId() });
    expect(plane.send(first as Uint8Array)).toMatchObject({ action: 'drop', reasons: ['drop_source'] });
  });
});
