/** Tunnels that the kernel relays, through the proxy's own loop, with Node's clients and servers. */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import {
  closeSocket,
  fixedMemory,
  lastErrno,
  receiveAt,
  receiveFlags,
  sendAt,
  sendFlags,
} from '@l4d/kit/ffi/event-socket.ts';
import { lookupElement, mapKeys, openMapById } from '@l4d/kit/ffi/libbpf.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { createProxyClient } from '@l4d/kit/proxy-client.ts';
import { makeSelfSigned } from '@l4d/kit/tls/self-signed.ts';
import { KernelRelays } from '@l4d/l7/io/kernel-relays.ts';
import {
  type ListenerParts,
  openDescriptors,
  type ProxyUnderTest,
  startProxyUnderTest,
  until,
} from '@l4d/l7/io/testing/proxy-under-test.ts';
import { afterEach, expect, test } from 'vitest';

const proxies: ProxyUnderTest[] = [];
const servers: Server[] = [];
const sockets: Socket[] = [];
const children: ChildProcess[] = [];
/** Those whose workers end when they are asked to. */
const supervisors: ChildProcess[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const child of supervisors.splice(0)) child.kill('SIGTERM');
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const proxy of proxies.splice(0)) await proxy.stop();
  for (const server of servers.splice(0)) server.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const echo = (socket: Socket) => void socket.pipe(socket);

async function listen(serve: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function startWith(parts: ListenerParts): Promise<ProxyUnderTest> {
  const proxy = await startProxyUnderTest({ drainMs: 300 }, parts);
  proxies.push(proxy);
  return proxy;
}

const start = (backendPort: number, relayBytes = 1 << 28, idleMs = 60_000) =>
  startWith({ backendPort, idleMs, listener: { mode: 'tcp', relay: 'kernel', limits: { relayBytes } } });

async function client(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

async function inKernel(proxy: ProxyUnderTest, tunnels: number): Promise<void> {
  await until(() => proxy.status().kernelRelays === tunnels);
}

/** How a connection is over, whoever ended it. */
async function fate(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    socket.once('end', () => resolve('end'));
    socket.resume();
  });
}

async function askedAndAnswered(socket: Socket, text: string): Promise<string> {
  const heard = once(socket, 'data');
  socket.write(text);
  return String((await heard)[0]);
}

/** The maps of this process by type (1: hash, 15: sockmap), as descriptors. */
function relayMaps(type: number): number[] {
  return readdirSync('/proc/self/fdinfo').flatMap((fd) => {
    try {
      const text = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      const isOurs = text.includes(`map_type:\t${type}\n`) && text.includes('max_entries:\t16384\n');
      return isOurs ? [Number(fd)] : [];
    } catch {
      return [];
    }
  });
}

/** Ends of the lowest numbers, which are given out first; there are never as many tunnels at a time here. */
const lowestEnds = Array.from({ length: 256 }, (_, end) => new Uint8Array(Uint32Array.of(end).buffer));

function mapEntries(): number {
  const value = new Uint8Array(8);
  const inSockmaps = relayMaps(15).flatMap((map) =>
    lowestEnds.filter((end) => lookupElement(map, end, value)),
  );
  return inSockmaps.length + relayMaps(1).reduce((sum, map) => sum + mapKeys(map, 8).length, 0);
}

test('question and answer, then the end of each side by itself', async () => {
  const proxy = await start(await listen(echo));
  const socket = await client(proxy.port);
  await inKernel(proxy, 1);
  expect(mapEntries()).toBe(6);
  for (let turn = 0; turn < 100; turn++) expect(await askedAndAnswered(socket, `${turn}`)).toBe(`${turn}`);
  const over = fate(socket);
  socket.end('last');
  expect(await over).toBe('end');
  await until(() => proxy.status().activeConnections === 0);
  expect(mapEntries()).toBe(0);
});

const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const switched = `HTTP/1.1 101 Switching Protocols\r\n${upgrade}`;
const forwarding = (port: number): ListenerParts => ({
  pools: [],
  destinations: [{ prefixes: ['127.0.0.0/8'], ports: [[port, port]] }],
});
const portBytes = (port: number) => String.fromCharCode(port >> 8, port & 255);

