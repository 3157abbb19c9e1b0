import { epollEvent, lastErrno, takeSocketError } from '@l4d/kit/ffi/event-socket.ts';
import type { SendPeer } from '@l4d/kit/ffi/send-batch.ts';
import { takeRuns } from '@l4d/kit/ffi/udp-socket.ts';
import type { RateState } from '../../core/datagrams/rate.ts';
import type { SessionEntry } from '../../core/datagrams/session-table.ts';
import type { Backend } from '../../core/policy.ts';
import type { Expiring } from '../event-loop/deadlines.ts';
import type { EventLoop, Gatherer } from '../event-loop/loop.ts';
import { Stream } from '../event-loop/stream.ts';
import type { Place } from './place.ts';

/** What reading a socket for a while has come to. */
export type Reading =
  /** All that was there was read: epoll tells of what comes. */
  | 'drained'
  /** There may be more. */
  | 'more'
  /** The socket had an error in place of a datagram; `lastErrno` has it. */
  | 'failed';

/** What happens at a session's backend, or does not happen any more. */
export interface SessionOwner {
  /** The backend has sent something: it is read, as far as its turn goes. */
  onAnswers(session: Session, socket: BackendSocket): Reading;
  /** ICMP: nobody is there. */
  onUnreachable(session: Session): void;
  onIdle(session: Session): void;
  /** Answers of many sessions are gathered. */
  readonly gatherer: Gatherer;
}

/** One client of a listener and the backend that it was given. */
export class Session implements SessionEntry, Expiring {
  /** The client's end, as in end-name.ts. */
  readonly key: string;
  /** Its address alone. */
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
  /** For sending to the client. */
  readonly toClient: SendPeer;
  /** The end that it sends to. */
  readonly destination: string;
  backend: Backend | undefined = undefined;
  socket: BackendSocket | undefined = undefined;
  /** Backends where nobody was, since the last answer. */
  tried: Set<Backend> | undefined = undefined;
  /**
   * The client's only datagram, a character a byte, until it is answered: sent again to another backend when nobody was there.
   */
  first: string | undefined = undefined;
  /** What the next datagram begins with. */
  preamble: Uint8Array | undefined = undefined;
  answers = 0;
  rate: RateState | undefined = undefined;
  readonly #owner: SessionOwner;

  /** `scopeId`: the interface of a link-local client. */
  constructor(owner: SessionOwner, place: Place, source: string, scopeId: number, destination: string) {
    this.#owner = owner;
    this.place = place;
    this.key = source;
    this.client = source.slice(2);
    this.destination = destination;
    this.toClient = { name: source, scopeId, apart: false };
  }

  onDeadline(): void {
    this.#owner.onIdle(this);
  }

  /** Takes a connected socket, in place of the one before. Throws SyscallError. */
  use(loop: EventLoop, fd: number): void {
    this.leaveBackend();
    this.socket = new BackendSocket(loop, fd, this, this.#owner);
  }

  leaveBackend(): void {
    this.socket?.close();
    this.socket = undefined;
  }
}

/** A session's socket to its backend. */
export class BackendSocket extends Stream implements SendPeer {
  /** It is connected. */
  readonly name = '';
  readonly scopeId = 0;
  apart = false;
  readonly #session: Session;
  readonly #owner: SessionOwner;
  #takesRuns = false;

  constructor(loop: EventLoop, fd: number, session: Session, owner: SessionOwner) {
    super(loop, fd, epollEvent.in);
    this.#session = session;
    this.#owner = owner;
    this.gatherer = owner.gatherer;
  }

  /** Lets the kernel give what comes in runs: a call that most sessions, of few datagrams, do without. */
  takeRuns(): void {
    if (this.#takesRuns) return;
    this.#takesRuns = true;
    takeRuns(this.fd);
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
    const reading = this.#owner.onAnswers(this.#session, this);
    if (reading === 'failed') error = lastErrno();
    if (this.closed) return;
    if (unreachable.has(error)) return void this.#owner.onUnreachable(this.#session);
    // Behind an error there may be datagrams.
    if (reading !== 'drained') this.loop.wake(this);
  }

  override onDeadline(): void {
    this.close();
  }
}

/** ECONNREFUSED (port unreachable), EHOSTUNREACH, ENETUNREACH, EACCES and ENOPROTOOPT (both: ICMP of a filter). */
const unreachable: ReadonlySet<number> = new Set([111, 113, 101, 13, 92]);
