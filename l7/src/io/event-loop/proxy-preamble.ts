import { epollEvent, lastErrno, receiveAt, receiveFlags, receivePeek } from '@l4d/kit/ffi/event-socket.ts';
import { type Endpoint, maxProxyHeaderBytes, readProxyHeader } from '@l4d/kit/proxy-protocol.ts';
import { reject } from './admission.ts';
import type { Engine } from './engine.ts';
import { layout } from './loop.ts';
import { Stream } from './stream.ts';

/**
 * A trusted proxy's connection until its PROXY header is read: of what follows not a byte is taken, as it can be TLS.
 * A connection that begins otherwise is reset, and so is one that does not say enough in time.
 */
export class ProxyPreamble extends Stream {
  readonly #engine: Engine;
  readonly #onRead: (source: Endpoint | undefined) => boolean;
  /** What has come of the header. */
  #header: Buffer = Buffer.alloc(0);

  /** `limitMs`: how long it may take. `onRead` makes the next stream of the descriptor; false: it has not, and the connection is reset. */
  constructor(
    engine: Engine,
    fd: number,
    limitMs: number,
    onRead: (source: Endpoint | undefined) => boolean,
  ) {
    super(engine.loop, fd, epollEvent.in | epollEvent.readHangUp);
    this.#engine = engine;
    this.#onRead = onRead;
    engine.openClients += 1;
    this.setDeadline(limitMs);
  }

  /** Begins at once: with most connections the header is there already. */
  begin(): void {
    this.#read();
  }

  override onEvents(bits: number): void {
    if ((bits & (epollEvent.error | epollEvent.hangUp)) !== 0) return void this.close();
    this.#read();
  }

  #read(): void {
    const before = this.#header.length;
    const peeked = this.#take(maxProxyHeaderBytes, receivePeek);
    if (peeked === 0) return void this.close();
    if (peeked < 0) return void this.drained();
    const { bytes } = this.loop.memory;
    const all = Buffer.concat([this.#header, bytes.subarray(layout.receive, layout.receive + peeked)]);
    const reading = readProxyHeader(all);
    if (reading.kind === 'invalid') {
      this.#engine.log.debug({ reason: reading.reason }, 'a trusted proxy does not speak the PROXY protocol');
      return void this.reset();
    }
    // Of a header that is not whole all is header.
    this.#take(reading.kind === 'partial' ? peeked : reading.length - before, 0);
    this.#header = all;
    if (reading.kind === 'partial') return;
    this.detach();
    const isServed = this.#onRead(reading.source);
    // After the next stream has counted itself: in between there would seem to be nobody.
    this.#countGone();
    if (isServed) return;
    this.loop.remove(this);
    reject(this.fd);
  }

  /** The count of bytes at `layout.receive`; 0: the end, or a failure; -1: nothing yet. */
  #take(count: number, flag: number): number {
    const got = receiveAt(this.fd, this.loop.memory.address + layout.receive, count, receiveFlags | flag);
    if (got >= 0) return got;
    return lastErrno() === EAGAIN ? -1 : 0;
  }

  override onDeadline(): void {
    this.reset();
  }

  protected override onClosed(): void {
    this.#countGone();
  }

  #countGone(): void {
    this.#engine.openClients -= 1;
    if (this.#engine.openClients === 0) this.#engine.onEmpty?.();
  }
}

const EAGAIN = 11;
