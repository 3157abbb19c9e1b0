import {
  closeSocket,
  epollEvent,
  lastErrno,
  receiveAt,
  receiveFlags,
  receivePeek,
  sendAt,
  sendFlags,
  sendMore,
  setResetOnClose,
  shutdownSocket,
} from '@l4d/kit/ffi/event-socket.ts';
import { type TlsSession, tlsOutcome } from '../tls/tls-session.ts';
import type { Expiring } from './deadlines.ts';
import { type EventLoop, type Gatherer, layout } from './loop.ts';

const EAGAIN = 11;
/** What is always asked for. */
const readEvents = epollEvent.in | epollEvent.urgent | epollEvent.readHangUp;
/** What does not pass. */
const endEvents = epollEvent.readHangUp | epollEvent.hangUp | epollEvent.error;
const SHUT_WR = 1;

/** What `receive` gives besides a count. */
export const received = { end: 0, nothing: -1, failed: -2 } as const;

/** What is handed from one stream to the next that has the descriptor. */
export interface Detached {
  readonly fd: number;
  readonly tls: TlsSession | undefined;
  /** What was written and not sent yet. */
  readonly unsent: readonly Buffer[];
}

/**
 * One socket in the loop: reads into the loop's memory, writes from it, and keeps what the kernel
 * does not take yet; through TLS where it has a session. Who uses it waits for `in` to read and for
 * `out` to write; that TLS may have to write in order to read, and the other way round, is dealt with here.
 *
 * The kernel tells of a change once. What it has told is kept until it was read, so that to begin and to stop
 * reading cost no system call, and who has not read all comes again when the others have had their turn.
 */
export abstract class Stream implements Expiring {
  readonly fd: number;
  generation = 0;
  deadline = Number.POSITIVE_INFINITY;
  tick = -1;
  before: Expiring | undefined = undefined;
  after: Expiring | undefined = undefined;
  closed = false;
  /** A write has failed: the connection is dead, though there may be something left to read. */
  broken = false;
  /** Bytes that the kernel has taken. */
  sentBytes = 0;

  /** It is to be called though epoll will not tell of it; the loop's own mark. */
  awaiting = false;
  /** Of streams that come one after another something is gathered; set right after it was made. */
  gatherer: Gatherer | undefined = undefined;

  protected readonly loop: EventLoop;
  protected tls: TlsSession | undefined;
  /** Its events come before those of others: what it has to say changes what they can do. */
  goesFirst = false;
  /** What is waited for. */
  #events: number;
  /** What epoll tells of. */
  #asked: number;
  /** There may be something to read that epoll will not tell of again. */
  #readable = false;
  /** Urgent data have come, at which the kernel ends a read though there is more: only a read of nothing tells that all is read. */
  #urgent = false;
  /** Ends and failures that epoll has told of. */
  #told = 0;
  #unsent: Buffer[] | undefined = undefined;