/** How tunnels begin: what a client says, and how what it hears begins. */
const beginnings: readonly {
  readonly mode: 'connect' | 'socks' | 'http';
  parts(port: number): ListenerParts;
  talk(port: number): readonly (readonly [said: string, heard: string])[];
}[] = [
  {
    mode: 'connect',
    parts: forwarding,
    talk: (port) => [[`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: a\r\n\r\n`, 'HTTP/1.1 200 ']],
  },
  {
    mode: 'socks',
    parts: forwarding,
    talk: (port) => [
      ['\x05\x01\x00', '\x05\x00'],
      [`\x05\x01\x00\x01\x7f\x00\x00\x01${portBytes(port)}`, '\x05\x00\x00'],
    ],
  },
  {
    mode: 'http',
    parts: (backendPort) => ({ backendPort }),
    talk: () => [[`GET / HTTP/1.1\r\nHost: a\r\n${upgrade}`, 'HTTP/1.1 101 ']],
  },
];

test.each(beginnings)('mode $mode: what follows the beginning goes through the kernel', async (one) => {
  const { mode, parts, talk } = one;
  const backend = await listen((socket) => {
    if (mode !== 'http') return echo(socket);
    socket.once('data', () => {
      socket.write(switched);
      echo(socket);
    });
  });
  const proxy = await startWith({ ...parts(backend), listener: { mode, relay: 'kernel' } });
  const socket = await client(proxy.port);
  for (const [said, begin] of talk(backend)) {
    const heard = once(socket, 'data');
    socket.write(said, 'latin1');
    expect((await heard)[0].toString('latin1').slice(0, begin.length)).toBe(begin);
  }
  await inKernel(proxy, 1);
  for (let turn = 0; turn < 5; turn++) expect(await askedAndAnswered(socket, `${turn}`)).toBe(`${turn}`);
  const over = fate(socket);
  socket.end();
  expect(await over).toBe('end');
});

test('mode tls-passthrough: the handshake and what follows go through the kernel, whole', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'l7-relay-'));
  folders.push(folder);
  const { cert, key } = makeSelfSigned(folder, 'relay', 'relay.example');
  const keys = { cert: readFileSync(cert), key: readFileSync(key) };
  const server = createTlsServer(keys, (socket) => void socket.on('error', () => undefined).pipe(socket));
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  const backendPort = (server.address() as AddressInfo).port;
  const proxy = await startWith({ backendPort, listener: { mode: 'tls-passthrough', relay: 'kernel' } });
  const socket = connectTls({
    port: proxy.port,
    host: '127.0.0.1',
    servername: 'relay.example',
    ca: keys.cert,
  });
  sockets.push(socket);
  await once(socket, 'secureConnect');
  await inKernel(proxy, 1);
  const sent = randomBytes(1 << 20);
  const heard: Buffer[] = [];
  socket.on('data', (piece) => heard.push(piece));
  socket.end(sent);
  await once(socket, 'end');
  expect(Buffer.concat(heard).equals(sent)).toBe(true);
});

test('packets of a byte reach the limit by what they cost, not by what they carry', async () => {
  const limit = 16 << 20;
  const port = await listen((socket) => void socket.pause());
  const proxy = await start(port, limit);
  const socket = await client(proxy.port);
  await inKernel(proxy, 1);
  const over = fate(socket);
  const { _handle: handle } = socket as unknown as { _handle: { fd: number } };
  const memory = fixedMemory(1 << 20);
  // Until nothing is acknowledged any more: what waits now is less than the limit.
  let sent = 0;
  while (sent < 12 << 20) {
    const count = sendAt(handle.fd, memory.address, 1 << 16, sendFlags);
    if (count > 0) sent += count;
    else await sleep(1);
  }
  await sleep(20);
  expect(proxy.status().kernelRelaysOverLimit).toBe(0);
  let packets = 0;
  while (proxy.status().kernelRelaysOverLimit === 0 && packets < 200_000) {
    for (let i = 0; i < 500; i++) if (sendAt(handle.fd, memory.address, 1, sendFlags) === 1) packets += 1;
    await new Promise(setImmediate);
  }
  expect(packets).toBeLessThan(200_000);
  expect(await over).toBe('ECONNRESET');
});

