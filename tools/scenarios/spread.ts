/** How answers were shared among backends against their weights. */
export interface Spread {
  /** Whether each share is within six standard deviations of what chance allows: a false alarm in 500 million. */
  readonly isFair: boolean;
  /** Counts against expectations, on one line. */
  readonly text: string;
}

/** Compares counts with weights (both in the order of `names`): each count is binomial when all is fair. */
export function spreadByWeight(
  counts: Readonly<Record<string, number>>,
  names: readonly string[],
  weights: readonly number[],
): Spread {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const weightSum = weights.reduce((sum, weight) => sum + weight, 0);
  const parts = names.map((name, index) => {
    const share = (weights[index] ?? 0) / weightSum;
    const expected = total * share;
    const sigma = Math.sqrt(total * share * (1 - share));
    const count = counts[name] ?? 0;
    return { name, count, expected, isFair: Math.abs(count - expected) <= 6 * sigma };
  });
  const others = Object.keys(counts).filter((name) => !names.includes(name));
  return {
    isFair: total > 0 && others.length === 0 && parts.every(({ isFair }) => isFair),
    text: [
      ...parts.map(({ name, count, expected }) => `${name} ${count} (expected ${Math.round(expected)})`),
      ...others.map((name) => `${name} ${counts[name]} (expected none)`),
    ].join(', '),
  };
}