  constructor(loop: EventLoop, fd: number, events: number, tls?: TlsSession) {
    this.loop = loop;
    this.fd = fd;
    this.tls = tls;
    this.#events = events;
    this.#asked = events | readEvents;
    const before = loop.add(this, this.#asked);
    if (before !== undefined) this.#takeOver(before);
    if (tls !== undefined) this.#lookForPending();
  }

  /** Goes on with a descriptor that is in the epoll set: what its last stream was told is not told again. */
  #takeOver(before: Stream): void {
    const needed = this.#asked & ~before.#asked;
    this.#asked |= before.#asked;
    this.#readable = before.#readable;
    this.#urgent = before.#urgent;
    this.#told = before.#told;
    if (needed !== 0) this.loop.change(this, this.#asked);
    if (this.#readable || this.#told !== 0) this.loop.wake(this);
  }

  /** Called by the loop with the bits of epoll(7). */
  dispatch(events: number): void {
    const ends = events & endEvents;
    this.#told |= ends;
    if ((events & epollEvent.urgent) !== 0) this.#urgent = true;
    // After an end there is something to read for good: the end.
    if (ends !== 0 || (events & epollEvent.in) !== 0) this.#readable = true;
    this.#tell(events);
  }

  /** Called when there may be something that epoll does not tell of. */
  dispatchPending(): void {
    if (this.closed) return;
    const pending = this.#readable || this.tls?.hasPending === true ? epollEvent.in : 0;
    this.#tell(pending | this.#told);
  }

  #tell(events: number): void {
    const { tls } = this;
    let meant = events;
    if (tls !== undefined) {
      if (tls.readWantsWrite && (events & epollEvent.out) !== 0) meant |= this.#events & epollEvent.in;
      if (tls.writeWantsRead && (events & epollEvent.in) !== 0) meant |= this.#events & epollEvent.out;
    }
    // Failures are always told; of the rest only what is waited for.
    meant &= this.#events | epollEvent.error | epollEvent.hangUp;
    if (meant !== 0) this.onEvents(meant);
    if (this.closed) return;
    if (tls !== undefined) this.#ask();
    // One that has to write in order to read waits for room.
    if (this.#readable && (this.#events & epollEvent.in) !== 0 && tls?.readWantsWrite !== true)
      this.loop.wake(this);
  }

  /** Called with the bits of epoll(7) that are waited for. */
  abstract onEvents(events: number): void;
  abstract onDeadline(): void;

  /**
   * Called when the time of a drain is over: a moment later everything that is open is reset. What can end without
   * a loss, or without being taken for whole, ends now.
   */
  endDrain(): void {}

  /** Whether something waits for the kernel to take it. */
  get hasUnsent(): boolean {
    return this.#unsent !== undefined;
  }

  /** Whether it waits for bytes. */
  get reading(): boolean {
    return (this.#events & epollEvent.in) !== 0;
  }

  /** Reads into the loop's memory at `layout.receive`; the count of bytes, or one of `received`. */
  receive(maxBytes: number = layout.receiveBytes): number {
    const { tls } = this;
    if (tls !== undefined) {
      const count = tls.read(this.loop.memory.address + layout.receive, maxBytes);
      if (tls.drained) this.drained();
      if (count > 0) this.#lookForPending();
      if (count >= 0) return count;
      return count === tlsOutcome.failed ? received.failed : received.nothing;
    }
    const count = receiveAt(this.fd, this.loop.memory.address + layout.receive, maxBytes, receiveFlags);
    if (count >= 0) {
      // Less than was asked for is all there was.
      if (count < maxBytes && !this.#urgent) this.drained();
      return count;
    }
    if (lastErrno() !== EAGAIN) return received.failed;
    this.#urgent = false;
    this.drained();
    return received.nothing;
  }

  /** Whether all that has come was read, as far as the kernel has told. */
  protected get isReadOut(): boolean {
    return !this.#readable && this.tls?.hasPending !== true;
  }

  /** Whether there are urgent data, at which the kernel ends a read. */
  protected get isUrgent(): boolean {
    return this.#urgent;
  }

  /** Asks the kernel whether something has come, or an end. Of TLS what is there is lost. */
  protected hasInput(): boolean {
    const address = this.loop.memory.address + layout.text;
    const { tls } = this;
    if (tls === undefined)
      return receiveAt(this.fd, address, 1, receiveFlags | receivePeek) >= 0 || lastErrno() !== EAGAIN;
    const count = tls.read(address, 1);
    if (tls.drained) this.drained();
    return count >= 0 || count === tlsOutcome.failed;
  }

  /** Everything that was there was read: epoll tells of what comes. */
  protected drained(): void {
    if (this.#told === 0) this.#readable = false;
  }

  /** Writes from the loop's memory; false: some of it has to wait (`onEvents` with `out` goes on). */
  write(offset: number, length: number): boolean {
    if (this.broken || length === 0) return this.#unsent === undefined;
    let sent = 0;
    if (this.#unsent === undefined) {
      sent = this.send(offset, length);
      if (sent === length) return true;
      if (this.broken) return true;
    }
    this.#unsent ??= [];
    this.#unsent.push(Buffer.from(this.loop.memory.bytes.subarray(offset + sent, offset + length)));
    this.#wait(this.#events | epollEvent.out);
    return false;
  }

  /** Writes latin1 text. */
  writeText(text: string): boolean {
    const { bytes } = this.loop.memory;
    const most = layout.textBytes;
    if (text.length <= most) return this.write(layout.text, bytes.latin1Write(text, layout.text));
    let sent = true;
    for (let at = 0; at < text.length; at += most)
      sent = this.write(layout.text, bytes.latin1Write(text.slice(at, at + most), layout.text));
    return sent;
  }

  /** Writes on after the kernel has room again; true: nothing is left. */
  flush(): boolean {
    const { memory } = this.loop;
    for (;;) {
      const next = this.#unsent?.[0];
      if (next === undefined) break;
      const length = next.copy(memory.bytes, layout.text, 0, layout.textBytes);
      const sent = this.send(layout.text, length);
      if (this.broken) {
        this.#unsent = undefined;
        break;
      }
      if (sent === next.length) this.#unsent?.shift();
      else if (this.#unsent !== undefined) this.#unsent[0] = next.subarray(sent);
      if (sent < length) return false;
    }
    this.#unsent = undefined;
    this.#wait(this.#events & ~epollEvent.out);
    return true;
  }

  /**
   * Says something in the clear on a connection on which nothing was said yet, before TLS too. `more`: something
   * follows at once and may leave with it. False: the connection is dead.
   */
  protected sendPreamble(bytes: Uint8Array, more: boolean): boolean {
    const { memory } = this.loop;
    memory.bytes.set(bytes, layout.text);
    // The kernel has room for so little.
    const sent = sendAt(
      this.fd,
      memory.address + layout.text,
      bytes.length,
      more ? sendFlags | sendMore : sendFlags,
    );
    return sent === bytes.length;
  }

  /** One send; how many bytes were taken. Sets `broken`. */
  protected send(offset: number, length: number): number {
    const { tls } = this;
    if (tls !== undefined) {
      const sent = tls.write(this.loop.memory.address + offset, length);
      if (sent > 0) this.sentBytes += sent;
      if (sent === tlsOutcome.failed || sent === tlsOutcome.end) this.broken = true;
      return Math.max(0, sent);
    }
    const sent = sendAt(this.fd, this.loop.memory.address + offset, length, sendFlags);
    if (sent >= 0) {
      this.sentBytes += sent;
      return sent;
    }
    if (lastErrno() !== EAGAIN) this.broken = true;
    return 0;
  }

  /** Begins or stops to wait for bytes. */
  wantRead(wanted: boolean): void {
    if (wanted === this.reading) return;
    this.#wait(this.#events ^ epollEvent.in);
    if (!wanted) return;
    if (this.#readable) this.loop.wake(this);
    else this.#lookForPending();
  }

  #lookForPending(): void {
    if (this.tls?.hasPending === true && this.reading) this.loop.wake(this);
  }

  /** Waits for these events and no others. */
  protected waitFor(events: number): void {
    this.#wait(events);
    if (this.#readable && this.reading) this.loop.wake(this);
  }

  #wait(events: number): void {
    if (events === this.#events || this.closed) return;
    this.#events = events;
    this.#ask();
  }

  /** Tells epoll, when it has to know: of what can be written it tells from the first time that somebody waits. */
  #ask(): void {
    if ((this.#asked & epollEvent.out) !== 0) return;
    if ((this.#events & epollEvent.out) === 0 && this.tls?.readWantsWrite !== true) return;
    this.#asked |= epollEvent.out;
    this.loop.change(this, this.#asked);
  }

  /** Sets the time at which `onDeadline` is called, counted from now; Infinity: not at all. */
  setDeadline(afterMs: number): void {
    this.loop.deadlines.set(this, this.loop.now + afterMs);
  }

  /** No more will be sent: the peer reads to its end. */
  endWriting(): void {
    this.tls?.sayEnd();
    shutdownSocket(this.fd, SHUT_WR);
  }

  /** Closes it; nothing is called any more. */
  close(): void {
    if (this.closed) return;
    // In the middle of a record nothing else can be said.
    if (this.#unsent === undefined) this.tls?.sayEnd();
    this.#close();
  }

  #close(): void {
    this.closed = true;
    this.#unsent = undefined;
    this.tls?.free();
    this.loop.remove(this);
    closeSocket(this.fd);
    this.onClosed();
  }

  /** Closes it so that the peer sees a failure, not an end. */
  reset(): void {
    if (this.closed) return;
    setResetOnClose(this.fd);
    this.#close();
  }

  /** Leaves the descriptor to another stream, which is made for it at once. */
  detach(): Detached {
    this.closed = true;
    this.loop.deadlines.remove(this);
    const unsent = this.#unsent ?? [];
    this.#unsent = undefined;
    return { fd: this.fd, tls: this.tls, unsent };
  }

  /** For those who count. */
  protected onClosed(): void {}
}
