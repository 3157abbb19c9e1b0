/** Counters as JSON: numbers, and lists and records of them. */
export type Counts = number | readonly Counts[] | { readonly [name: string]: Counts };

/** The sum of two counts of the same shape, place by place; what only one of them has is taken as it is. */
export function addCounts<T extends Counts>(one: T, other: T): T;
export function addCounts(one: Counts, other: Counts): Counts {
  if (typeof one === 'number' || typeof other === 'number') {
    return (typeof one === 'number' ? one : 0) + (typeof other === 'number' ? other : 0);
  }
  if (isList(one) && isList(other)) {
    const [longer, shorter] = one.length >= other.length ? [one, other] : [other, one];
    return longer.map((counts, index) => {
      const more = shorter[index];
      return more === undefined ? counts : addCounts(counts, more);
    });
  }
  if (isList(one) || isList(other)) return one;
  const sum: Record<string, Counts> = { ...one };
  for (const [name, counts] of Object.entries(other)) {
    const before = sum[name];
    sum[name] = before === undefined ? counts : addCounts(before, counts);
  }
  return sum;
}

function isList(counts: Counts): counts is readonly Counts[] {
  return Array.isArray(counts);
}
