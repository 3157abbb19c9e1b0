import { type Duration, Seconds } from '@l4d/kit/duration.ts';

/** The longest that End-of-RIB waits for routes that are about to come, in seconds. */
const longest = 60;

/**
 * How long End-of-RIB may wait for a desired state that is not complete yet. Routers keep the routes of before a
 * restart until it comes (RFC 4724 section 4.2); half the restart time leaves those that are no longer wanted no
 * longer than the restart itself might have. Without graceful restart nothing is kept, and nothing waits.
 */
export function endOfRibBound(restartTimeSeconds: number | undefined): Duration {
  return Seconds(Math.min(longest, (restartTimeSeconds ?? 0) / 2));
}
