import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { attachSocket, detachSocket, trackOutgoing } from './detach.ts';

/** Two ends of one connection over loopback. */
async function connection(): Promise<readonly [Socket, Socket]> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const near = connect(port, '127.0.0.1');
  const [far] = (await once(server, 'connection')) as [Socket];
  if (near.connecting) await once(near, 'connect');
  server.close();
  return [near, far];
}

it('hands a connection on again and again while both directions are full, and no octet is lost or doubled', async () => {
  const [first, far] = await connection();
  const total = 8 * 1024 * 1024;
  const pattern = Buffer.alloc(65536 + 13);
  for (let i = 0; i < pattern.length; i++) pattern[i] = (i * 7) % 251;
  const at = (offset: number, length: number) => {
    const out = Buffer.alloc(length);
    for (let i = 0; i < length; i++) out[i] = (((offset + i) % pattern.length) * 7) % 251;
    return out;
  };
  let received = 0;
  let wrong = 0;
  far.on('data', (chunk) => {
    if (!chunk.equals(at(received, chunk.length))) wrong += 1;
    received += chunk.length;
    // A reader that is slower than the writer: something waits whenever it is handed on.
    far.pause();
    setTimeout(() => far.resume(), 1);
  });
  far.resume();
  let echoed = 0;
  let socket = first;
  let outgoing = trackOutgoing(socket);
  let offered = 0;
  let carried = 0;
  let answered = 0;
  const write = (bytes: Uint8Array) => {
    outgoing.add(bytes);
    const record = outgoing;
    socket.write(bytes, () => record.taken());
  };
  const listen = () => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      echoed += chunk.length;
    });
  };
  listen();
  for (let turn = 0; offered < total; turn++) {
    const length = 100_000 + turn * 31;
    write(at(offered, length));
    offered += length;
    far.write(Buffer.alloc(1000));
    answered += 1000;
    await new Promise((resolve) => setImmediate(resolve));
    while (socket.writableLength > 1_000_000) await new Promise((resolve) => setImmediate(resolve));
    if (turn % 3 !== 0) continue;
    const { descriptor, unsent } = detachSocket(socket, outgoing);
    if (unsent.length > 0) carried += 1;
    socket = attachSocket(descriptor);
    outgoing = trackOutgoing(socket);
    listen();
    if (unsent.length > 0) write(unsent);
  }
  await expect.poll(() => received, { timeout: 20_000 }).toBe(offered);
  expect(wrong).toBe(0);
  expect(carried).toBeGreaterThan(5);
  far.end('end');
  await once(socket, 'end');
  expect(echoed).toBe(answered + 3);
  socket.destroy();
  far.destroy();
}, 30_000);
