import { epollEvent } from '@l4d/kit/ffi/event-socket.ts';
import type { ReceiveBatch } from '@l4d/kit/ffi/receive-batch.ts';
import type { EventLoop } from '../event-loop/loop.ts';
import { Stream } from '../event-loop/stream.ts';

/** Times in a row that a socket is read, until others have their turn. */
const readRounds = 4;

/** Who takes what has come. */
export interface ReceiverOwner {
  readonly received: ReceiveBatch;
  /** So many slots of `received` were filled. */
  onReceived(count: number): void;
}

/** A socket to which clients send; those of many listeners come by one. */
export class ClientReceiver extends Stream {
  readonly #owner: ReceiverOwner;

  constructor(loop: EventLoop, fd: number, owner: ReceiverOwner) {
    super(loop, fd, epollEvent.in);
    this.#owner = owner;
  }

  /** Epoll tells of each change once. */
  override dispatch(): void {
    this.onEvents();
  }

  override dispatchPending(): void {
    if (!this.closed) this.onEvents();
  }

  override onEvents(): void {
    for (let round = 0; round < readRounds; round++) if (!this.#take()) return;
    this.loop.wake(this);
  }

  /** Reads what waits there now. */
  takeAll(): void {
    for (let round = 0; round < 4096 && this.#take(); round++);
  }

  /** False: nothing more waits. */
  #take(): boolean {
    const { received } = this.#owner;
    const count = received.receive(this.fd);
    if (count > 0) this.#owner.onReceived(count);
    return count === received.count;
  }

  override onDeadline(): void {
    // It has none.
  }

  /** Others have the same socket, as with those of connections. */
  override close(): void {
    if (!this.closed) this.loop.leave(this);
    super.close();
  }
}
