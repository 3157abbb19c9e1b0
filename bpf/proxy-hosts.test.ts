/** Connections for the proxies of several hosts: what lives here stays, the rest goes by one table, at most twice. */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { flowSlot } from '@l4d/l4d/core/forwarding/flow-slot.ts';
import { type ProxyHost, type ProxySlot, proxySlots } from '@l4d/l4d/core/forwarding/proxy-hosts.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadDataPlane, ownMac, type TestDataPlane } from './testing/data-plane.ts';
import { counting, mac, protocolNumber, tcpFlag, udp } from './testing/packet.ts';
import {
  clientPort,
  endsOf,
  type Family,
  families,
  frame,
  sentTo,
  tcpFrame,
  udpFrame,
  vipOf,
  vipPort,
} from './testing/world.ts';

let plane: TestDataPlane;

const others = ['02:00:00:00:0b:01', '02:00:00:00:0b:02', '02:00:00:00:0b:03'] as const;
const hosts: readonly ProxyHost[] = [ownMac, ...others].map((text) => ({
  mac: mac(text),
  isSelf: text === ownMac,
}));
/** Indices into hosts. */
const [self, first, second, third] = [0, 1, 2, 3];
const turned = (text: string) => text.replace(/^02/, '00');

/** Of a client's session in the kernel's table. */
function flowKey(ends: Pick<Family, 'client' | 'vip'>, port: number): Uint8Array {
  const inNetworkOrder = (number: number) => Uint8Array.of(number >> 8, number & 0xff);
  return Buffer.concat([
    toMappedBytes(ipAddress(ends.client)),
    toMappedBytes(ipAddress(ends.vip)),
    inNetworkOrder(clientPort),
    inNetworkOrder(port),
  ]);
}

/** All slots alike. */
function place(owner: number, alternate?: number, isAlternateFirst = false): void {
  plane.maps.writeProxyMarks(hosts);
  plane.maps.writeProxySlots(
    hosts,
    Array.from({ length: proxySlots }, (): ProxySlot => ({ owner, alternate, isAlternateFirst })),
  );
}

function from(sourceMac: string, packet: Uint8Array): Uint8Array {
  const changed = Uint8Array.from(packet);
  changed.set(mac(sourceMac), 6);
  return changed;
}

/** What becomes of a frame, in words; the MAC address that it goes to, and the mark of the last hand-over. */
function fate(packet: Uint8Array): string {
  const { action, reasons, notes, packet: out } = plane.send(packet);
  const words = [action, ...reasons, ...notes].join(' ');
  if (action !== 'tx') return words;
  const to = others.find((text) => Buffer.from(mac(text)).equals(Buffer.from(out.subarray(0, 6))));
  const expected = sentTo(to ?? ownMac, packet);
  if (reasons.includes('tx_proxy_second')) expected.set(mac(turned(ownMac)), 6);
  expect(Buffer.from(out)).toEqual(Buffer.from(expected));
  return `${words} ${hosts.findIndex(({ mac: one }) => Buffer.from(one).equals(Buffer.from(mac(to ?? ownMac))))}`;
}

beforeAll(() => {
  plane = loadDataPlane();
});

afterAll(() => plane.close());

beforeEach(() => {
  for (const identity of plane.forwarding.identities()) plane.forwarding.remove(identity);
  plane.maps.setFeature('proxy-hosts', true);
  place(self);
});

