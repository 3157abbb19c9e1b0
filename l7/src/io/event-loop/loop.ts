import { SyscallError } from '@l4d/kit/errors.ts';
import {
  closeSocket,
  createEpoll,
  epollControl,
  epollEvent,
  epollEventSize,
  epollOperation,
  epollWait,
  eventReader,
  fixedMemory,
  lastErrno,
} from '@l4d/kit/ffi/event-socket.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import { defaultLimits } from '../../core/limits.ts';
import { Deadlines } from './deadlines.ts';
import { Pipes } from './pipes.ts';
import type { Stream } from './stream.ts';

/*
 * The proxy's own loop over epoll, in the same thread as Node's.
 *
 * Busy, it waits in epoll_wait itself and gives Node's loop a turn every few milliseconds, so that
 * timers, promises and the API's socket go on. After some quiet milliseconds it lets Node's loop wait
 * for the epoll descriptor instead, and costs nothing. docs/decisions/own-event-loop.md has the numbers.
 */

/** Events taken from the kernel at a time. */
const batch = 256;
/** How long Node's loop waits for its turn while there is work. */
const turnMs = 4;
/** Milliseconds without an event after which Node's loop does the waiting. */
const quietMs = 10;
const deadlineIntervalMs = 50;

/** Where in the loop's memory streams read to and write from. */
export const layout = {
  /** Room before what was received, for a new head in front of it. */
  receive: 64 * 1024,
  receiveBytes: 128 * 1024,
  /** For text; also the room behind what was received. */
  text: 196 * 1024,
  textBytes: 124 * 1024,
  total: 320 * 1024,
} as const;

/** Who gathers something of the streams that have it as their `gatherer`, when they come one after another. */
export interface Gatherer {
  /** Another stream comes now, or none. */
  flush(): void;
}

/** One thread's loop. Everything that happens in it happens in `Stream.onEvents` and `onDeadline`. */
export class EventLoop {
  /** Monotonic milliseconds at the begin of this turn. */
  now = performance.now();
  /** Scratch memory: what is in it holds until the next call of a stream. */
  readonly memory = fixedMemory(layout.total);
  readonly deadlines = new Deadlines(this.now);
  readonly pipes = new Pipes();
  /** Counts the times that the kernel was asked for events. */
  turn = 0;
  /** There may be events that the kernel had no room for when it was asked. */
  hasUntold = false;

  readonly #epoll = createEpoll();
  readonly #events = fixedMemory(batch * epollEventSize);
  readonly #reader = eventReader(this.#events);
  readonly #streams: (Stream | undefined)[] = [];
  /** Streams with something to read that epoll does not tell of. */
  #awaiting: Stream[] = [];
  /** The list that takes its place while it is gone through. */
  #spare: Stream[] = [];
  #gathering: Gatherer | undefined;
  #generation = 0;
  #quiet = 0;
  #state: 'stopped' | 'busy' | 'waiting' = 'stopped';
  #stopWatching: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #waitingSince = 0;
  readonly #waitMs: number;

  /** `waitMs`: as `loopWaitMs` of ProxyLimits. */
  constructor(waitMs = defaultLimits.loopWaitMs) {
    this.#waitMs = waitMs;
  }

  /** Begins to run; until then nothing happens. */
  start(): void {
    this.#timer = setInterval(() => this.#checkDeadlines(), deadlineIntervalMs);
    this.#wait();
  }

