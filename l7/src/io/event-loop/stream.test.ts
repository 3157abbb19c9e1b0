import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import {
  acceptConnection,
  epollEvent,
  fixedMemory,
  lastName,
  listenOn,
  readLocalName,
  sendAt,
} from '@l4d/kit/ffi/event-socket.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bindLoopback } from '../listening-socket.ts';
import { until } from '../testing/proxy-under-test.ts';
import { type TlsSession, tlsOutcome } from '../tls/tls-session.ts';
import { EventLoop } from './loop.ts';
import { received, Stream } from './stream.ts';

const MSG_OOB = 1;

/** Reads so much an event. */
class Reader extends Stream {
  counts: number[] = [];
  readonly #piece: number;

  constructor(loop: EventLoop, fd: number, events: number, piece: number, tls?: TlsSession) {
    super(loop, fd, events, tls);
    this.#piece = piece;
  }

  override onEvents(events: number): void {
    if ((events & epollEvent.out) !== 0) this.flush();
    if ((events & epollEvent.in) === 0) return;
    const count = this.receive(this.#piece);
    if (count === received.nothing) return;
    this.counts.push(count);
    if (count <= 0) this.close();
  }

  override onDeadline(): void {}
}

let loop: EventLoop;
let client: Socket;
let fd: number;

beforeEach(async () => {
  const listening = bindLoopback(4);
  listenOn(listening, 8);
  readLocalName(listening);
  const name = lastName();
  client = connect({ port: name.charCodeAt(0) * 256 + name.charCodeAt(1), host: '127.0.0.1' });
  client.on('error', () => undefined);
  await once(client, 'connect');
  await until(() => {
    fd = acceptConnection(listening);
    return fd >= 0;
  });
  loop = new EventLoop();
  loop.start();
  // It is closed with the loop.
  new Reader(loop, listening, 0, 1);
});

afterEach(() => {
  loop.stop();
  client.destroy();
});

/** Sends, and waits until the other end has it in its socket. */
async function send(text: string, end = false): Promise<void> {
  await new Promise<void>((resolve) =>
    end ? client.end(text, () => resolve()) : client.write(text, () => resolve()),
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
}

it('comes again to who has not read all, and tells the end that came with the last bytes', async () => {
  const reader = new Reader(loop, fd, epollEvent.in, 100);
  await send('x'.repeat(250), true);
  await until(() => reader.closed);
  expect(reader.counts).toEqual([100, 100, 50, received.end]);
});

it('keeps what came while nobody read', async () => {
  const reader = new Reader(loop, fd, 0, 100);
  await send('x'.repeat(150));
  expect(reader.counts).toEqual([]);
  reader.wantRead(true);
  await until(() => reader.counts.length === 2);
  expect(reader.counts).toEqual([100, 50]);
  reader.wantRead(false);
  await send('y', true);
  reader.wantRead(true);
  await until(() => reader.closed);
  expect(reader.counts.slice(2)).toEqual([1, received.end]);
});

it('gives the next stream of a descriptor what the last one was told of and has not read', async () => {
  const first = new Reader(loop, fd, 0, 100);
  await send('x'.repeat(30), true);
  first.detach();
  const second = new Reader(loop, fd, epollEvent.in, 100);
  await until(() => second.closed);
  expect(first.counts).toEqual([]);
  expect(second.counts).toEqual([30, received.end]);
});

it('writes on when the peer takes something again, however often it had to wait', async () => {
  const piece = 64 * 1024;
  const writer = new Reader(loop, fd, epollEvent.in, 100);
  let got = 0;
  client.on('data', (bytes) => {
    got += bytes.length;
  });
  for (const round of [1, 2, 3]) {
    client.pause();
    for (let i = 0; i < 128; i++) writer.write(0, piece);
    expect(writer.hasUnsent).toBe(true);
    client.resume();
    await until(() => got === round * 128 * piece);
    expect(writer.hasUnsent).toBe(false);
  }
});

it('reads on behind urgent data, at which the kernel ends a read', async () => {
  const { _handle: handle } = client as unknown as { _handle: { fd: number } };
  const bytes = fixedMemory(8);
  bytes.bytes.write('abcdefgh', 'latin1');
  const { address } = bytes;
  sendAt(handle.fd, address, 3, 0);
  sendAt(handle.fd, address + 3, 1, MSG_OOB);
  sendAt(handle.fd, address + 4, 4, 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const reader = new Reader(loop, fd, epollEvent.in, 100);
  // The byte in the middle is no part of the stream.
  await until(() => reader.counts.reduce((sum, count) => sum + count, 0) === 7);
});

it('waits until the socket takes something when TLS has to write in order to read', async () => {
  const state = { reads: 0 };
  const tls = {
    hasPending: false,
    readWantsWrite: true,
    writeWantsRead: false,
    drained: false,
    read() {
      state.reads += 1;
      return tlsOutcome.wantWrite;
    },
    sayEnd() {},
    free() {},
  };
  new Reader(loop, fd, epollEvent.in, 100, tls as unknown as TlsSession);
  await send('x');
  await new Promise((resolve) => setTimeout(resolve, 50));
  // Of the byte, and of the room that there is.
  expect(state.reads).toBeGreaterThan(0);
  expect(state.reads).toBeLessThan(6);
});
