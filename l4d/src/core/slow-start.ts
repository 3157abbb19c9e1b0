/** A backend that comes back gets its weight in ten steps, so that cold caches meet few clients first. */

/** Tenths of a backend's weight when it has all of it. */
export const fullShare = 10;

/** Where a slow start is. */
export interface SlowStart {
  /** Tenths of the weight, 1 to fullShare. */
  readonly share: number;
  /** Milliseconds until the next step; undefined when there is none. */
  readonly nextStepIn: number | undefined;
}

/** The step at a time: a tenth at once, another one after each tenth of `duration`. All in milliseconds. */
export function slowStartAt(startedAt: number, now: number, duration: number): SlowStart {
  const step = duration / fullShare;
  // A clock that was set back begins anew; one that was set forward ends it: both are over in time.
  const elapsed = Math.max(0, now - startedAt);
  const share = Math.min(fullShare, 1 + Math.floor(elapsed / step));
  return { share, nextStepIn: share === fullShare ? undefined : Math.ceil(startedAt + share * step - now) };
}
