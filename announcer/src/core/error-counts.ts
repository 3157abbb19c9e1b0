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

/** Counts one error more. */
export function countError(counts: ErrorCounts, { direction, code, subcode }: PeerError): void {
  const key = `${direction} ${code} ${subcode}`;
  const isRoom = counts.has(key) || counts.size < maxErrorCounts;
  const [name, kept] = isRoom
    ? [key, { direction, code, subcode }]
    : [`${direction} rest`, { direction, code: 0, subcode: 0 }];
  counts.set(name, { ...kept, count: (counts.get(name)?.count ?? 0) + 1 });
}
