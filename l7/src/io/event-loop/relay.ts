import { epollEvent } from '@l4d/kit/ffi/event-socket.ts';
import type { KernelRelays } from '../kernel-relays.ts';
import { continueInKernel } from './kernel-relay.ts';
import { type EventLoop, layout } from './loop.ts';
import { type Pipe, piped } from './pipes.ts';
import { type Detached, received, Stream } from './stream.ts';

/** A read of so many bytes tells of bulk, which is passed on through a pipe for as long as it comes in such pieces. */
const bulkBytes = 32 * 1024;

/** A relay between two connections that are handed over to it. */
export interface RelayEnds {
  /** They are in the loop already. */
  readonly a: Detached;
  readonly b: Detached;
  /** What was read of the one and is still to be sent to the other. */
  readonly toA: readonly Buffer[];
  readonly toB: readonly Buffer[];
  /** Closed when neither has sent anything for so long. */
  readonly idleMs: number;
  /**
   * After so long without a byte a drain may end it by its end rather than by a reset. 0: always, as what is relayed
   * tells its own end, and another is not taken for it (WebSocket, TLS).
   */
  readonly quietMs: number;
  /** Called once, when both are closed. */
  readonly onClosed: () => void;
  /** The kernel is to relay as soon as nothing is under way; undefined: never. */
  readonly kernel?: KernelRelayWish | undefined;
}

/** Who has the kernel relay, and who counts what becomes of it. */
export interface KernelRelayWish {
  readonly relays: KernelRelays;
  /** What may wait in the kernel in each direction, in bytes. */
  readonly limitBytes: number;
  readonly counters: KernelRelayCounts;
}

/** Tunnels of a listener that is to relay in the kernel. */
export interface KernelRelayCounts {
  /** Those that went there. */
  kernelRelays: number;
  /** Those that could not, and stayed in the proxy. */
  kernelRelaysRefused: number;
  /** Those reset because more than the limit waited. */
  kernelRelaysOverLimit: number;
}

/**
 * Passes bytes both ways, each way to its own end, with back-pressure: one read's worth is held at most, or one
 * pipe's.
 * Ends when both ways have ended or were silent for too long. When one end has failed both are reset: neither is to
 * take what it has for the whole.
 */
export function beginRelay(loop: EventLoop, ends: RelayEnds): void {
  const { idleMs, quietMs, onClosed } = ends;
  const kernel = ends.a.tls === undefined && ends.b.tls === undefined ? ends.kernel : undefined;
  const shared: Shared = { idleMs, quietMs, onClosed, kernel, ended: false, draining: false };
  const a = new RelayEnd(loop, ends.a, shared);
  const b = new RelayEnd(loop, ends.b, shared);
  a.other = b;
  b.other = a;
  a.sendFirst(ends.toA);
  b.sendFirst(ends.toB);
  a.setDeadline(ends.idleMs);
  a.offerToKernel();
}

interface Shared {
  readonly idleMs: number;
  readonly quietMs: number;
  readonly onClosed: () => void;
  /** Undefined also when it was tried in vain. */
  kernel: KernelRelayWish | undefined;
  ended: boolean;
  /** Both were told an end: what they still say is thrown away until they have ended, too. */
  draining: boolean;
}

class RelayEnd extends Stream {
  other: RelayEnd | undefined = undefined;
  readonly #shared: Shared;
  /** What is still to be sent to here, when it is in a pipe. */
  #pipe: Pipe | undefined = undefined;
  /** The last read was of bulk. */
  #isBulk = false;
  /** Nothing more comes from here. */
  #readEnded = false;
  /** The other has ended; this end is told when all is sent. */
  #toEnd = false;
  #writeEnded = false;

  constructor(loop: EventLoop, { fd, tls }: Detached, shared: Shared) {
    super(loop, fd, epollEvent.in, tls);
    this.#shared = shared;
  }

