import { closeSocket, connectAt, fixedMemory } from '@l4d/kit/ffi/event-socket.ts';
import { type Backend, datagramPreambleFor } from '../../core/policy.ts';
import { chooseWeighted } from '../../core/weighted-choice.ts';
import { backendCounters } from '../counters.ts';
import type { Engine } from '../event-loop/engine.ts';
import { upstreamTarget } from '../event-loop/upstream-pool.ts';
import { backendSocket } from './datagram-socket.ts';
import { addressOf, portOf } from './end-name.ts';
import { backendsOf, countDrop } from './place.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';
import type { ToBackends } from './to-backends.ts';

const nothingTried: ReadonlySet<Backend> = new Set();
const sockaddr = fixedMemory(64);

/** Which backend a session has, by weight; and another one when nobody is there. */
export class SessionBackends {
  readonly #engine: Engine;
  readonly #sessions: Sessions;
  readonly #toBackends: ToBackends;

  constructor(engine: Engine, sessions: Sessions, toBackends: ToBackends) {
    this.#engine = engine;
    this.#sessions = sessions;
    this.#toBackends = toBackends;
  }

  /** Gives the session a backend that was not tried; false: there is none. */
  pick(session: Session): boolean {
    const { listener, counters } = session.place;
    const candidates = backendsOf(listener);
    for (;;) {
      const backend = chooseWeighted(candidates, session.tried ?? nothingTried);
      if (backend === undefined) {
        counters.unserved += 1;
        return false;
      }
      const counted = backendCounters(counters, backend.key);
      counted.requests += 1;
      const fd = this.#connect(session, backend);
      if (fd === 'no descriptor') {
        countDrop(session.place, 'full', 1);
        return false;
      }
      if (fd !== undefined) {
        session.backend = backend;
        session.use(this.#engine.loop, fd);
        return true;
      }
      counted.errors += 1;
      session.tried ??= new Set();
      session.tried.add(backend);
    }
  }

  #connect(session: Session, backend: Backend): number | 'no descriptor' | undefined {
    const target = upstreamTarget(this.#engine.pool, backend);
    const fd = backendSocket(target.family) ?? this.#evictFor(session, target.family);
    if (fd === undefined) return 'no descriptor';
    sockaddr.bytes.set(target.sockaddr);
    if (connectAt(fd, sockaddr.address, target.sockaddr.length) === 0) return fd;
    closeSocket(fd);
    return undefined;
  }

  /** A socket in place of another session's. */
  #evictFor(session: Session, family: 4 | 6): number | undefined {
    const { place } = session;
    const victim = place.sessions.evictable(this.#engine.loop.now);
    // The one that asks is in the table already when it changes its backend.
    if (victim === undefined || victim.entry === session) return undefined;
    this.#sessions.evict(victim.entry);
    return backendSocket(family);
  }

  /** ICMP: nobody is there. The session gets another backend, and it the client's datagram, when that is its only one. */
  onUnreachable(session: Session): void {
    const { place, backend } = session;
    if (backend !== undefined) {
      backendCounters(place.counters, backend.key).errors += 1;
      session.tried ??= new Set();
      session.tried.add(backend);
    }
    // Of no use any more; its descriptor may be the only one that can be had.
    session.leaveBackend();
    if (!this.pick(session)) return void this.#sessions.end(session);
    place.datagrams.repicked += 1;
    session.preamble = preambleOf(session);
    this.#toBackends.sendFirstAgain(session);
  }
}

/** What the next datagram of a session to its backend begins with; undefined: nothing. */
export function preambleOf({ place, key }: Session): Uint8Array | undefined {
  if (place.listener.proxyProtocol === undefined) return undefined;
  return datagramPreambleFor(place.listener, { address: addressOf(key), port: portOf(key) });
}
