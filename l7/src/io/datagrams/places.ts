import { closeSocket, lastName, readLocalName } from '@l4d/kit/ffi/event-socket.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { SessionTable } from '../../core/datagrams/session-table.ts';
import { listenerKey } from '../../core/policy.ts';
import { datagramCounters, listenerCounters } from '../counters.ts';
import type { Engine } from '../event-loop/engine.ts';
import { replyingSocket } from './datagram-socket.ts';
import { addressOf, nameOf, portOf } from './end-name.ts';
import type { Place } from './place.ts';
import type { Session } from './session.ts';

/** How long a listener stays unanswered when somebody else has its port. */
const retryMs = 1000;

/** The UDP listeners in use, by the address and port that clients send to: each is opened by its first datagram. */
export class Places {
  readonly #engine: Engine;
  /** Sockets that are read, for listeners of a process that no kernel steers to. */
  readonly #shared: () => Iterable<number>;
  readonly #places = new Map<string, Place>();
  /** Addresses and ports of all UDP listeners, in use or not. */
  #listeners: ReadonlySet<string> = new Set();
  /** Listeners that could not be answered from, and until when that is so. */
  readonly #retryAt = new Map<string, number>();
  #lastDestination = '';
  #lastPlace: Place | undefined;

  constructor(engine: Engine, shared: () => Iterable<number>) {
    this.#engine = engine;
    this.#shared = shared;
  }

  /** Undefined: there is no such listener, or it cannot be answered from. */
  find(destination: string): Place | undefined {
    if (destination === this.#lastDestination && this.#lastPlace !== undefined) return this.#lastPlace;
    if (destination === '') return undefined;
    const place = this.#places.get(destination) ?? this.#open(destination);
    this.#lastDestination = destination;
    this.#lastPlace = place;
    return place;
  }

  /** Whether an address and port is that of a UDP listener. */
  isListener(name: string): boolean {
    return this.#listeners.has(name);
  }

  all(): Iterable<Place> {
    return this.#places.values();
  }

  /** Takes on what the table says now; `onChange` is told of each place, with whether its listener is still there. */
  usePolicy(onChange: (place: Place, isThere: boolean) => void): void {
    const { table } = this.#engine;
    this.#lastPlace = undefined;
    const listeners = [...table.values()].filter(({ udp }) => udp !== undefined);
    this.#listeners = new Set(listeners.map(({ address, port }) => nameOf(ipAddress(address), port)));
    for (const [destination, place] of this.#places) {
      const listener = table.get(place.listener.key);
      const isThere = listener?.udp !== undefined;
      if (isThere) {
        const { maxSessions, maxSessionsPerClient } = listener.udp;
        place.listener = listener;
        place.sessions.bounds = { most: maxSessions, mostOfClient: maxSessionsPerClient };
      }
      onChange(place, isThere);
      if (isThere) continue;
      this.#places.delete(destination);
      closeReplies(place);
    }
  }

  close(): void {
    for (const place of this.#places.values()) closeReplies(place);
    this.#places.clear();
    this.#lastPlace = undefined;
  }

  #open(destination: string): Place | undefined {
    const engine = this.#engine;
    const key = listenerKey(addressOf(destination), portOf(destination), 'udp');
    const listener = engine.table.get(key);
    if (listener?.udp === undefined) return undefined;
    const counters = listenerCounters(engine.counters, key);
    const { maxSessions, maxSessionsPerClient } = listener.udp;
    // Somebody else can have the port: not asked for at every datagram.
    if ((this.#retryAt.get(key) ?? 0) > engine.loop.now) return undefined;
    const replies = this.#replySocket(destination);
    if (replies === undefined) {
      this.#retryAt.set(key, engine.loop.now + retryMs);
      return undefined;
    }
    this.#retryAt.delete(key);
    const place: Place = {
      listener,
      counters,
      datagrams: datagramCounters(counters),
      sessions: new SessionTable<Session>({ most: maxSessions, mostOfClient: maxSessionsPerClient }),
      ...replies,
    };
    this.#places.set(destination, place);
    return place;
  }

  /** A socket that sends from the address and port; undefined: somebody else has the port for itself. */
  #replySocket(destination: string): Pick<Place, 'replies' | 'ownsReplies'> | undefined {
    // Without a kernel that steers, what is read is bound to the listener itself.
    for (const fd of this.#shared())
      if (readLocalName(fd) && lastName() === destination) return { replies: fd, ownsReplies: false };
    try {
      const fd = replyingSocket(addressOf(destination), portOf(destination));
      return { replies: fd, ownsReplies: true };
    } catch (error) {
      const { log } = this.#engine;
      log.warn({ error: String(error) }, 'cannot answer from the address and UDP port of a listener');
      return undefined;
    }
  }
}

function closeReplies({ replies, ownsReplies }: Place): void {
  if (ownsReplies) closeSocket(replies);
}
