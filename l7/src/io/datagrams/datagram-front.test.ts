import { execFileSync } from 'node:child_process';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fixedMemory, lastName, readLocalName } from '@l4d/kit/ffi/event-socket.ts';
import { ReceiveBatch } from '@l4d/kit/ffi/receive-batch.ts';
import { SendBatch } from '@l4d/kit/ffi/send-batch.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { type ProxyDesiredInput, parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { afterEach, expect, test, vi } from 'vitest';
import { defaultLimits } from '../../core/limits.ts';
import { compilePolicy } from '../../core/policy.ts';
import { listenerStatus } from '../counters.ts';
import { lookAtLimit } from '../descriptor-room.ts';
import { type Front, startFront } from '../front.ts';
import { openDescriptors, until } from '../testing/proxy-under-test.ts';
import { datagramSocket } from './datagram-socket.ts';
import { nameOf } from './end-name.ts';

type Listener = ProxyDesiredInput['listeners'][number];

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of open.splice(0)) await end();
});

async function udpSocket(
  onMessage: (bytes: Buffer, from: RemoteInfo, socket: Socket) => void,
): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (bytes, from) => onMessage(bytes, from, socket));
  socket.on('error', () => undefined);
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  open.push(() => void socket.close());
  return socket;
}

/** A front with one listener on loopback; its socket is bound to the listener itself. */
function startListener(backends: readonly number[], parts: Partial<Listener> = {}) {
  const front: Front = startFront(createLogger('l7-test'), {
    ...defaultLimits,
    // The clients are in the same thread.
    loopWaitMs: 1,
    drainIdleMs: 0,
    drainIdleSessionMs: 0,
  });
  const fd = datagramSocket(4, 1 << 20);
  readLocalName(fd);
  const port = lastName().charCodeAt(0) * 256 + lastName().charCodeAt(1);
  const use = (ports: readonly number[]) => {
    const pools = [{ name: 'default', backends: ports.map((one) => ({ address: '127.0.0.1', port: one })) }];
    const desired = parseProxyDesired({
      listeners: [{ name: 'test', address: '127.0.0.1', port, mode: 'udp', pools, ...parts }],
    });
    if (!desired.ok) throw new Error(JSON.stringify(desired.error));
    front.usePolicy(compilePolicy(desired.value, front.table));
  };
  use(backends);
  front.serveDatagrams([fd]);
  open.push(() => front.drain());
  const status = () => {
    const [listener] = [...front.table.values()];
    if (listener === undefined) throw new Error('no listener');
    return listenerStatus(listener, front.counters);
  };
  return { front, fd, port, use, status };
}

const echo = () => udpSocket((bytes, { port, address }, socket) => socket.send(bytes, port, address));
const counted = () => {
  const state = { count: 0, bytes: 0 };
  return udpSocket((bytes) => {
    state.count += 1;
    state.bytes += bytes.length;
  }).then((socket) => ({ socket, state }));
};