  /** Ends; open streams are closed. */
  stop(): void {
    clearInterval(this.#timer);
    this.#stopWatching?.();
    this.#stopWatching = undefined;
    this.#state = 'stopped';
    for (const stream of this.streams()) stream.close();
    this.pipes.close();
    closeSocket(this.#epoll);
  }

  /** For how long (ms) nothing has happened; 0: something does. */
  get quietMs(): number {
    return this.#state === 'waiting' ? performance.now() - this.#waitingSince : 0;
  }

  /** Everything that is open. */
  streams(): Stream[] {
    return this.#streams.filter((stream) => stream !== undefined);
  }

  /**
   * Takes a stream in, to be told once of each change of `events`. Returns the stream before it, which was detached
   * and whose descriptor is in the epoll set still; undefined: there was none. Throws SyscallError.
   */
  add(stream: Stream, events: number): Stream | undefined {
    const before = this.#streams[stream.fd];
    this.#streams[stream.fd] = stream;
    if (before !== undefined) {
      stream.generation = before.generation;
      return before;
    }
    this.#generation = (this.#generation + 1) >>> 0;
    stream.generation = this.#generation;
    if (
      epollControl(
        this.#epoll,
        epollOperation.add,
        stream.fd,
        (events | epollEvent.edge) >>> 0,
        stream.generation,
      ) < 0
    )
      throw new SyscallError('epoll_ctl', lastErrno());
    return undefined;
  }

  /** Changes what a stream is told of; what of it holds already is told anew. */
  change(stream: Stream, events: number): void {
    epollControl(
      this.#epoll,
      epollOperation.modify,
      stream.fd,
      (events | epollEvent.edge) >>> 0,
      stream.generation,
    );
  }

  /** Has `dispatchPending` called when the events of this turn, or else of the next one, have had theirs. */
  wake(stream: Stream): void {
    if (stream.awaiting) return;
    stream.awaiting = true;
    this.#awaiting.push(stream);
    // Node's loop may be waiting for the epoll descriptor, which stays silent.
    if (this.#state === 'waiting') this.#resume();
  }

  /** Takes a descriptor that other processes have open too out of the epoll set: closing it alone does not. */
  leave(stream: Stream): void {
    epollControl(this.#epoll, epollOperation.remove, stream.fd, 0, stream.generation);
  }

  /** Forgets a stream whose descriptor is about to be closed, which takes it out of the epoll set. */
  remove(stream: Stream): void {
    if (this.#streams[stream.fd] === stream) this.#streams[stream.fd] = undefined;
    this.deadlines.remove(stream);
  }

  /** Has `flush` called before a stream of another gatherer, or none, comes, and at the latest when this turn ends. */
  gather(gatherer: Gatherer): void {
    this.#gathering = gatherer;
  }

  #endGathering(): void {
    const gatherer = this.#gathering;
    this.#gathering = undefined;
    gatherer?.flush();
  }

  #checkDeadlines(): void {
    this.now = performance.now();
    this.deadlines.advance(this.now);
  }

  #wait(): void {
    this.#state = 'waiting';
    this.#waitingSince = performance.now();
    this.#stopWatching = watchSocket(this.#epoll, 'readable', () => {
      this.#endWaiting();
      this.#run();
    });
  }

  #resume(): void {
    this.#endWaiting();
    setImmediate(this.#run);
  }

  #endWaiting(): void {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
    this.#quiet = 0;
    this.#state = 'busy';
  }

  readonly #run = (): void => {
    if (this.#state !== 'busy') return;
    const begin = performance.now();
    do {
      if (this.#turn(this.#waitMs) === 0) {
        this.#quiet += this.#waitMs;
        break;
      }
      this.#quiet = 0;
    } while (this.now - begin < turnMs && this.#state === 'busy');
    if (this.#state !== 'busy') return;
    if (this.#quiet >= quietMs) this.#wait();
    else setImmediate(this.#run);
  };

  /** The stream of an event; the descriptor may be another's by now: closed and opened again in this batch. */
  #streamOf(index: number): Stream | undefined {
    const stream = this.#streams[this.#reader.fd(index)];
    return stream?.generation === this.#reader.generation(index) ? stream : undefined;
  }

  #turn(timeoutMs: number): number {
    const timeout = this.#awaiting.length > 0 ? 0 : timeoutMs;
    const count = epollWait(this.#epoll, this.#events.address, batch, timeout);
    this.now = performance.now();
    this.turn += 1;
    this.hasUntold = count === batch;
    for (let i = 0; i < count; i++) {
      const stream = this.#streamOf(i);
      if (stream?.goesFirst === true) stream.dispatch(this.#reader.events(i));
    }
    for (let i = 0; i < count; i++) {
      const stream = this.#streamOf(i);
      if (stream?.goesFirst !== false) continue;
      if (this.#gathering !== undefined && this.#gathering !== stream.gatherer) this.#endGathering();
      stream.dispatch(this.#reader.events(i));
    }
    if (this.#gathering !== undefined) this.#endGathering();
    const awaiting = this.#awaiting;
    if (awaiting.length === 0) return count;
    this.#awaiting = this.#spare;
    for (const stream of awaiting) {
      stream.awaiting = false;
      if (this.#gathering !== undefined && this.#gathering !== stream.gatherer) this.#endGathering();
      stream.dispatchPending();
    }
    if (this.#gathering !== undefined) this.#endGathering();
    const served = awaiting.length;
    awaiting.length = 0;
    this.#spare = awaiting;
    return count + served;
  }
}
