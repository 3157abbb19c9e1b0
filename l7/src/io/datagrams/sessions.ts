import { mayConnect } from '../../core/access.ts';
import type { Admission } from '../../core/datagrams/session-table.ts';
import type { Listener } from '../../core/policy.ts';
import { descriptorRoom } from '../descriptor-room.ts';
import type { Engine } from '../event-loop/engine.ts';
import { addressOfClient } from './end-name.ts';
import type { FlowTable } from './flow-table.ts';
import { backendsOf, type Place } from './place.ts';
import type { Places } from './places.ts';
import type { Session } from './session.ts';

/** Begins and ends of all sessions of a worker: what is counted, remembered and given back. */
export class Sessions {
  /** Where the kernel is told whose they are. */
  flows: FlowTable;
  readonly #engine: Engine;
  readonly #places: Places;
  /** What is on its way to a session's backend goes before the session ends. */
  readonly #sendWaiting: (session: Session) => void;
  #count = 0;
  #draining = false;

  constructor(engine: Engine, places: Places, flows: FlowTable, sendWaiting: (session: Session) => void) {
    this.#engine = engine;
    this.#places = places;
    this.flows = flows;
    this.#sendWaiting = sendWaiting;
  }

  /** As the bounds of its listener are, and the room among the descriptors. */
  admit({ sessions }: Place, client: string): Admission<Session> {
    const { now } = this.#engine.loop;
    const admission = sessions.admit(client, now);
    if (admission.kind !== 'free' || this.#count < descriptorRoom().sessions) return admission;
    return sessions.evictable(now) ?? { kind: 'refuse', reason: 'full' };
  }

  add(session: Session): void {
    const engine = this.#engine;
    const { counters, sessions } = session.place;
    sessions.add(session, engine.loop.now);
    this.#count += 1;
    engine.openClients += 1;
    counters.connections += 1;
    counters.activeConnections += 1;
  }

  /** Something has passed. */
  setIdle(session: Session): void {
    const { loop, limits } = this.#engine;
    const { idleMs } = session.place.listener;
    const after = this.#draining ? Math.min(idleMs, limits.drainIdleSessionMs) : idleMs;
    loop.deadlines.set(session, loop.now + after);
  }

  /** Ends one for which another one needs the room. */
  evict(session: Session): void {
    session.place.datagrams.evicted += 1;
    this.end(session);
  }

  end(session: Session): void {
    const engine = this.#engine;
    const { place } = session;
    // That can end it.
    this.#sendWaiting(session);
    if (place.sessions.find(session.key) !== session) return;
    place.sessions.remove(session);
    this.#count -= 1;
    engine.loop.deadlines.remove(session);
    session.leaveBackend();
    this.flows.forget(session.key, session.destination);
    place.counters.activeConnections -= 1;
    engine.openClients -= 1;
    if (engine.openClients === 0) engine.onEmpty?.();
  }

  /** Sessions that rest end soon from now on. */
  drain(): void {
    this.#draining = true;
    for (const session of this.all()) this.setIdle(session);
  }

  endAll(): void {
    for (const session of this.all()) this.end(session);
  }

  /** Ends those of a place that its policy does not allow any more. */
  endDisallowed({ listener, sessions }: Place): void {
    for (const session of sessions.values()) if (!isAllowed(session, listener)) this.end(session);
  }

  endAllOf({ sessions }: Place): void {
    for (const session of sessions.values()) this.end(session);
  }

  /** All of them; they may end meanwhile. */
  *all(): IterableIterator<Session> {
    for (const { sessions } of this.#places.all()) yield* sessions.values();
  }
}

/** Whether a session may go on under a policy: its client may come in, and its backend is still one. */
function isAllowed({ client, backend }: Session, listener: Listener): boolean {
  if (!mayConnect(listener.access, addressOfClient(client))) return false;
  return backendsOf(listener).some(({ key }) => key === backend?.key);
}
