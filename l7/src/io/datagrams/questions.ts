import { ReceiveBatch } from '@l4d/kit/ffi/receive-batch.ts';
import { mayConnect } from '../../core/access.ts';
import { newRate, takeToken } from '../../core/datagrams/rate.ts';
import type { Engine } from '../event-loop/engine.ts';
import type { ReceiverOwner } from './client-receiver.ts';
import { addressOf } from './end-name.ts';
import { countDrop, type Place } from './place.ts';
import type { Places } from './places.ts';
import { Session, type SessionOwner } from './session.ts';
import { preambleOf, type SessionBackends } from './session-backends.ts';
import type { Sessions } from './sessions.ts';
import type { ToBackends } from './to-backends.ts';

/** Datagrams, or runs of them, taken at a time. */
const receiveCount = 32;

/** What clients send: each finds its session, or begins one if it may, and goes to the session's backend. */
export class Questions implements ReceiverOwner {
  readonly received = new ReceiveBatch(receiveCount);
  readonly #engine: Engine;
  readonly #places: Places;
  readonly #sessions: Sessions;
  readonly #backends: SessionBackends;
  readonly #toBackends: ToBackends;
  readonly #owner: SessionOwner;

  /** `owner`: of the sessions that begin. */
  constructor(
    engine: Engine,
    parts: {
      readonly places: Places;
      readonly sessions: Sessions;
      readonly backends: SessionBackends;
      readonly toBackends: ToBackends;
    },
    owner: SessionOwner,
  ) {
    this.#engine = engine;
    this.#places = parts.places;
    this.#sessions = parts.sessions;
    this.#backends = parts.backends;
    this.#toBackends = parts.toBackends;
    this.#owner = owner;
  }

  onReceived(count: number): void {
    for (let i = 0; i < count; i++) this.#take(i);
    this.#toBackends.flush();
  }

  #take(i: number): void {
    const { received } = this;
    const destination = received.destination(i);
    const place = this.#places.find(destination);
    if (place === undefined) {
      this.#engine.unknownConnections += 1;
      return;
    }
    const length = received.length(i);
    const size = received.segment(i);
    place.datagrams.received += length <= size ? 1 : Math.ceil(length / size);
    place.datagrams.receivedBytes += length;
    const source = received.source(i);
    const known = place.sessions.find(source);
    const session = known ?? this.#begin(place, source, destination, i);
    if (session === undefined) return;
    if (known !== undefined) {
      place.sessions.touch(known, this.#engine.loop.now, true);
      session.first = undefined;
    }
    this.#sessions.setIdle(session);
    if (place.listener.udp?.datagramsPerSecond === undefined) this.#pass(session, i, 0, length, size);
    else this.#passAtRate(session, i, length, size, place.listener.udp.datagramsPerSecond);
  }

  /** On to the backend, from byte `at` of slot `i`. */
  #pass(session: Session, i: number, at: number, length: number, size: number): void {
    const address = this.received.address(i) + at;
    const { memory } = this.received;
    this.#toBackends.add(session, memory, this.received.offsetOf(address), address, length, size);
  }

  #passAtRate(session: Session, i: number, length: number, size: number, perSecond: number): void {
    const { now } = this.#engine.loop;
    for (let at = 0; at < length || at === 0; at += Math.max(1, size)) {
      session.rate ??= newRate(perSecond, now);
      const one = Math.min(size, length - at);
      if (takeToken(session.rate, perSecond, now)) this.#pass(session, i, at, one, one);
      else countDrop(session.place, 'rate', 1);
    }
  }

  #begin(place: Place, source: string, destination: string, i: number): Session | undefined {
    const { received } = this;
    if (!this.#isAdmitted(place, source)) {
      place.counters.denied += 1;
      return undefined;
    }
    const admission = this.#sessions.admit(place, source.slice(2));
    if (admission.kind === 'refuse') {
      countDrop(place, admission.reason, 1);
      return undefined;
    }
    // It waited for this worker while another one, by a later datagram, began the client's session.
    if (!this.#sessions.flows.claim(source, destination)) {
      countDrop(place, 'elsewhere', 1);
      return undefined;
    }
    if (admission.kind === 'evict') this.#sessions.evict(admission.entry);
    const session = new Session(this.#owner, place, source, received.sourceScope(i), destination);
    session.preamble = preambleOf(session);
    if (!this.#backends.pick(session)) {
      this.#sessions.flows.forget(source, destination);
      return undefined;
    }
    this.#sessions.add(session);
    if (received.segment(i) === received.length(i)) this.#toBackends.keepFirst(session, received.bytes(i));
    return session;
  }

  #isAdmitted({ listener }: Place, source: string): boolean {
    // Forged: answers to a listener would come back in as a client's, for ever (over IPv6 the kernel lets them in).
    if (this.#places.isListener(source)) return false;
    const { allow, deny } = listener.access;
    return (allow.length === 0 && deny.length === 0) || mayConnect(listener.access, addressOf(source));
  }
}