describe.each(families.map((family) => [family.name, family] as const))('%s', (_name, family) => {
  const syn = (changes = {}) => tcpFrame(family, { flags: tcpFlag.syn, ...changes });
  const ack = (changes = {}) => tcpFrame(family, changes);
  const serve = () => plane.forwarding.apply(vipOf(family, { policy: 'l7', backends: [] }));

  it('a new connection goes to its owner; no proxy here: to the alternate, at most twice in all', () => {
    serve();
    place(first, second);
    expect(fate(syn())).toBe('tx tx_proxy_host 1');
    // Nothing listens here.
    expect(fate(from(others[2], syn()))).toBe('tx tx_proxy_second 1');
    expect(fate(from(turned(others[2]), syn()))).toBe('pass pass_l7');
    place(self, second);
    expect(fate(syn())).toBe('tx tx_proxy_second 2');
    expect(fate(from(others[0], syn()))).toBe('tx tx_proxy_second 2');
    // Back to who has sent it: that host takes it, whatever it thinks.
    expect(fate(from(others[1], syn()))).toBe('tx tx_proxy_second 2');
    place(self);
    expect(fate(syn())).toBe('pass pass_l7');
  });

  it('the middle of an unknown connection: the owner, then the alternate, then the stack says RST', () => {
    serve();
    const unknown = 'pass pass_l7 note_proxy_unknown';
    place(first, second);
    expect(fate(ack())).toBe('tx tx_proxy_host 1');
    place(first, self);
    expect(fate(ack())).toBe('tx tx_proxy_host 1');
    place(self, second);
    expect(fate(ack())).toBe('tx tx_proxy_second 2');
    expect(fate(from(others[2], ack()))).toBe('tx tx_proxy_second 2');
    // The alternate itself has sent it, and so has not got it.
    expect(fate(from(others[1], ack()))).toBe(unknown);
    // The last: by the owner, to the alternate.
    place(first, self);
    expect(fate(from(turned(others[0]), ack()))).toBe(unknown);
    place(self);
    expect(fate(ack())).toBe(unknown);
    expect(fate(from(others[0], ack()))).toBe(unknown);
  });

  it('views that differ end in a counted drop, and nothing goes on after the second time', () => {
    serve();
    for (const [owner, alternate] of [
      [first, second],
      [second, first],
      [self, second],
      [second, self],
      [third, second],
    ] as const) {
      place(owner, alternate);
      expect(fate(from(turned(others[0]), ack()))).toBe('drop drop_proxy_stray');
    }
    place(second, third);
    expect(fate(from(others[0], ack()))).toBe('tx tx_proxy_second 2');
    expect(fate(from(others[1], ack()))).toBe('tx tx_proxy_second 3');
  });

  it('slots are those of the table that the daemon writes', () => {
    serve();
    plane.maps.writeProxySlots(
      hosts,
      Array.from({ length: proxySlots }, (_, slot) => ({ owner: (slot % 3) + 1, alternate: undefined })),
    );
    for (let port = 1000; port < 1040; port++) {
      const slot = flowSlot(ipAddress(family.client), port, vipPort, proxySlots);
      expect(fate(syn({ sourcePort: port }))).toBe(`tx tx_proxy_host ${(slot % 3) + 1}`);
    }
  });

  it('a last hop is not taken; short and odd packets stay', () => {
    serve();
    place(first, second);
    expect(fate(tcpFrame(family, {}, undefined, { ttl: 1, hopLimit: 1 }))).toBe('drop drop_ttl_expired');
    expect(fate(tcpFrame(family, {}, counting(9), { tags: [[0x8100, 7]] }))).toBe('tx tx_proxy_host 1');
  });

  it('without the setting, without a table and by other interfaces nothing changes', () => {
    serve();
    place(first, second);
    plane.maps.setFeature('proxy-hosts', false);
    expect(fate(ack())).toBe('pass pass_l7');
    plane.maps.setFeature('proxy-hosts', true);
    plane.maps.writeProxyMarks(hosts.filter(({ isSelf }) => !isSelf));
    expect(fate(ack())).toBe('pass pass_l7');
    plane.maps.writeProxyMarks(hosts);
    plane.maps.writeProxySlots([], []);
    expect(fate(ack())).toBe('pass pass_l7');
    place(first, second);
    plane.forwarding.apply(vipOf(family));
    expect(plane.send(ack()).reasons).toEqual(['tx_forward']);
  });
});

describe.each(families.map((family) => [family.name, family] as const))('%s: datagrams', (_name, family) => {
  const datagram = () => udpFrame(family, counting(9));
  const serve = () => plane.forwarding.apply(vipOf(family, { policy: 'l7', protocol: 'udp', backends: [] }));

  it('go to their owner; without a proxy there, to the alternate, and no further', () => {
    serve();
    place(first, second);
    expect(fate(datagram())).toBe('tx tx_proxy_host 1');
    expect(fate(from(others[2], datagram()))).toBe('tx tx_proxy_second 1');
    expect(fate(from(turned(others[2]), datagram()))).toBe('pass pass_l7');
    place(self, second);
    expect(fate(datagram())).toBe('tx tx_proxy_second 2');
    place(self);
    expect(fate(datagram())).toBe('pass pass_l7');
  });

  it('who had the slot is asked first, and hands on what it has not', () => {
    serve();
    place(first, second, true);
    expect(fate(datagram())).toBe('tx tx_proxy_host 2');
    // Asked by another host: the owner gets it for the last time.
    place(first, self, true);
    expect(fate(from(others[2], datagram()))).toBe('tx tx_proxy_second 1');
    expect(fate(datagram())).toBe('tx tx_proxy_host 1');
    place(self, second, true);
    expect(fate(datagram())).toBe('tx tx_proxy_host 2');
    expect(fate(from(turned(others[1]), datagram()))).toBe('pass pass_l7');
    // Connections do not care.
    plane.forwarding.apply(vipOf(family, { policy: 'l7', backends: [] }));
    place(first, second, true);
    expect(fate(tcpFrame(family, { flags: tcpFlag.syn }))).toBe('tx tx_proxy_host 1');
  });

  it('a session of workers that are gone keeps nothing', () => {
    serve();
    const key = flowKey(family, vipPort);
    libbpf.updateElement(plane.udpFlows, key, new Uint8Array(4));
    place(first, second);
    expect(fate(datagram())).toBe('tx tx_proxy_host 1');
    place(self, second);
    for (const source of [undefined, others[0]])
      expect(fate(source === undefined ? datagram() : from(source, datagram()))).toBe('tx tx_proxy_second 2');
    expect(fate(from(turned(others[0]), datagram()))).toBe('pass pass_l7');
    libbpf.deleteElement(plane.udpFlows, key);
  });
});