/** Sets this process's limit of open files; returns how to take that back. */
function setOpenFilesLimit(soft: number): () => void {
  const set = (limit: number | string) => {
    execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${limit}:`]);
    lookAtLimit();
  };
  const [, before = ''] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
  set(soft);
  return () => set(before);
}

test('a burst comes back whole, in both directions', async () => {
  const backend = await echo();
  const { port, status } = startListener([backend.address().port]);
  const client = await counted();
  for (const size of [0, 1, 1400, 1400, 9000, 65_507])
    client.socket.send(Buffer.alloc(size, 'x'), port, '127.0.0.1');
  await until(() => client.state.count === 6);
  expect(client.state.bytes).toBe(1 + 1400 + 1400 + 9000 + 65_507);
  const bytes = client.state.bytes;
  expect(status().datagrams).toMatchObject({ received: 6, receivedBytes: bytes, sent: 6, sentBytes: bytes });
  expect(status()).toMatchObject({ activeConnections: 1, connections: 1 });
});

test('a session without a datagram for the idle time ends, and its descriptor is closed', async () => {
  const backend = await echo();
  const { port, status } = startListener([backend.address().port], { timeouts: { idleMs: 100 } });
  const client = await counted();
  const before = openDescriptors();
  client.socket.send('x', port, '127.0.0.1');
  await until(() => client.state.count === 1);
  expect(openDescriptors()).toBe(before + 1);
  await until(() => status().activeConnections === 0);
  expect(openDescriptors()).toBe(before);
});

test('a session gets as many answers as it may, though more come at once', async () => {
  const backend = await udpSocket((_bytes, { port, address }, socket) => {
    for (const answer of ['1', '2', '3', '4', '5']) socket.send(answer, port, address);
  });
  const { port, status } = startListener([backend.address().port], { udp: { responses: 2 } });
  const client = await counted();
  for (let i = 1; i <= 20; i++) {
    client.socket.send('x', port, '127.0.0.1');
    await until(() => status().connections === i && status().activeConnections === 0);
  }
  await until(() => client.state.count >= 40);
  expect(client.state.count).toBe(40);
  expect(status().datagrams).toMatchObject({ received: 20, sent: 40 });
});

test('more clients than sessions: those that have sent once go first, and what happens is counted', async () => {
  const backend = await echo();
  const { port, status } = startListener([backend.address().port], { udp: { maxSessions: 3 } });
  const regular = await counted();
  for (let i = 1; i <= 2; i++) {
    regular.socket.send('x', port, '127.0.0.1');
    await until(() => regular.state.count === i);
  }
  for (let i = 0; i < 6; i++) {
    const other = await counted();
    other.socket.send('x', port, '127.0.0.1');
    await until(() => other.state.count === 1);
  }
  expect(status()).toMatchObject({ activeConnections: 3, connections: 7, datagrams: { evicted: 4 } });
  regular.socket.send('x', port, '127.0.0.1');
  await until(() => regular.state.count === 3);
  expect(status()).toMatchObject({ connections: 7 });
});

test('a backend that is no longer one: its sessions end, and the next datagram begins another', async () => {
  const [first, second] = [await echo(), await echo()];
  const { port, use, status } = startListener([first.address().port]);
  const client = await counted();
  client.socket.send('x', port, '127.0.0.1');
  await until(() => client.state.count === 1);
  use([first.address().port, second.address().port]);
  expect(status().activeConnections).toBe(1);
  use([second.address().port]);
  expect(status().activeConnections).toBe(0);
  client.socket.send('x', port, '127.0.0.1');
  await until(() => client.state.count === 2);
  expect(status()).toMatchObject({ connections: 2, activeConnections: 1 });
});

test('nobody is at any backend: told as unserved, and nothing is left', async () => {
  const gone = createSocket('udp4').bind(0, '127.0.0.1');
  await once(gone, 'listening');
  const { port: dead } = gone.address();
  gone.close();
  const { port, status } = startListener([dead]);
  const client = await counted();
  client.socket.send('x', port, '127.0.0.1');
  await until(() => status().unserved === 1);
  expect(status()).toMatchObject({ activeConnections: 0, backends: [{ requests: 1, errors: 1 }] });
  await sleep(20);
  expect(client.state.count).toBe(0);
});

test('a backend goes away in the middle: the session goes on with another', async () => {
  const [first, second] = [await echo(), await echo()];
  const ports = [first.address().port, second.address().port];
  const { port, status } = startListener(ports);
  const client = await counted();
  client.socket.send('x', port, '127.0.0.1');
  await until(() => client.state.count === 1);
  const used = status().backends.findIndex(({ requests }) => requests === 1);
  const struck = [first, second][used];
  struck?.removeAllListeners('message');
  struck?.close();
  open.splice(used, 1);
  // The first of these, and what is sent together with it, finds out; the others are for the next one.
  await until(() => {
    client.socket.send('x', port, '127.0.0.1');
    return client.state.count >= 3;
  });
  expect(status()).toMatchObject({ connections: 1, activeConnections: 1, datagrams: { repicked: 1 } });
});

test('a session in which nothing happens is not looked at', async () => {
  const backend = await echo();
  const { port } = startListener([backend.address().port]);
  const client = await counted();
  client.socket.send('x', port, '127.0.0.1');
  await until(() => client.state.count === 1);
  await sleep(50);
  const looks = vi.spyOn(ReceiveBatch.prototype, 'receive');
  await sleep(200);
  expect(looks).toHaveBeenCalledTimes(0);
  looks.mockRestore();
});

test('a session goes on with another backend though no descriptor is left, over the one that it has', async () => {
  const deadPorts: number[] = [];
  for (let i = 0; i < 8; i++) {
    const gone = createSocket('udp4').bind(0, '127.0.0.1');
    await once(gone, 'listening');
    deadPorts.push(gone.address().port);
    gone.close();
  }
  const live = await echo();
  const { port, status } = startListener([...deadPorts, live.address().port]);
  const client = await counted();
  const before = openDescriptors();
  const highest = Math.max(...readdirSync('/proc/self/fd').map(Number));
  const fillers: number[] = [];
  // All lower numbers are taken, but for what starting a program takes.
  for (let fd = -1; fd < highest + 32; fillers.push(fd)) fd = openSync('/dev/null', 'r');
  const restoreLimit = setOpenFilesLimit(highest + 32 + 16);
  // One is free.
  closeSync(fillers.pop() ?? -1);
  closeSync(fillers.pop() ?? -1);
  try {
    client.socket.send('x', port, '127.0.0.1');
    await until(() => client.state.count === 1);
    expect(status()).toMatchObject({ connections: 1, activeConnections: 1, datagrams: { evicted: 0 } });
  } finally {
    for (const fd of fillers) closeSync(fd);
    restoreLimit();
  }
  await until(() => openDescriptors() === before + 1);
});

test('a datagram that claims to come from a listener is not answered: the answers would go round for ever', async () => {
  const backend = await echo();
  const { fd, port, status } = startListener([backend.address().port]);
  const forged = new SendBatch(1);
  const itself = { name: nameOf(ipAddress('127.0.0.1'), port), scopeId: 0, apart: true };
  forged.add(itself, fixedMemory(8).address, 8);
  forged.send(fd);
  await until(() => (status().datagrams?.received ?? 0) > 0);
  await sleep(50);
  expect(status()).toMatchObject({ denied: 1, activeConnections: 0, datagrams: { received: 1, sent: 0 } });
});

test('sessions take half of the descriptors at most, whatever their listener would allow', async () => {
  const backend = await echo();
  const { port, status } = startListener([backend.address().port]);
  const limit = openDescriptors() + 80;
  const most = Math.floor((limit - 16) / 2);
  const restoreLimit = setOpenFilesLimit(limit);
  try {
    for (let i = 0; i < most + 3; i++) {
      const client = createSocket('udp4');
      client.send('x', port, '127.0.0.1');
      await once(client, 'message');
      client.close();
    }
    expect(status()).toMatchObject({ activeConnections: most, datagrams: { evicted: 3 } });
  } finally {
    restoreLimit();
  }
});