test('a side that has ended still hears the other one', async () => {
  const heard: string[] = [];
  const port = await listen((socket) => {
    socket.on('data', (piece) => heard.push(String(piece)));
    socket.write('hello');
    // The server says no more, and listens on.
    socket.once('data', () => socket.end());
  });
  const proxy = await start(port);
  const socket = await client(proxy.port);
  await inKernel(proxy, 1);
  const over = fate(socket);
  socket.write('one');
  expect(await over).toBe('end');
  for (const text of [' two', ' three']) {
    socket.write(text);
    await until(() => heard.join('').endsWith(text));
  }
  socket.end();
  await until(() => proxy.status().activeConnections === 0);
  expect(heard.join('')).toBe('one two three');
});

test('nothing is lost, doubled or reordered by clients that send at once, in many pieces, while the kernel takes over', async () => {
  const proxy = await start(await listen(echo));
  await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const sent = randomBytes(20_000 + index * 7919);
      const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
      sockets.push(socket);
      const heard: Buffer[] = [];
      socket.on('data', (piece) => heard.push(piece));
      const over = once(socket, 'end');
      for (let at = 0; at < sent.length; at += 1 + ((at * 31 + index) % 4096)) {
        const end = at + 1 + ((at * 31 + index) % 4096);
        socket.write(sent.subarray(at, end));
        if (at % 5 === 0) await new Promise(setImmediate);
      }
      socket.end();
      await over;
      expect(Buffer.concat(heard).equals(sent)).toBe(true);
    }),
  );
  expect(proxy.status().kernelRelays).toBeGreaterThan(0);
  expect(proxy.status().kernelRelaysOverLimit).toBe(0);
});

test('what has come before the kernel takes over, and nothing after it, is passed on', async () => {
  const held: Socket[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => void held.push(socket));
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  const peers = [];
  for (let side = 0; side < 2; side++) {
    peers.push(await client((server.address() as AddressInfo).port));
    await until(() => held.length > side);
  }
  sockets.push(...held);
  const [from, to] = peers;
  await new Promise<void>((resolve) => from?.write('early', () => resolve()));
  const heard = to === undefined ? [] : once(to, 'data');
  const fds = held.map((socket) => (socket as unknown as { _handle: { fd: number } })._handle.fd);
  const tunnel = new KernelRelays(createLogger('relay-test')).begin([fds[0] ?? -1, fds[1] ?? -1], 1 << 20);
  if (typeof tunnel === 'string') throw new Error(tunnel);
  expect(String((await heard)[0])).toBe('early');
  expect([tunnel.bytesFrom(0), tunnel.bytesFrom(1), tunnel.isPassedOn(0)]).toEqual([5, 0, true]);
  for (const socket of held) socket.destroy();
  tunnel.release();
});

test('bulk both ways at once arrives whole, and the end behind it', async () => {
  const bulk = randomBytes(24 << 20);
  const digest = createHash('sha256').update(bulk).digest('hex');
  const atServer = createHash('sha256');
  let served = false;
  const port = await listen((socket) => {
    socket.on('data', (piece) => {
      if (!served) socket.end(bulk);
      served = true;
      atServer.update(piece);
    });
  });
  const proxy = await start(port);
  const socket = await client(proxy.port);
  await inKernel(proxy, 1);
  const atClient = createHash('sha256');
  socket.on('data', (piece) => atClient.update(piece));
  socket.end(bulk);
  await once(socket, 'end');
  await until(() => proxy.status().activeConnections === 0);
  expect([atClient.digest('hex'), atServer.digest('hex')]).toEqual([digest, digest]);
});

