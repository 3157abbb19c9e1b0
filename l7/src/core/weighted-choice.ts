/** A thing that is chosen in proportion to its weight. `credit` is the turn-taking state. */
export interface Weighted {
  /** 0 or more; 0 is never chosen. */
  readonly weight: number;
  credit: number;
}

/**
 * Smooth weighted round robin: with weights 5, 1, 1 the order is a a b a c a a, so that no one
 * gets a burst. Every candidate gains its weight, the richest is chosen and pays the sum.
 * Changes the credits in place. `skip` leaves out those already tried; their credit stands still.
 * Undefined when there is nobody to choose.
 */
export function chooseWeighted<T extends Weighted>(
  candidates: readonly T[],
  skip: ReadonlySet<T> = new Set(),
): T | undefined {
  let total = 0;
  let best: T | undefined;
  for (const candidate of candidates) {
    if (candidate.weight <= 0 || skip.has(candidate)) continue;
    total += candidate.weight;
    candidate.credit += candidate.weight;
    if (best === undefined || candidate.credit > best.credit) best = candidate;
  }
  if (best !== undefined) best.credit -= total;
  return best;
}
