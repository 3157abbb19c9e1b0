import { type Duration, Milliseconds } from '@l4d/kit/duration.ts';

/** Share of the interval by which a check may come earlier or later. */
const jitterShare = 0.1;
/** A new target's first check comes within this time, so that its first verdict does not wait long. */
const firstCheckWithin = 1000;

/** Time that a check may take: never more than the interval, so that two checks of a target never overlap. */
export function boundedTimeout(timeout: Duration, interval: Duration): Duration {
  return Milliseconds(Math.min(timeout, interval));
}

/**
 * Delay until a target's first check. Spread, so that many targets declared at once are not asked at
 * once: over the interval when a verdict was adopted, over at most a second when there is none.
 * `random` is in [0, 1).
 */
export function firstDelay(interval: Duration, adopted: boolean, random: number): Duration {
  return Milliseconds(random * (adopted ? interval : Math.min(interval, firstCheckWithin)));
}

/**
 * Delay until the next check of a target: an interval (give or take a tenth) after the start of the
 * last one, so that slow answers do not stretch the interval; 0 when that time has passed.
 */
export function nextDelay(interval: Duration, startedAt: number, now: number, random: number): Duration {
  const dueAt = startedAt + interval * (1 + jitterShare * (2 * random - 1));
  return Milliseconds(Math.max(0, dueAt - now));
}