test('a reader that does not read: both ends are reset above the limit, and counted', async () => {
  const held: Socket[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => void held.push(socket));
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const proxy = await start(port, 1 << 20);
  const socket = await client(proxy.port);
  await inKernel(proxy, 1);
  await until(() => held.length === 1);
  const over = new Promise((resolve) => socket.once('error', (error) => resolve(error.message)));
  const piece = Buffer.alloc(1 << 20);
  for (let i = 0; i < 64; i++) socket.write(piece);
  expect(await over).toMatch(/ECONNRESET|EPIPE/);
  expect(proxy.status()).toMatchObject({ kernelRelaysOverLimit: 1, activeConnections: 0 });
  // Node itself takes a reset behind unread data for an end: the kernel is asked.
  sockets.push(...held);
  const fd = (held[0] as unknown as { _handle: { fd: number } })._handle.fd;
  const memory = fixedMemory(1 << 16);
  await until(() => {
    let count = 1;
    while (count > 0) count = receiveAt(fd, memory.address, 1 << 16, receiveFlags);
    if (count === 0) throw new Error('the reader was told an end');
    return lastErrno() === constants.errno.ECONNRESET;
  });
  expect(mapEntries()).toBe(0);
});

test('a reset of either side is passed on', async () => {
  const atServer: Socket[] = [];
  const proxy = await start(await listen((socket) => void atServer.push(socket)));
  for (const [index, who] of (['client', 'server'] as const).entries()) {
    const socket = await client(proxy.port);
    await inKernel(proxy, index + 1);
    await until(() => atServer.length > index);
    const server = atServer.at(-1);
    if (server === undefined) throw new Error('no server');
    const [from, to] = who === 'client' ? [socket, server] : [server, socket];
    const over = fate(to);
    from.on('error', () => undefined).resetAndDestroy();
    expect(await over).toBe('ECONNRESET');
  }
  await until(() => proxy.status().activeConnections === 0);
});

test('silence ends it, by what the kernel has passed on', async () => {
  const proxy = await start(await listen(echo), 1 << 20, 400);
  const socket = await client(proxy.port);
  await inKernel(proxy, 1);
  for (let turn = 0; turn < 6; turn++) {
    await askedAndAnswered(socket, 'x');
    await sleep(120);
  }
  expect(proxy.status().activeConnections).toBe(1);
  expect(await fate(socket)).toBe('end');
});

test('a drain ends it without a loss', async () => {
  const proxy = await start(await listen(echo));
  const socket = await client(proxy.port);
  await inKernel(proxy, 1);
  const over = fate(socket);
  await askedAndAnswered(socket, 'x');
  await proxies.splice(0)[0]?.stop();
  expect(await over).toBe('end');
});

test('500 short tunnels leave neither descriptors nor entries of maps', async () => {
  const proxy = await start(await listen(echo));
  const one = async () => {
    const socket = await client(proxy.port);
    expect(await askedAndAnswered(socket, 'x')).toBe('x');
    const over = fate(socket);
    socket.end();
    await over;
    socket.destroy();
  };
  await one();
  await until(() => proxy.status().activeConnections === 0);
  const before = openDescriptors();
  for (let round = 0; round < 20; round++) await Promise.all(Array.from({ length: 25 }, one));
  await until(() => proxy.status().activeConnections === 0);
  await until(() => openDescriptors() <= before);
  expect(proxy.status().kernelRelays).toBeGreaterThan(250);
  expect(mapEntries()).toBe(0);
});

