import { mkdirSync, rmSync } from 'node:fs';
import { listenOn } from '@l4d/kit/ffi/event-socket.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { bind, closeFd, constant, socket, socketCookie } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { boundUdpSocket } from '@l4d/kit/ffi/udp-socket.ts';
import { ipAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { pinPath } from '@l4d/l4d/io/forwarding/bpf-folder.ts';
import { objectPath } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { createListenerTable } from '@l4d/l4d/io/forwarding/listener-table.ts';
import { openLookupMaps, readLookups } from '@l4d/l4d/io/forwarding/proxy-lookup.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';

/* Which worker's socket the lookup gives a connection: by a hash that has a key. */

const vip = ipAddress('203.0.113.10');
const vip6 = ipAddress('2001:db8::10');
const port = 80;
let object: libbpf.BpfObject;
/** Two sockets each: first that of IPv4, then that of IPv6. */
let steeringBuckets = 0;
/** A socket a family, of four workers. */
const sockets: number[] = [];

const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

beforeAll(() => {
  object = libbpf.openObject(objectPath('l7_lookup'));
  libbpf.loadObject(object, 'l7_lookup');
  steeringBuckets = libbpf.mapInfo(libbpf.mapFd(object, 'l7_sockets')).maxEntries / 2;
  createListenerTable(libbpf.mapFd(object, 'l7_listeners')).replace([
    { address: vip, port, protocol: 'tcp' },
    { address: vip6, port, protocol: 'tcp' },
    { address: vip, port, protocol: 'udp' },
    { address: vip6, port, protocol: 'udp' },
  ]);
  for (let worker = 0; worker < 4; worker++)
    for (const family of [4, 6] as const) {
      const fd = socket(family === 4 ? constant.AF_INET : constant.AF_INET6, constant.SOCK_STREAM);
      bind(fd, encodeSockaddr(ipAddress(family === 4 ? '127.0.0.1' : '::1'), 0));
      listenOn(fd, 1);
      sockets.push(fd);
    }
  for (let bucket = 0; bucket < steeringBuckets; bucket++)
    for (const family of [0, 1]) {
      const fd = sockets[(bucket % 4) * 2 + family] ?? -1;
      const value = new Uint8Array(BigUint64Array.of(BigInt(fd)).buffer);
      libbpf.updateElement(libbpf.mapFd(object, 'l7_sockets'), u32(bucket * 2 + family), value);
    }
});

afterAll(() => {
  for (const fd of sockets) closeFd(fd);
  libbpf.closeObject(object);
});

/** The key of the hash, as two words. */
type Key = readonly [bigint, bigint];

function useKey(key: Key): void {
  const value = new Uint8Array(BigUint64Array.from(key).buffer);
  libbpf.updateElement(libbpf.mapFd(object, 'l7_steering_key'), u32(0), value);
}

/** struct bpf_sk_lookup of linux/bpf.h. */
function context(remote: string, remotePort: number, localPort = port, protocol = 6): Uint8Array {
  const address = ipAddress(remote);
  const view = new DataView(new ArrayBuffer(72));
  const bytes = new Uint8Array(view.buffer);
  const four = address.family === 4;
  view.setUint32(8, four ? 2 : 10, true);
  view.setUint32(12, protocol, true);
  if (four) bytes.set(toMappedBytes(address).subarray(12), 16);
  else bytes.set(toMappedBytes(address), 20);
  view.setUint16(36, remotePort);
  if (four) bytes.set(toMappedBytes(vip).subarray(12), 40);
  else bytes.set(toMappedBytes(vip6), 44);
  view.setUint32(60, localPort, true);
  return bytes;
}

/** Number of the worker that gets the connection; -1: refused. */
function workerOf(remote: string, remotePort: number, localPort = port): number {
  const { cookie } = libbpf.testLookup(
    libbpf.programFd(object, 'l7_lookup'),
    context(remote, remotePort, localPort),
  );
  if (cookie === undefined) return -1;
  return Math.floor(sockets.findIndex((fd) => socketCookie(fd) === cookie) / 2);
}

/** SipHash-1-3 by the paper, of three words. */
function siphash([k0, k1]: Key, words: readonly bigint[]): bigint {
  const mask = 2n ** 64n - 1n;
  const rotate = (word: bigint, bits: bigint) => ((word << bits) | (word >> (64n - bits))) & mask;
  let [a, b, c, d] = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ] as [bigint, bigint, bigint, bigint];
  const round = () => {
    a = (a + b) & mask;
    b = rotate(b, 13n) ^ a;
    a = rotate(a, 32n);
    c = (c + d) & mask;
    d = rotate(d, 16n) ^ c;
    a = (a + d) & mask;
    d = rotate(d, 21n) ^ a;
    c = (c + b) & mask;
    b = rotate(b, 17n) ^ c;
    c = rotate(c, 32n);
  };
  for (const word of [...words, BigInt(words.length * 8) << 56n]) {
    d ^= word;
    round();
    a ^= word;
  }
  c ^= 0xffn;
  for (let i = 0; i < 3; i++) round();
  return a ^ b ^ c ^ d;
}

const keys: readonly Key[] = [
  [0n, 0n],
  [0x0706050403020100n, 0x0f0e0d0c0b0a0908n],
  [0xdeadbeefcafebaben, 0x123456789abcdef0n],
];
const clients = Array.from(
  { length: 64 },
  (_, i) => [i % 2 === 0 ? `192.0.2.${i}` : `2001:db8::${i}`, 1024 + i * 997] as const,
);

