import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { constant, setSocketOptionInt } from '@l4d/kit/ffi/libc.ts';
import { expect, it } from 'vitest';
import { attachSocket, detachSocket, trackOutgoing } from './detach.ts';
import { descriptorOf } from './socket-descriptor.ts';

const SO_SNDBUF = 7;

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

const pattern = Buffer.from(Array.from({ length: 65536 + 13 }, (_, i) => (i * 7) % 251));

/** The octets of an endless text from `offset` on. */
function textAt(offset: number, length: number): Buffer {
  const start = offset % pattern.length;
  const turns = Math.ceil((start + length) / pattern.length);
  return Buffer.concat(Array.from({ length: turns }, () => pattern)).subarray(start, start + length);
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

it('hands a connection on again and again while both directions are full, and no octet is lost or doubled', async () => {
  const [first, far] = await connection();
  // Small queues of the kernel's: what is written soon waits.
  setSocketOptionInt(descriptorOf(first) ?? -1, constant.SOL_SOCKET, SO_SNDBUF, 65536);
  setSocketOptionInt(descriptorOf(far) ?? -1, constant.SOL_SOCKET, constant.SO_RCVBUF, 65536);
  let received = 0;
  let wrong = 0;
  far.on('data', (chunk) => {
    if (!chunk.equals(textAt(received, chunk.length))) wrong += 1;
    received += chunk.length;
  });
  let echoed = 0;
  let socket = first;
  let outgoing = trackOutgoing(socket);
  let offered = 0;
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
  const handOn = () => {
    const { descriptor, unsent } = detachSocket(socket, outgoing);
    socket = attachSocket(descriptor);
    outgoing = trackOutgoing(socket);
    listen();
    if (unsent.length > 0) write(unsent);
    return unsent.length;
  };
  listen();
  for (let round = 0; round < 12; round++) {
    far.pause();
    // Turns without progress: the kernel takes no more.
    for (let left = 0, waiting = 0; waiting < 5; waiting = outgoing.left().length > left ? waiting + 1 : 0) {
      left = outgoing.left().length;
      const bytes = textAt(offered, 50_000 + round * 31);
      write(bytes);
      offered += bytes.length;
      await turn();
    }
    far.write(Buffer.alloc(1000));
    answered += 1000;
    expect(handOn()).toBeGreaterThan(0);
    // Before anything has moved, and while it moves.
    if (round % 2 === 0) expect(handOn()).toBeGreaterThan(0);
    far.resume();
    if (round % 3 === 0) {
      await turn();
      handOn();
    }
    await expect.poll(() => received, { interval: 5, timeout: 10_000 }).toBe(offered);
  }
  expect(wrong).toBe(0);
  far.end('end');
  await once(socket, 'end');
  expect(echoed).toBe(answered + 3);
  socket.destroy();
  far.destroy();
}, 30_000);
