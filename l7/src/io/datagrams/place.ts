import type { DatagramDrop } from '@l4d/kit/proxy-api.ts';
import type { SessionTable } from '../../core/datagrams/session-table.ts';
import type { Backend, Listener } from '../../core/policy.ts';
import { selectRoute } from '../../core/route.ts';
import type { DatagramCounters, ListenerCounters } from '../counters.ts';
import type { Session } from './session.ts';

/** A UDP listener in use. */
export interface Place {
  listener: Listener;
  readonly counters: ListenerCounters;
  readonly datagrams: DatagramCounters;
  readonly sessions: SessionTable<Session>;
  /** A socket bound to the listener's address and port, by which answers leave. */
  readonly replies: number;
  readonly ownsReplies: boolean;
}

/** Counts datagrams that were not passed on. */
export function countDrop({ datagrams }: Place, reason: DatagramDrop, count: number): void {
  datagrams.dropped[reason] += count;
}

/** Backends of a UDP listener, which has one route. */
export function backendsOf(listener: Listener): readonly Backend[] {
  return selectRoute(listener.routes, '', '/')?.pool.backends ?? [];
}
