import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { fixedMemory, sendAt } from '@l4d/kit/ffi/event-socket.ts';
import { afterEach, expect, it } from 'vitest';
import { openDescriptors, startProxyUnderTest, until } from '../testing/proxy-under-test.ts';
import { Pipes, piped } from './pipes.ts';

const MSG_OOB = 1;
const sockets: Socket[] = [];
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const close of closers.splice(0).reverse()) await close();
});

function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

/** Two ends of a connection that Node does not read. */
async function pair(): Promise<readonly [Socket, Socket]> {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  closers.push(() => server.close());
  const accepted = once(server, 'connection');
  await once(server, 'listening');
  const near = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const [far] = (await accepted) as [Socket];
  sockets.push(near, far);
  return [near, far];
}

it('are no more than may be; two empty ones are kept, none that holds something, and nothing is left open', async () => {
  const [near, far] = await pair();
  const before = openDescriptors();
  const pipes = new Pipes();
  const taken = Array.from({ length: 64 }, () => pipes.take());
  expect(taken).not.toContain(undefined);
  expect(pipes.take()).toBeUndefined();
  expect(openDescriptors()).toBe(before + 128);
  const [first, ...others] = taken;
  expect(first?.fill(descriptorOf(far))).toBe(piped.nothing);
  near.write('held');
  await until(() => first?.fill(descriptorOf(far)) === 4);
  for (const pipe of [first, ...others]) if (pipe !== undefined) pipes.give(pipe);
  expect(openDescriptors()).toBe(before + 4);
  expect([pipes.take()?.held, pipes.take()?.held]).toEqual([0, 0]);
  for (const pipe of others.slice(0, 2)) if (pipe !== undefined) pipes.give(pipe);
  pipes.close();
  expect(openDescriptors()).toBe(before);
});

/** A proxy of mode tcp before a server that reads nothing until it is told to. */
async function bulkProxy() {
  const [near, far] = [Promise.withResolvers<Socket>(), createServer({ pauseOnConnect: true })];
  far.once('connection', (socket: Socket) => {
    sockets.push(socket);
    near.resolve(socket);
  });
  far.listen(0, '127.0.0.1');
  closers.push(() => far.close());
  await once(far, 'listening');
  const backendPort = (far.address() as AddressInfo).port;
  const proxy = await startProxyUnderTest({ drainMs: 300 }, { backendPort, listener: { mode: 'tcp' } });
  closers.push(() => proxy.stop());
  const client = connect({ port: proxy.port, host: '127.0.0.1' });
  client.on('error', () => undefined);
  sockets.push(client);
  return { proxy, client, server: await near.promise };
}

function openPipes(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:');
    } catch {
      return false;
    }
  }).length;
}

it('bulk goes through a pipe, and nothing of it stays when its reader stops reading and goes', async () => {
  const { proxy, client, server } = await bulkProxy();
  const before = openPipes();
  client.write(Buffer.alloc(64 << 20));
  // Until the kernel gives them room connections do not carry bulk.
  let got = 0;
  server.on('data', (bytes) => {
    got += bytes.length;
    if (got > 16 << 20) server.pause();
  });
  await until(() => openPipes() === before + 2);
  server.resetAndDestroy();
  await until(() => proxy.status().activeConnections === 0);
  await proxy.stop();
  await until(() => openPipes() === before);
});

it('urgent data amid bulk hold nothing up', async () => {
  const { client, server } = await bulkProxy();
  const piece = fixedMemory(4 << 20);
  let got = 0;
  server.on('data', (bytes) => (got += bytes.length));
  let sent = 0;
  for (const flags of [0, MSG_OOB, 0]) {
    const size = flags === MSG_OOB ? 1 : piece.bytes.length;
    for (let at = 0; at < size; ) {
      const count = sendAt(descriptorOf(client), piece.address + at, size - at, flags | 0x4040);
      at += Math.max(0, count);
      if (count < 0) await new Promise(setImmediate);
    }
    sent += flags === MSG_OOB ? 0 : size;
    server.resume();
  }
  await until(() => got >= sent);
  expect(got).toBe(sent);
});
