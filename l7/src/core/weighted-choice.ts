/** A thing that is chosen in proportion to its weight. `credit` is the turn-taking state. */
export interface Weighted {
  /** 0 or more; 0 is never chosen. */
  readonly weight: number;
  credit: number;
  /** Not before this time (ms) is it chosen, unless there is nobody else; 0: at any time. */
  restsUntil: number;
}

/**
 * Smooth weighted round robin: with weights 5, 1, 1 the order is a a b a c a a, so that no one
 * gets a burst. Every candidate gains its weight, the richest is chosen and pays the sum.
 * Changes the credits in place. `skip` leaves out those already tried; their credit stands still, and so does that of
 * those that rest at `now` (ms). Undefined when there is nobody to choose.
 */
export function chooseWeighted<T extends Weighted>(
  candidates: readonly T[],
  skip: ReadonlySet<T> = new Set(),
  now = Number.POSITIVE_INFINITY,
): T | undefined {
  const chosen = richest(candidates, skip, now);
  // Who rests may do after all; nobody else will.
  if (chosen === undefined && now !== Number.POSITIVE_INFINITY)
    return richest(candidates, skip, Number.POSITIVE_INFINITY);
  return chosen;
}

function richest<T extends Weighted>(
  candidates: readonly T[],
  skip: ReadonlySet<T>,
  now: number,
): T | undefined {
  let total = 0;
  let best: T | undefined;
  for (const candidate of candidates) {
    if (candidate.weight <= 0 || candidate.restsUntil > now || skip.has(candidate)) continue;
    total += candidate.weight;
    candidate.credit += candidate.weight;
    if (best === undefined || candidate.credit > best.credit) best = candidate;
  }
  if (best !== undefined) best.credit -= total;
  return best;
}
