/** A worker that has lived so long is no sign of a fault that strikes at once. */
const soundLifeMs = 10_000;
const firstPauseMs = 250;
const longestPauseMs = 10_000;

/** What is known of the deaths of one place's workers. */
export interface Deaths {
  /** Deaths in a row after a short life. */
  readonly early: number;
}

/** A place whose worker has not died. */
export const noDeaths: Deaths = { early: 0 };

/**
 * How long nobody is started after a worker has died that lived for `lifeMs` milliseconds: not at all after a
 * long life or the first short one, then twice as long each time, up to 10 s.
 */
export function afterDeath(before: Deaths, lifeMs: number): { deaths: Deaths; pauseMs: number } {
  if (lifeMs >= soundLifeMs) return { deaths: noDeaths, pauseMs: 0 };
  const early = before.early + 1;
  const pauseMs = early === 1 ? 0 : Math.min(firstPauseMs * 2 ** (early - 2), longestPauseMs);
  return { deaths: { early }, pauseMs };
}
