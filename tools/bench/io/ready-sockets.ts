import {
  createEpoll,
  epollControl,
  epollEventSize,
  epollOperation,
  epollWait,
  eventReader,
  fixedMemory,
} from '@l4d/kit/ffi/event-socket.ts';

/** Events taken from the kernel at a time. */
const batch = 256;

/** The sockets of a load generator: which of them are ready, level-triggered, in the caller's own thread. */
export class ReadySockets {
  readonly #epoll = createEpoll();
  readonly #events = fixedMemory(batch * epollEventSize);
  readonly #reader = eventReader(this.#events);

  /** Begins to watch for what `epollEvent` names; ends when the socket is closed. */
  watch(fd: number, events: number): void {
    epollControl(this.#epoll, epollOperation.add, fd, events, 0);
  }

  /** Watches a watched one for something else. */
  change(fd: number, events: number): void {
    epollControl(this.#epoll, epollOperation.modify, fd, events, 0);
  }

  /** Calls `ready` for each that is, after at most `timeoutMs`; returns how many there were. */
  wait(timeoutMs: number, ready: (fd: number) => void): number {
    const count = epollWait(this.#epoll, this.#events.address, batch, timeoutMs);
    for (let i = 0; i < count; i++) ready(this.#reader.fd(i));
    return count;
  }
}
