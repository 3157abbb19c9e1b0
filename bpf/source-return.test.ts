import { execFileSync } from 'node:child_process';
import {
  bindTransparent,
  fixedMemory,
  lastName,
  listenOn,
  newTcpSocket,
  readLocalName,
} from '@l4d/kit/ffi/event-socket.ts';
import { type FreshNetwork, openFreshNetwork } from '@l4d/kit/ffi/fresh-network.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { bind, closeFd, connect } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { ipAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { encodeStruct } from '@l4d/kit/struct-codec.ts';
import { objectPath, objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { returnMark } from '@l4d/l4d/io/source-routing.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Ends,
  ethernet,
  etherType,
  icmp4,
  icmp6,
  ipv4,
  ipv6,
  join,
  long,
  protocolNumber,
  tcp,
  tcpFlag,
  udp,
} from './testing/packet.ts';

/* What backends answer to addresses of clients: marked for the sockets of this host that wait for it. */

/** TC_ACT_UNSPEC (-1), as the test run tells it. */
const goesOn = 0xffffffff;
/** Size of struct __sk_buff and the offset of its mark (linux/bpf.h). */
const skbSize = 192;
const markOffset = 8;
const servicePort = 8080;

const worlds = {
  IPv4: {
    family: 4,
    client: '198.51.100.7',
    backend: '10.0.0.21',
    route: ['route', 'add', '10.0.0.0/24', 'dev', 'lo'],
  },
  IPv6: {
    family: 6,
    client: '2001:db8:c::7',
    backend: 'fd00::21',
    route: ['-6', 'route', 'add', 'fd00::/64', 'dev', 'lo'],
  },
} as const;
type World = (typeof worlds)[keyof typeof worlds];
const all = Object.entries(worlds).map(([name, world]) => ({ name, world }));

let network: FreshNetwork;
let object: libbpf.BpfObject;
const sockets: number[] = [];
/** Of the connections from the clients' addresses, by family. */
const ports = new Map<number, number>();
/** Of connections to a port of the same backends that is not declared. */
const otherPorts = new Map<number, number>();

beforeAll(() => {
  network = openFreshNetwork();
  object = libbpf.openObject(objectPath('source_return'));
  libbpf.loadObject(object, 'source_return');
  const layout = structLayout(objectTypes('source_return'), 'vip_key');
  network.run(() => {
    execFileSync('ip', ['link', 'set', 'lo', 'up']);
    for (const { family, client, backend, route } of Object.values(worlds)) {
      execFileSync('ip', [...route]);
      const key = encodeStruct(layout, {
        address: toMappedBytes(ipAddress(backend)),
        port: servicePort,
        protocol: 6,
      });
      libbpf.updateElement(libbpf.mapFd(object, 'source_backends'), key, new Uint8Array(4));
      ports.set(family, beginConnection(family, client, backend, servicePort));
      otherPorts.set(family, beginConnection(family, client, backend, servicePort + 1));
    }
    const listener = newTcpSocket(4);
    bind(listener, encodeSockaddr(ipAddress('0.0.0.0'), 22));
    listenOn(listener, 1);
    sockets.push(listener);
  });
});

afterAll(() => {
  for (const fd of sockets) closeFd(fd);
  libbpf.closeObject(object);
  network.close();
});

/** A connection on its way from an address that is nobody's here; gives its port. */
function beginConnection(family: 4 | 6, client: string, backend: string, port: number): number {
  const fd = newTcpSocket(family);
  sockets.push(fd);
  const memory = fixedMemory(64);
  const source = encodeSockaddr(ipAddress(client), 0);
  memory.bytes.set(source);
  expect(bindTransparent(fd, family, memory.address, source.length)).toBe(0);
  connect(fd, encodeSockaddr(ipAddress(backend), port));
  readLocalName(fd);
  const [high = 0, low = 0] = Buffer.from(lastName(), 'latin1');
  return high * 256 + low;
}

/** The mark that a packet has behind the program. */
function markOf(packet: Uint8Array, before = 0): number {
  const context = new Uint8Array(skbSize);
  new DataView(context.buffer).setUint32(markOffset, before, true);
  const run = network.run(() =>
    libbpf.testRun(libbpf.programFd(object, 'source_return'), packet, 1, context),
  );
  expect(run.action).toBe(goesOn);
  expect(run.packet).toEqual(packet);
  return new DataView(run.context.buffer).getUint32(markOffset, true);
}

function frame(family: 4 | 6, packet: Uint8Array): Uint8Array {
  const type = family === 4 ? etherType.ipv4 : etherType.ipv6;
  return ethernet({ destination: '02:00:00:00:00:11', source: '02:00:00:00:00:21', type }, packet);
}

interface Changes {
  readonly source?: string;
  readonly destination?: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly fragment?: number;
  readonly options?: Uint8Array;
}

const network4 = (ends: Ends, protocol: number, payload: Uint8Array, changes: Changes = {}) =>
  ipv4(
    {
      ...ends,
      protocol,
      ...(changes.fragment === undefined ? {} : { fragment: changes.fragment }),
      ...(changes.options === undefined ? {} : { options: changes.options }),
    },
    payload,
  );

/** What the backend answers to the SYN of that connection, unless changed. */
function answer(world: World, changes: Changes = {}): Uint8Array {
  const ends = { source: changes.source ?? world.backend, destination: changes.destination ?? world.client };
  const segment = tcp(ends, {
    sourcePort: changes.sourcePort ?? servicePort,
    destinationPort: changes.destinationPort ?? ports.get(world.family) ?? 0,
    flags: tcpFlag.syn | tcpFlag.ack,
  });
  if (world.family === 4) return frame(4, network4(ends, protocolNumber.tcp, segment, changes));
  return frame(6, ipv6({ ...ends, nextHeader: protocolNumber.tcp }, segment));
}