test('while the process is stopped traffic goes on and the limit holds', async () => {
  const atServer: Socket[] = [];
  const port = await listen((socket) => {
    atServer.push(socket);
    socket.once('data', (first) => {
      if (String(first) === 'stop') return void socket.pause();
      socket.write(first);
      socket.pipe(socket);
    });
  });
  const limit = 1 << 20;
  const file = fileURLToPath(new URL('./proxy/relay-process.ts', import.meta.url));
  const child = fork(file, [String(port), String(limit)], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  children.push(child);
  const [said] = child.stdout === null ? [] : await once(child.stdout, 'data');
  const status = async () => {
    child.send('status');
    return (await once(child, 'message'))[0] as ReturnType<ProxyUnderTest['status']>;
  };
  const talking = await client(Number(said));
  const flooding = await client(Number(said));
  expect(await askedAndAnswered(talking, 'x')).toBe('x');
  flooding.write('stop');
  while ((await status()).kernelRelays < 2) await sleep(5);
  child.kill('SIGSTOP');
  const over = fate(flooding);
  for (let turn = 0; turn < 20; turn++) expect(await askedAndAnswered(talking, `${turn}`)).toBe(`${turn}`);
  const memoryBefore = tcpPages();
  let taken = 0;
  const piece = Buffer.alloc(1 << 16);
  for (let i = 0; i < 1024; i++) flooding.write(piece, () => (taken += piece.length));
  await until(() => taken > 32 * limit);
  expect((tcpPages() - memoryBefore) * 4096).toBeLessThan(16 * limit);
  expect(await askedAndAnswered(talking, 'still')).toBe('still');
  child.kill('SIGCONT');
  expect(await over).toMatch(/ECONNRESET|EPIPE/);
  expect((await status()).kernelRelaysOverLimit).toBe(1);
});

test('a worker is renewed, and killed: its tunnels end, its maps go, and those of others live on', async () => {
  const backend = await listen(echo);
  const other = await start(backend);
  const living = await client(other.port);
  await askedAndAnswered(living, 'x');
  await inKernel(other, 1);

  const folder = mkdtempSync(join(tmpdir(), 'l7-relay-'));
  folders.push(folder);
  const runDir = join(folder, 'run');
  mkdirSync(runDir);
  const command = fileURLToPath(new URL('../../l7/bin/l4-proxy', import.meta.url));
  const child = spawn(command, ['--run-dir', runDir, '--bpf-dir', join(folder, 'bpf')], { stdio: 'ignore' });
  supervisors.push(child);
  const ports = () => portsOf(child.pid ?? 0);
  await until(() => ports().length > 0);
  const [port = 0] = ports();
  const api = createProxyClient(runDir);
  const pools = [{ name: 'default', backends: [{ address: '127.0.0.1', port: backend }] }];
  const listener = { name: 'test', address: '127.0.0.1', port, mode: 'tcp', relay: 'kernel', pools } as const;
  await api.putDesired({ workers: 1, drainMs: 200, listeners: [listener] });
  while ((await api.status()).workers.length !== 1) await sleep(10);
  /** Talks; resolves with the connection when it is one of so many that went to the kernel. */
  const tunnel = async (count: number) => {
    const socket = await client(port);
    while ((await api.status()).listeners[0]?.kernelRelays !== count) await sleep(10);
    for (let turn = 0; turn < 5; turn++) expect(await askedAndAnswered(socket, `${turn}`)).toBe(`${turn}`);
    return socket;
  };

  const first = await tunnel(1);
  const firstOver = fate(first);
  const [old] = (await api.status()).workers;
  await api.renew();
  // It has spoken in the last second: an end could be taken for the end of the whole.
  expect(await firstOver).toBe('ECONNRESET');
  const second = await tunnel(2);
  const secondOver = fate(second);
  const worker = (await api.status()).workers.find(({ pid }) => pid !== old?.pid)?.pid ?? 0;
  expect(worker).toBeGreaterThan(0);
  const maps = mapsOf(worker).filter((id) => !mapsOf(child.pid ?? 0).includes(id));
  expect(maps.length).toBeGreaterThanOrEqual(5);
  process.kill(worker, 'SIGKILL');
  expect(await secondOver).toMatch(/end|ECONNRESET/);
  await until(() => maps.every((id) => !isMap(id)));

  for (let turn = 0; turn < 5; turn++) expect(await askedAndAnswered(living, `${turn}`)).toBe(`${turn}`);
  expect(other.status().activeConnections).toBe(1);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
});

/** Where a process listens. */
function portsOf(pid: number): number[] {
  const lines = execFileSync('ss', ['-Hltnp4'], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const port = /127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    return line.includes(`pid=${pid},`) && port !== undefined ? [Number(port)] : [];
  });
}

/** Ids of the maps that a process has. */
function mapsOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/fdinfo`).flatMap((fd) => {
    const text = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
    const id = /^map_id:\t(\d+)$/m.exec(text)?.[1];
    return id === undefined ? [] : [Number(id)];
  });
}

function isMap(id: number): boolean {
  try {
    closeSocket(openMapById(id));
    return true;
  } catch {
    return false;
  }
}

/** Pages that TCP has in its queues (all of this network namespace's host). */
function tcpPages(): number {
  return Number(/TCP:.* mem (\d+)/.exec(readFileSync('/proc/net/sockstat', 'utf8'))?.[1]);
}
