import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import {
  acceptConnection,
  epollEvent,
  lastName,
  listenOn,
  readLocalName,
} from '@l4d/kit/ffi/event-socket.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bindLoopback } from '../listening-socket.ts';
import { until } from '../testing/proxy-under-test.ts';
import { EventLoop } from './loop.ts';
import { received, Stream } from './stream.ts';

/** Reads so much an event. */
class Reader extends Stream {
  counts: number[] = [];
  readonly #piece: number;

  constructor(loop: EventLoop, fd: number, events: number, piece: number) {
    super(loop, fd, events);
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