/** An error of a router about a segment from the client's address to the backend, unless changed. */
function error(world: World, changes: Changes = {}, type: number = world.family === 4 ? 3 : 1): Uint8Array {
  const quoted = {
    source: changes.destination ?? world.client,
    destination: changes.source ?? world.backend,
  };
  const segment = tcp(quoted, {
    sourcePort: changes.destinationPort ?? ports.get(world.family) ?? 0,
    destinationPort: changes.sourcePort ?? servicePort,
    flags: tcpFlag.ack,
  }).subarray(0, 8);
  const rest = long(0);
  if (world.family === 4) {
    const ends = { source: '10.0.0.1', destination: world.client };
    const quote = network4(quoted, protocolNumber.tcp, segment, changes);
    return frame(4, ipv4({ ...ends, protocol: protocolNumber.icmp }, icmp4(type, 4, rest, quote)));
  }
  const ends = { source: 'fd00::1', destination: world.client };
  const quote = ipv6({ ...quoted, nextHeader: protocolNumber.tcp }, segment);
  return frame(6, ipv6({ ...ends, nextHeader: protocolNumber.icmp6 }, icmp6(ends, type, 0, rest, quote)));
}

describe.each(all)('$name', ({ world }) => {
  it('marks what a connection waits for, and leaves the other bits of a mark', () => {
    expect(markOf(answer(world))).toBe(returnMark);
    expect(markOf(answer(world), 0xab123456)).toBe(returnMark | 0x123456);
  });

  it('leaves alone what no connection waits for', () => {
    expect(markOf(answer(world, { destinationPort: 9 }))).toBe(0);
    expect(
      markOf(answer(world, { destination: world.family === 4 ? '198.51.100.8' : '2001:db8:c::8' }), 5),
    ).toBe(5);
  });

  it('leaves alone what comes from no declared backend', () => {
    const destinationPort = otherPorts.get(world.family) ?? 0;
    expect(markOf(answer(world, { sourcePort: servicePort + 1, destinationPort }))).toBe(0);
    expect(markOf(error(world, { sourcePort: servicePort + 1, destinationPort }))).toBe(0);
    expect(markOf(answer(world, { source: world.family === 4 ? '10.0.0.22' : 'fd00::22' }))).toBe(0);
  });

  it('marks errors about what such a connection has sent, and no others', () => {
    expect(markOf(error(world))).toBe(returnMark);
    expect(markOf(error(world, { destinationPort: 9 }))).toBe(0);
    expect(markOf(error(world, { sourcePort: 9 }))).toBe(0);
    expect(markOf(error(world, {}, world.family === 4 ? 8 : 128))).toBe(0);
  });

  it('a packet that ends too early is left alone, wherever it ends', () => {
    // The kernel runs no program on a frame without an IP header.
    for (const packet of [answer(world), error(world)])
      for (let length = world.family === 4 ? 34 : 54; length < packet.length; length++) {
        const mark = markOf(packet.subarray(0, length).slice());
        // Of a segment no more than its ports is asked for.
        expect([0, returnMark]).toContain(mark);
        if (length < (world.family === 4 ? 38 : 58)) expect(mark).toBe(0);
      }
  });

  it('does not look at UDP', () => {
    const ends = { source: world.backend, destination: world.client };
    const datagram = udp(ends, servicePort, ports.get(world.family) ?? 0, new Uint8Array(8));
    const packet =
      world.family === 4
        ? network4(ends, protocolNumber.udp, datagram)
        : ipv6({ ...ends, nextHeader: protocolNumber.udp }, datagram);
    expect(markOf(frame(world.family, packet))).toBe(0);
  });
});

describe('IPv4 alone', () => {
  it('reads behind options, and of fragments the first alone', () => {
    expect(markOf(answer(worlds.IPv4, { options: new Uint8Array(8).fill(1) }))).toBe(returnMark);
    expect(markOf(error(worlds.IPv4, { options: new Uint8Array(8).fill(1) }))).toBe(returnMark);
    expect(markOf(answer(worlds.IPv4, { fragment: 0x2000 }))).toBe(returnMark);
    expect(markOf(answer(worlds.IPv4, { fragment: 0x0010 }))).toBe(0);
  });

  it('does not take a service that listens on the port for a connection', () => {
    expect(markOf(answer(worlds.IPv4, { destination: '127.0.0.1', destinationPort: 22 }))).toBe(0);
  });

  it('leaves alone what is not IP', () => {
    const type = etherType.arp;
    const packet = ethernet(
      { destination: '02:00:00:00:00:11', source: '02:00:00:00:00:21', type },
      join(new Uint8Array(46)),
    );
    expect(markOf(packet)).toBe(0);
  });
});

it('counts what became of packets', () => {
  const layout = objectTypes('source_return').enums.get('return_result') ?? new Map<string, number>();
  const count = (name: string) => {
    const value = new Uint8Array(8 * libbpf.possibleCpus());
    const key = new Uint8Array(Uint32Array.of(layout.get(name) ?? -1).buffer);
    libbpf.lookupElement(libbpf.mapFd(object, 'source_return_stats'), key, value);
    return Number(new BigUint64Array(value.buffer).reduce((sum, one) => sum + one, 0n));
  };
  const names = ['RETURN_DELIVERED', 'RETURN_ERROR_DELIVERED', 'RETURN_NO_SOCKET'];
  const before = names.map(count);
  markOf(answer(worlds.IPv4));
  markOf(error(worlds.IPv6));
  markOf(answer(worlds.IPv4, { destinationPort: 9 }));
  markOf(answer(worlds.IPv4, { sourcePort: 9 }));
  expect(names.map(count)).toEqual(before.map((one) => one + 1));
});
