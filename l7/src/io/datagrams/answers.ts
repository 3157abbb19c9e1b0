import { lastErrno } from '@l4d/kit/ffi/event-socket.ts';
import { ReceiveBatch } from '@l4d/kit/ffi/receive-batch.ts';
import { SendBatch } from '@l4d/kit/ffi/send-batch.ts';
import type { EventLoop, Gatherer } from '../event-loop/loop.ts';
import { countDrop, type Place } from './place.ts';
import type { BackendSocket, Reading, Session } from './session.ts';
import type { Sessions } from './sessions.ts';

/** Slots for what backends have sent; a socket is read while so many of them are free. */
const slots = 128;
const readCount = 32;
/** Times in a row that a socket is read, until others have their turn. */
const readRounds = 4;
/** So many bytes are gathered: of more, calls are few as it is, and slots that are used again at once are still in the processor's caches. */
const gatherBytes = 16 * 1024;
const sendCount = 128;

const EAGAIN = 11;

/**
 * What backends have sent, on its way to clients. All clients of a listener are answered by one socket: what the
 * sockets of many sessions held when the loop looked leaves by one call.
 */
export class Answers implements Gatherer {
  readonly #loop: EventLoop;
  readonly #sessions: Sessions;
  readonly #received = new ReceiveBatch(slots);
  readonly #batch = new SendBatch(sendCount, () => this.#send());
  /** Slots in use, and bytes in them. */
  #taken = 0;
  #bytes = 0;
  /** Whose clients the batch is for. */
  #place: Place | undefined;

  constructor(loop: EventLoop, sessions: Sessions) {
    this.#loop = loop;
    this.#sessions = sessions;
  }

  /** Reads a session's socket, as far as its turn goes. */
  read(session: Session, socket: BackendSocket): Reading {
    const { place } = session;
    const { responses } = place.listener.udp ?? {};
    for (let round = 0; round < readRounds; round++) {
      if (place !== this.#place || slots - this.#taken < readCount || this.#bytes >= gatherBytes)
        this.flush();
      this.#place = place;
      const from = this.#taken;
      const count = this.#received.receive(socket.fd, from);
      if (count <= 0) return count < 0 && lastErrno() !== EAGAIN ? 'failed' : 'drained';
      this.#take(session, from, count);
      // More than one at a time: there may be many.
      if (count > 1) socket.takeRuns();
      place.sessions.touch(session, this.#loop.now, session.isProven);
      if (responses !== undefined && session.answers >= responses) {
        this.#sessions.end(session);
        return 'drained';
      }
      this.#sessions.setIdle(session);
      if (count < slots - from) return 'drained';
    }
    return 'more';
  }

  #take(session: Session, from: number, count: number): void {
    const received = this.#received;
    if (this.#taken === 0) this.#loop.gather(this);
    this.#taken += count;
    session.first = undefined;
    session.tried = undefined;
    const most = session.place.listener.udp?.responses ?? Number.POSITIVE_INFINITY;
    for (let i = from; i < from + count && session.answers < most; i++) {
      const size = received.segment(i);
      const whole = received.length(i);
      const pieces = whole <= size ? 1 : Math.ceil(whole / size);
      // A run is cut where the session has all that it may get.
      const taken = Math.min(pieces, most - session.answers);
      const length = taken < pieces ? taken * size : whole;
      this.#bytes += length;
      session.answers += taken;
      this.#batch.add(session.toClient, received.address(i), length, size);
    }
  }

  /** Sends what was gathered. */
  flush(): void {
    this.#send();
    this.#taken = 0;
    this.#bytes = 0;
  }

  #send(): void {
    const place = this.#place;
    if (place === undefined || this.#batch.isEmpty) return;
    const { datagrams } = place;
    const outcome = this.#batch.send(place.replies);
    datagrams.sent += outcome.datagrams;
    datagrams.sentBytes += outcome.bytes;
    if (outcome.backlog > 0) countDrop(place, 'backlog', outcome.backlog);
    if (outcome.failed > 0) countDrop(place, 'refused', outcome.failed);
    // Of a socket that is not connected nobody says that; it would stay full.
    if (outcome.refused) this.#batch.clear();
  }
}