describe.each([
  ['ipv4', '127.0.0.1'],
  ['ipv6', '::1'],
] as const)('%s: sockets of this host', (name, loopback) => {
  const family = {
    ...(families.find((one) => one.name === name) as Family),
    vip: loopback,
    client: loopback,
  };

  it('a datagram for a socket here is taken by the owner alone, that of a session by who has it', async () => {
    const socket = createSocket(name === 'ipv4' ? 'udp4' : 'udp6');
    socket.bind(0, loopback);
    await once(socket, 'listening');
    const { port } = socket.address();
    try {
      plane.forwarding.apply(vipOf(family, { port, protocol: 'udp', policy: 'l7', backends: [] }));
      const datagram = frame(family, protocolNumber.udp, udp(endsOf(family), clientPort, port, counting(9)));
      place(self, second);
      expect(fate(datagram)).toBe('pass pass_l7');
      expect(fate(from(others[0], datagram))).toBe('pass pass_l7');
      place(self, second, true);
      expect(fate(datagram)).toBe('tx tx_proxy_host 2');
      expect(fate(from(turned(others[1]), datagram))).toBe('pass pass_l7');
      place(first, self, true);
      expect(fate(from(others[2], datagram))).toBe('tx tx_proxy_second 1');
      // A session of a worker here keeps its datagrams here.
      const key = flowKey(family, port);
      libbpf.updateElement(plane.udpFlows, key, new Uint8Array(4));
      for (const isAskedFirst of [false, true]) {
        place(first, second, isAskedFirst);
        for (const source of [undefined, others[0], turned(others[0])])
          expect(fate(source === undefined ? datagram : from(source, datagram))).toBe('pass pass_l7');
      }
      libbpf.deleteElement(plane.udpFlows, key);
      expect(fate(datagram)).toBe('tx tx_proxy_host 2');
    } finally {
      socket.close();
    }
  });

  it('what is connected here stays here, what listens takes only SYNs', async () => {
    const server = createServer({ allowHalfOpen: true }).listen(0, loopback);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client: Socket = connect(port, loopback);
    const [accepted] = (await once(server, 'connection')) as [Socket];
    try {
      plane.forwarding.apply(vipOf(family, { port, policy: 'l7', backends: [] }));
      place(first, second);
      const ends = { sourcePort: client.localPort ?? 0, destinationPort: port };
      const frameOf = (flags: number, sourcePort = ends.sourcePort) =>
        tcpFrame(family, { ...ends, sourcePort, flags });
      // Connected: whatever the table, the flags and the mark say.
      for (const flags of [tcpFlag.ack, tcpFlag.syn, tcpFlag.ack | tcpFlag.fin]) {
        for (const source of [undefined, others[0], turned(others[0])]) {
          const packet = source === undefined ? frameOf(flags) : from(source, frameOf(flags));
          expect(fate(packet)).toBe('pass pass_l7');
        }
      }
      // Another port of the client: a listener alone does not have it.
      expect(fate(frameOf(tcpFlag.ack, clientPort))).toBe('tx tx_proxy_host 1');
      expect(fate(frameOf(tcpFlag.syn, clientPort))).toBe('tx tx_proxy_host 1');
      expect(fate(from(others[0], frameOf(tcpFlag.syn, clientPort)))).toBe('pass pass_l7');
      expect(fate(from(turned(others[0]), frameOf(tcpFlag.ack, clientPort)))).toBe('drop drop_proxy_stray');
      place(self, second);
      expect(fate(frameOf(tcpFlag.syn, clientPort))).toBe('pass pass_l7');
      expect(fate(frameOf(tcpFlag.ack, clientPort))).toBe('tx tx_proxy_second 2');
    } finally {
      client.destroy();
      accepted.destroy();
      server.close();
    }
  });
});
