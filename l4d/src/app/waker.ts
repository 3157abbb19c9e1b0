import type { Clock, Timer } from '@l4d/kit/clock.ts';
import type { Duration } from '@l4d/kit/duration.ts';

/** One timer for many wishes to be woken: the earliest counts, and what is woken looks at everything. */
export interface Waker {
  /** Wakes after `delay` at the latest. */
  wakeAfter(delay: Duration): void;
  stop(): void;
}

/** A waker that nobody has asked yet. */
export function createWaker(clock: Clock, wake: () => void): Waker {
  let pending: { readonly timer: Timer; readonly at: number } | undefined;
  return {
    wakeAfter(delay) {
      const at = clock.now() + delay;
      if (pending !== undefined && pending.at <= at) return;
      pending?.timer.cancel();
      const timer = clock.after(delay, () => {
        pending = undefined;
        wake();
      });
      pending = { timer, at };
    },
    stop() {
      pending?.timer.cancel();
      pending = undefined;
    },
  };
}