test('a connection goes by SipHash-1-3 of client, its port and the port that it asks for', () => {
  for (const key of keys) {
    useKey(key);
    for (const [address, remotePort] of clients) {
      const words = new DataView(context(address, remotePort).buffer);
      const word = (offset: number) => BigInt(words.getUint32(offset, true));
      const remote = BigInt(words.getUint16(36, true));
      const hash = siphash(key, [
        ((word(20) ^ word(16)) << 32n) | word(24),
        (word(28) << 32n) | word(32),
        (remote << 32n) | BigInt(port),
      ]);
      expect(workerOf(address, remotePort)).toBe(Number(hash % BigInt(steeringBuckets)) % 4);
    }
  }
});

test('with another key the ports that led to one worker lead to all of them', () => {
  useKey(keys[1] as Key);
  const ports = Array.from({ length: 4000 }, (_, i) => 1024 + i).filter(
    (remotePort) => workerOf('192.0.2.1', remotePort) === 0,
  );
  expect(ports.length).toBeGreaterThan(800);
  expect(ports.length).toBeLessThan(1200);
  useKey(keys[2] as Key);
  const counts = [0, 0, 0, 0];
  for (const remotePort of ports) {
    const worker = workerOf('192.0.2.1', remotePort);
    counts[worker] = (counts[worker] ?? 0) + 1;
  }
  for (const count of counts) expect(count / ports.length).toBeGreaterThan(0.18);
});

test('another port of the address is refused', () => {
  expect(workerOf('192.0.2.1', 5000, 22)).toBe(-1);
});

test('a datagram goes to the worker that has its session, and without one by its bucket', () => {
  const bound = (family: 4 | 6) =>
    boundUdpSocket(family, encodeSockaddr(ipAddress(family === 4 ? '127.0.0.1' : '::1'), 0));
  const fds = { bucket4: bound(4), bucket6: bound(6), worker4: bound(4), worker6: bound(6) };
  const put = (map: string, key: number, fd: number) =>
    libbpf.updateElement(
      libbpf.mapFd(object, map),
      u32(key),
      new Uint8Array(BigUint64Array.of(BigInt(fd)).buffer),
    );
  for (let bucket = 0; bucket < steeringBuckets; bucket++) {
    put('l7_udp_sockets', bucket * 2, fds.bucket4);
    put('l7_udp_sockets', bucket * 2 + 1, fds.bucket6);
  }
  put('l7_udp_workers', 7 * 2, fds.worker4);
  put('l7_udp_workers', 7 * 2 + 1, fds.worker6);
  const remember = (remote: string, remotePort: number, vipOf: typeof vip, worker: number) => {
    const key = new Uint8Array(36);
    key.set(toMappedBytes(ipAddress(remote)));
    key.set(toMappedBytes(vipOf), 16);
    new DataView(key.buffer).setUint16(32, remotePort);
    new DataView(key.buffer).setUint16(34, port);
    libbpf.updateElement(libbpf.mapFd(object, 'l7_udp_flows'), key, u32(worker));
  };
  remember('192.0.2.1', 5000, vip, 7);
  remember('2001:db8::1', 5000, vip6, 7);
  // Of a worker that has died.
  remember('192.0.2.2', 5000, vip, 8);
  const socketOf = (remote: string, remotePort: number) => {
    const program = libbpf.programFd(object, 'l7_lookup');
    const { cookie } = libbpf.testLookup(program, context(remote, remotePort, port, 17));
    return Object.entries(fds).find(([, fd]) => socketCookie(fd) === cookie)?.[0];
  };
  expect(socketOf('192.0.2.1', 5000)).toBe('worker4');
  expect(socketOf('2001:db8::1', 5000)).toBe('worker6');
  for (const [remote, remotePort] of [
    ['192.0.2.1', 5001],
    ['192.0.2.3', 5000],
    ['192.0.2.2', 5000],
  ] as const)
    expect(socketOf(remote, remotePort)).toBe('bucket4');
  expect(socketOf('2001:db8::2', 5000)).toBe('bucket6');
  // The socket of a worker that ends goes, and its sessions with it.
  closeFd(fds.worker4);
  expect(socketOf('192.0.2.1', 5000)).toBe('bucket4');
  for (const fd of [fds.bucket4, fds.bucket6, fds.worker6]) closeFd(fd);
});

test('what became of connections is counted by name', () => {
  const stats = libbpf.mapFd(object, 'l7_lookup_stats');
  const before = readLookups(stats);
  workerOf('192.0.2.1', 5000);
  workerOf('192.0.2.1', 5000, 22);
  const after = readLookups(stats);
  expect(Object.keys(after)).toEqual(['not_ours', 'assigned', 'no_proxy', 'assign_refused', 'other_port']);
  expect(after['assigned']).toBe((before['assigned'] ?? 0) + 1);
  expect(after['other_port']).toBe((before['other_port'] ?? 0) + 1);
});

test('the key is drawn when its map is made, and stays with it', () => {
  const folder = `/sys/fs/bpf/l7-lookup-test-${process.pid}`;
  mkdirSync(folder);
  try {
    const logger = createLogger('test');
    const keyOf = () => {
      const fds = openLookupMaps(folder, logger);
      const key = Buffer.alloc(16);
      libbpf.lookupElement(fds.steeringKey, new Uint8Array(4), key);
      for (const fd of Object.values(fds)) closeFd(fd);
      return key.toString('hex');
    };
    const first = keyOf();
    expect(first).not.toBe('0'.repeat(32));
    expect(keyOf()).toBe(first);
    // As those that a version before it has left: the other maps are kept.
    rmSync(pinPath(folder, 'l7_steering_key'));
    expect(keyOf()).not.toBe(first);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
