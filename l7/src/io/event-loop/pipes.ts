import { closeSocket, lastErrno } from '@l4d/kit/ffi/event-socket.ts';
import { newPipe, type PipeEnds, splice } from '@l4d/kit/ffi/pipe.ts';
import { descriptorRoom } from '../descriptor-room.ts';

const EAGAIN = 11;
/** What a pipe is asked to hold: docs/decisions/kernel-relay.md has the numbers. */
const pipeBytes = 1 << 20;
/** Most pipes of a worker: each has two descriptors, and holds data for a reader that is slow. */
const maxPipes = 64;
/** Empty ones that are kept. */
const maxIdle = 2;

/** What `fill` and `pour` give besides counts of bytes; as `received`. */
export const piped = { nothing: -1, failed: -2 } as const;

/** Bytes on their way from one socket to another that are never copied to this process. */
export class Pipe {
  readonly #ends: PipeEnds;
  /** Bytes in it. */
  held = 0;

  constructor(ends: PipeEnds) {
    this.#ends = ends;
  }

  /** Takes what a socket has; the count of bytes (0: its end), or one of `piped`. */
  fill(fd: number): number {
    const count = splice(fd, this.#ends.write, pipeBytes);
    if (count < 0) return lastErrno() === EAGAIN ? piped.nothing : piped.failed;
    this.held += count;
    return count;
  }

  /** Gives a socket what it takes of what is held; the count of bytes or `piped.failed`. */
  pour(fd: number): number {
    const before = this.held;
    while (this.held > 0) {
      // A call that was cut short may be so for want of room or not: only EAGAIN has epoll tell of room.
      const count = splice(this.#ends.read, fd, this.held);
      if (count < 0 && lastErrno() !== EAGAIN) return piped.failed;
      if (count < 0) break;
      this.held -= count;
    }
    return before - this.held;
  }

  close(): void {
    closeSocket(this.#ends.read);
    closeSocket(this.#ends.write);
  }
}

/**
 * The pipes of a loop. One serves all relays in turn, as it is empty again when a turn ends; who cannot pass on what it
 * holds keeps it until it can.
 */
export class Pipes {
  readonly #idle: Pipe[] = [];
  #open = 0;

  /** An empty one; undefined: there are as many as may be, or no descriptors. */
  take(): Pipe | undefined {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#open >= maxPipes) return undefined;
    const ends = newPipe(pipeBytes);
    if (ends === undefined) return undefined;
    const pipe = new Pipe(ends);
    if (Math.max(ends.read, ends.write) >= descriptorRoom().clients) {
      pipe.close();
      return undefined;
    }
    this.#open += 1;
    return pipe;
  }

  /** Takes one back; what it holds is lost. */
  give(pipe: Pipe): void {
    if (pipe.held === 0 && this.#idle.length < maxIdle) {
      this.#idle.push(pipe);
      return;
    }
    this.#open -= 1;
    pipe.close();
  }

  /** Closes those that nobody has. */
  close(): void {
    for (const pipe of this.#idle.splice(0)) pipe.close();
  }
}
