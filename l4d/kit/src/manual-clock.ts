import type { Clock } from './clock.ts';

/** A clock that stands still until it is told otherwise; for tests. */
export interface ManualClock extends Clock {
  /** Moves on by so many milliseconds, firing timers in order and letting promises settle between them. */
  advance(milliseconds: number): Promise<void>;
}

/** A manual clock at 0. */
export function createManualClock(): ManualClock {
  let now = 0;
  const timers = new Set<{ at: number; action: () => void }>();
  return {
    now: () => now,
    after(delay, action) {
      const timer = { at: now + delay, action };
      timers.add(timer);
      return { cancel: () => timers.delete(timer) };
    },
    async advance(milliseconds) {
      const end = now + milliseconds;
      for (;;) {
        const next = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        timers.delete(next);
        now = next.at;
        next.action();
        await settle();
      }
      now = end;
      await settle();
    },
  };
}

/** Lets everything that waits for no timer and no I/O go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}
