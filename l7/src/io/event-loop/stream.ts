import {
  closeSocket,
  epollEvent,
  lastErrno,
  receiveAt,
  receiveFlags,
  sendAt,
  sendFlags,
  setResetOnClose,
  shutdownSocket,
} from '@l4d/kit/ffi/event-socket.ts';
import type { Expiring } from './deadlines.ts';
import { type EventLoop, layout } from './loop.ts';

const EAGAIN = 11;
const SHUT_WR = 1;

/** What `receive` gives besides a count. */
export const received = { end: 0, nothing: -1, failed: -2 } as const;

/**
 * One socket in the loop: reads into the loop's memory, writes from it, and keeps what the kernel
 * does not take yet. A stream that speaks TLS overrides `receive` and `send`.
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

  protected readonly loop: EventLoop;
  #events: number;
  #parked = false;
  #unsent: Buffer[] | undefined = undefined;

  constructor(loop: EventLoop, fd: number, events: number) {
    this.loop = loop;
    this.fd = fd;
    this.#events = events;
    loop.add(this, events);
  }

  /** Called with the bits of epoll(7). */
  abstract onEvents(events: number): void;
  abstract onDeadline(): void;

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
    const count = receiveAt(this.fd, this.loop.memory.address + layout.receive, maxBytes, receiveFlags);
    if (count >= 0) return count;
    return lastErrno() === EAGAIN ? received.nothing : received.failed;
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

  /** Writes latin1 text of at most `layout.textBytes`. */
  writeText(text: string): boolean {
    return this.write(layout.text, this.loop.memory.bytes.latin1Write(text, layout.text));
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

  /** One send; how many bytes were taken. Sets `broken`. */
  protected send(offset: number, length: number): number {
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
    if (wanted !== this.reading) this.#wait(this.#events ^ epollEvent.in);
  }

  /** Waits for these events and no others. */
  protected waitFor(events: number): void {
    this.#wait(events);
  }

  /**
   * For a connection that has failed while it is not read: the kernel would tell of it again and
   * again. It is told when reading goes on.
   */
  protected park(): void {
    if (this.#parked) return;
    this.#parked = true;
    this.loop.change(this, 0, 'park');
  }

  #wait(events: number): void {
    if (events === this.#events || this.closed) return;
    this.#events = events;
    if (!this.#parked) return void this.loop.change(this, events, 'none');
    if ((events & epollEvent.in) === 0) return;
    this.#parked = false;
    this.loop.change(this, events, 'unpark');
  }

  /** Sets the time at which `onDeadline` is called, counted from now; Infinity: not at all. */
  setDeadline(afterMs: number): void {
    this.loop.deadlines.set(this, this.loop.now + afterMs);
  }

  /** No more will be sent: the peer reads to its end. */
  endWriting(): void {
    shutdownSocket(this.fd, SHUT_WR);
  }

  /** Closes it; nothing is called any more. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#unsent = undefined;
    this.loop.remove(this);
    closeSocket(this.fd);
    this.onClosed();
  }

  /** Closes it so that the peer sees a failure, not an end. */
  reset(): void {
    if (this.closed) return;
    setResetOnClose(this.fd);
    this.close();
  }

  /** Leaves the descriptor to another stream, which is made for it at once. What was unsent comes back. */
  detach(): readonly Buffer[] {
    this.closed = true;
    this.loop.deadlines.remove(this);
    const unsent = this.#unsent ?? [];
    this.#unsent = undefined;
    return unsent;
  }

  /** For those who count. */
  protected onClosed(): void {}
}
