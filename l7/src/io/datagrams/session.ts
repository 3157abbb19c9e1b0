import { epollEvent, lastErrno, takeSocketError } from '@l4d/kit/ffi/event-socket.ts';
import type { RateState } from '../../core/datagrams/rate.ts';
import type { SessionEntry } from '../../core/datagrams/session-table.ts';
import type { Backend } from '../../core/policy.ts';
import type { Expiring } from '../event-loop/deadlines.ts';
import type { EventLoop } from '../event-loop/loop.ts';
import { Stream } from '../event-loop/stream.ts';

/** What reading a socket for a while has come to. */
export type Reading =
  /** All that was there was read: epoll tells of what comes. */
  | 'drained'
  /** There may be more. */
  | 'more'
  /** The socket had an error in place of a datagram; `lastErrno` has it. */
  | 'failed';

/** What happens at a session's backend, or does not happen any more. */
export interface SessionOwner<Place> {
  /** The backend has sent something: it is read, as far as its turn goes. */
  onAnswers(session: Session<Place>, socket: BackendSocket): Reading;
  /** ICMP: nobody is there. */
  onUnreachable(session: Session<Place>): void;
  onIdle(session: Session<Place>): void;
}

/** One client of a listener and the backend that it was given. `Place` is what the owner knows of the listener. */
export class Session<Place> implements SessionEntry, Expiring {
  readonly key: string;
  readonly client: string;
  older: SessionEntry | undefined = undefined;
  newer: SessionEntry | undefined = undefined;
  isProven = false;
  usedAt = 0;

  deadline = Number.POSITIVE_INFINITY;
  tick = -1;
  before: Expiring | undefined = undefined;
  after: Expiring | undefined = undefined;

  readonly place: Place;
  /** The client's, for sending to it. */
  readonly sockaddr: Uint8Array;
  /** Of what it sends: port and address. */
  readonly destination: string;
  backend: Backend | undefined = undefined;
  socket: BackendSocket | undefined = undefined;
  /** Backends where nobody was, since the last answer. */
  tried: Set<Backend> | undefined = undefined;
  /** A copy of the client's only datagram, until it is answered: sent again to another backend when nobody was there. */
  first: Uint8Array | undefined = undefined;
  /** What the next datagram begins with. */
  preamble: Uint8Array | undefined = undefined;
  answers = 0;
  rate: RateState | undefined = undefined;
  /** The kernel refuses runs on the way to the backend, or to the client. */
  apartToBackend = false;
  apartToClient = false;
  readonly #owner: SessionOwner<Place>;

  constructor(
    owner: SessionOwner<Place>,
    place: Place,
    source: string,
    destination: string,
    sockaddr: Uint8Array,
  ) {
    this.#owner = owner;
    this.place = place;
    this.key = source;
    this.client = source.slice(2);
    this.destination = destination;
    this.sockaddr = sockaddr;
  }

  onDeadline(): void {
    this.#owner.onIdle(this);
  }

  /** Takes a connected socket, in place of the one before. Throws SyscallError. */
  use(loop: EventLoop, fd: number): void {
    this.socket?.close();
    const owner = this.#owner;
    this.socket = new BackendSocket(loop, fd, {
      onAnswers: (socket) => owner.onAnswers(this, socket),
      onUnreachable: () => owner.onUnreachable(this),
    });
  }
}

interface BackendEvents {
  onAnswers(socket: BackendSocket): Reading;
  onUnreachable(): void;
}

/** A session's socket to its backend. */
export class BackendSocket extends Stream {
  readonly #events: BackendEvents;

  constructor(loop: EventLoop, fd: number, events: BackendEvents) {
    super(loop, fd, epollEvent.in);
    this.#events = events;
  }

  /** Epoll tells of each change once. */
  override dispatch(events: number): void {
    // Read first, an error would be had in place of what has come before it.
    this.#read((events & epollEvent.error) === 0 ? 0 : takeSocketError(this.fd));
  }

  override dispatchPending(): void {
    if (!this.closed) this.#read(0);
  }

  override onEvents(): void {
    this.#read(0);
  }

  #read(before: number): void {
    let error = before;
    const reading = this.#events.onAnswers(this);
    if (reading === 'failed') error = lastErrno();
    if (this.closed) return;
    if (unreachable.has(error)) return void this.#events.onUnreachable();
    // Behind an error there may be datagrams.
    if (reading !== 'drained') this.loop.wake(this);
  }

  override onDeadline(): void {
    this.close();
  }
}

/** ECONNREFUSED (port unreachable), EHOSTUNREACH, ENETUNREACH, EACCES and ENOPROTOOPT (both: ICMP of a filter). */
const unreachable: ReadonlySet<number> = new Set([111, 113, 101, 13, 92]);