  sendFirst(pieces: readonly Buffer[]): void {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; at += layout.textBytes) {
        const length = piece.copy(this.loop.memory.bytes, layout.text, at, at + layout.textBytes);
        if (!this.write(layout.text, length)) this.other?.wantRead(false);
      }
    }
  }

  override onEvents(events: number): void {
    if ((events & epollEvent.out) !== 0 && this.flush()) {
      if (this.#toEnd) this.#finishWriting();
      else if (this.other !== undefined && !this.other.#readEnded) this.other.wantRead(true);
    }
    if (this.closed || this.#shared.ended) return;
    const failed = (events & (epollEvent.error | epollEvent.hangUp)) !== 0;
    if (this.broken) return void this.#break();
    // One that has failed while it is not read tells of it when reading goes on.
    if (this.reading) this.#pass();
    else if (failed && this.#readEnded) this.#break();
    if (this.#shared.kernel !== undefined) this.offerToKernel();
  }

  /** Leaves both ends to the kernel when all that has come was read, and all that was read was sent. */
  offerToKernel(): void {
    const { other } = this;
    const { kernel, ended, draining, idleMs, quietMs, onClosed } = this.#shared;
    if (kernel === undefined || other === undefined || ended || draining) return;
    for (const end of [this, other])
      if (end.closed || end.broken || end.#readEnded || end.hasUnsent || !end.isReadOut) return;
    this.#shared.kernel = undefined;
    const tunnel = kernel.relays.begin([this.fd, other.fd], kernel.limitBytes);
    if (tunnel === 'broken') return void this.#break();
    if (typeof tunnel === 'string') {
      kernel.counters.kernelRelaysRefused += 1;
      return;
    }
    kernel.counters.kernelRelays += 1;
    const onOverLimit = () => {
      kernel.counters.kernelRelaysOverLimit += 1;
    };
    const ends = [this.detach(), other.detach()] as const;
    continueInKernel(this.loop, ends, tunnel, { idleMs, quietMs, onClosed, onOverLimit });
  }

  #pass(): void {
    const { other } = this;
    if (other === undefined) return;
    const pipe = this.#isBulk && !this.isUrgent ? this.#takePipe(other) : undefined;
    const count = pipe === undefined ? this.receive() : this.#fill(pipe, other);
    this.#isBulk = count >= bulkBytes || (count === received.nothing && this.#isBulk);
    if (count === received.nothing) return;
    if (count === received.failed) return void this.#break();
    if (count === received.end) {
      this.#readEnded = true;
      this.wantRead(false);
      if (this.#shared.draining) return void (other.#readEnded && this.#end());
      other.#toEnd = true;
      if (!other.hasUnsent) other.#finishWriting();
      return;
    }
    if (this.#shared.draining) return;
    this.setDeadline(this.#shared.idleMs);
    if (pipe === undefined && !other.write(layout.receive, count)) this.wantRead(false);
    if (other.broken) this.#break();
  }

  /** TLS has to be spoken here, and what is thrown away needs none. */
  #takePipe(other: RelayEnd): Pipe | undefined {
    const isPlain = this.tls === undefined && other.tls === undefined;
    return isPlain && !this.#shared.draining ? this.loop.pipes.take() : undefined;
  }

  /** As `receive`, and passes on what has come. */
  #fill(pipe: Pipe, other: RelayEnd): number {
    const count = pipe.fill(this.fd);
    if (count === piped.nothing) this.drained();
    other.#pipe = pipe;
    if (other.#pour()) return count;
    other.waitFor((other.reading ? epollEvent.in : 0) | epollEvent.out);
    this.wantRead(false);
    return count;
  }

  /** Sends what is in the pipe; false: some of it has to wait. Sets `broken`. */
  #pour(): boolean {
    const pipe = this.#pipe;
    if (pipe === undefined) return true;
    const count = pipe.pour(this.fd);
    if (count === piped.failed) this.broken = true;
    else this.sentBytes += count;
    if (!this.broken && pipe.held > 0) return false;
    this.#givePipe();
    return true;
  }

  #givePipe(): void {
    if (this.#pipe !== undefined) this.loop.pipes.give(this.#pipe);
    this.#pipe = undefined;
  }

  override get hasUnsent(): boolean {
    return this.#pipe !== undefined || super.hasUnsent;
  }

  override flush(): boolean {
    const pipe = this.#pipe;
    if (pipe === undefined) return super.flush();
    const { held } = pipe;
    const isEmpty = this.#pour();
    // It is much for a slow reader, who is not silent while it takes some.
    if (pipe.held < held) this.setDeadline(this.#shared.idleMs);
    if (!isEmpty) return false;
    this.waitFor(this.reading ? epollEvent.in : 0);
    return true;
  }

  #finishWriting(): void {
    if (this.#writeEnded) return;
    this.#writeEnded = true;
    if (this.#readEnded) return void this.#end();
    this.endWriting();
  }

  override endDrain(): void {
    const { other } = this;
    const { draining, ended, idleMs, quietMs } = this.#shared;
    if (draining || ended || other === undefined || this.hasUnsent || other.hasUnsent) return;
    // Each end's deadline has been set by its last byte; that of one that has said nothing never was.
    const lastByte =
      Math.max(...[this, other].map(({ deadline }) => (deadline < Infinity ? deadline : 0))) - idleMs;
    if (this.loop.now - lastByte < quietMs) return;
    this.#shared.draining = true;
    for (const end of [this, other]) {
      if (!end.#writeEnded) end.endWriting();
      end.#writeEnded = true;
      if (!end.#readEnded) end.wantRead(true);
    }
  }

  override onDeadline(): void {
    const { other } = this;
    // Each end has its own deadline; the later one of the two counts.
    if (other !== undefined && other.deadline !== Number.POSITIVE_INFINITY && other.deadline > this.loop.now)
      return;
    this.#end();
  }

  #end(): void {
    if (this.#shared.ended) return;
    this.#shared.ended = true;
    for (const end of [this, this.other]) end?.leave();
    this.#shared.onClosed();
  }

  /** With something unsent an end would be taken for the end of the whole. */
  leave(): void {
    if (this.hasUnsent) this.reset();
    else this.close();
  }

  #break(): void {
    if (this.#shared.ended) return;
    this.#shared.ended = true;
    this.reset();
    this.other?.reset();
    this.#shared.onClosed();
  }

  override reset(): void {
    if (this.#shared.ended) super.reset();
    else this.#break();
  }

  protected override onClosed(): void {
    this.#givePipe();
    if (!this.#shared.ended) this.#end();
  }
}
