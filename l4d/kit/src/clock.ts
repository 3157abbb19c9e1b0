import type { Duration } from './duration.ts';

/** A timer that can be called off. */
export interface Timer {
  cancel(): void;
}

/** Time as shells see it; tests give one that they advance by hand. */
export interface Clock {
  /** Monotonic milliseconds; the zero point has no meaning. */
  now(): number;
  /** Calls `action` once after `delay`. */
  after(delay: Duration, action: () => void): Timer;
}

/** The machine's own monotonic clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(delay, action) {
    const handle = setTimeout(action, delay);
    return { cancel: () => clearTimeout(handle) };
  },
};
