/** How often what went wrong with a peer: one count for each NOTIFICATION, sent and received, and for what had none. */
import type { PeerError } from './fsm-types.ts';

/** A count. */
export interface ErrorCount {
  /**
   * `local`: without a NOTIFICATION. Code and subcode are those that one would have had for a malformed UPDATE
   * (RFC 7606), and 0 otherwise (TCP, timeouts).
   */
  readonly direction: PeerError['direction'];
  readonly code: number;
  readonly subcode: number;
  readonly count: number;
}

/** Counts kept for a peer; a peer that invents codes fills the rest of them with code 0. */
export const maxErrorCounts = 64;

/** Counts by direction, code and subcode. */
export type ErrorCounts = Map<string, ErrorCount>;

/** Goes on with the counts of another process. */
export function restoreErrors(counts: ErrorCounts, from: readonly ErrorCount[]): void {
  for (const one of from) counts.set(keyOf(one), one);
}

/** Counts one error more. */
export function countError(counts: ErrorCounts, { direction, code, subcode }: PeerError): void {
  const own = { direction, code, subcode };
  const isRoom = counts.has(keyOf(own)) || counts.size < maxErrorCounts;
  // Beside errors of code 0 themselves, which a peer may send: two counts of one name are no metrics.
  const kept = isRoom ? own : { direction, code: 0, subcode: 0 };
  const key = keyOf(kept);
  counts.set(key, { ...kept, count: (counts.get(key)?.count ?? 0) + 1 });
}

function keyOf({ direction, code, subcode }: Omit<ErrorCount, 'count'>): string {
  return `${direction} ${code} ${subcode}`;
}
