import type { Backend, Listener, Pool } from './policy.ts';
import { restMs, returnRetry, takeRetry } from './retries.ts';
import { chooseWeighted } from './weighted-choice.ts';

const nobody: ReadonlySet<Backend> = new Set();

/** Counts of a listener's further tries, changed in place. */
export interface RetryCounts {
  retries: number;
  retriesRefused: number;
}

/**
 * Whom a request or a connection is given to at `now` (ms), after those that were `tried` in vain. Undefined: nobody is
 * left, it was given to as many as may be asked, or the pool's budget for further tries is spent. Those that were `passed`
 * over were not asked, and are no tries.
 */
export function nextBackend(
  { tries, budgetPercent }: Listener,
  { backends, budget }: Pool,
  tried: ReadonlySet<Backend> = nobody,
  counts: RetryCounts,
  now: number,
  passed: ReadonlySet<Backend> = nobody,
): Backend | undefined {
  if (tried.size >= tries) return undefined;
  const skipped = passed.size === 0 ? tried : new Set([...tried, ...passed]);
  const backend = chooseWeighted(backends, skipped, now);
  if (backend === undefined) return undefined;
  if (tried.size > 0) {
    if (!takeRetry(budget, budgetPercent, now)) {
      counts.retriesRefused += 1;
      return undefined;
    }
    counts.retries += 1;
  }
  // One finds out whether it is back; the others wait for what that one finds.
  if (backend.restsUntil > 0) letRest(backend, now);
  return backend;
}

/**
 * The one that `nextBackend` gave after those that were `tried` was not asked after all: the way to it is none for this
 * client.
 */
export function passOver({ budget }: Pool, tried: ReadonlySet<Backend> = nobody, counts: RetryCounts): void {
  if (tried.size === 0) return;
  returnRetry(budget);
  counts.retries -= 1;
}

/**
 * It could not be reached: for a while others are asked, where there are others. Not one that is spoken to from clients'
 * addresses: it may be the way back to this client alone, and the others would pay for it.
 */
export function letRest(backend: Backend, now: number): void {
  if (backend.sourced !== undefined) return;
  backend.restsUntil = now + restMs;
}

/** It could be reached. */
export function endRest(backend: Backend): void {
  backend.restsUntil = 0;
}
