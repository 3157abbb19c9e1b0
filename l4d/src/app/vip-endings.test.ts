import { Seconds } from '@l4d/kit/duration.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { expect, it } from 'vitest';
import type { StoredEnding } from '../core/runtime-state.ts';
import { createVipEndings } from './vip-endings.ts';

const limits = { gracefulShutdown: Seconds(2), quiet: Seconds(1), atMost: Seconds(30) };
const year = 31_536_000_000;
const written = 56 * year;

/** Endings after a restart at which the wall clock says `wall`. */
function restarted(stored: StoredEnding, wall: number) {
  const clock = createManualClock();
  const endings = createVipEndings({
    clock,
    wallClock: () => wall + clock.now(),
    logger: createLogger('vip-endings-test'),
    store: { endings: () => new Map([['a', stored]]), setEnding: () => {} },
    packetsOf: () => undefined,
    onStep: () => {},
  });
  endings.want('a', stored.cause, limits, { name: 'a', announce: undefined }, true);
  return { clock, endings };
}

it('a wall clock that starts in 1970 stretches no bound of before the restart', async () => {
  const graceful = restarted({ cause: 'removed', since: written }, 0);
  expect(
    graceful.endings.beforeTelling(
      () => true,
      () => false,
    ),
  ).toEqual(['a']);
  expect(graceful.endings.afterTelling(false)).toBeLessThan(10_000);
  await graceful.clock.advance(Seconds(2));
  expect(
    graceful.endings.beforeTelling(
      () => true,
      () => false,
    ),
  ).toEqual([]);

  const withdrawn = restarted({ cause: 'removed', since: written, leftAt: written, withdrawnAt: written }, 0);
  withdrawn.endings.afterTelling(true);
  await withdrawn.clock.advance(Seconds(31));
  expect(withdrawn.endings.mayEnd('a')).toBe(true);
});

it('a wall clock that is ahead ends what it takes to be long past', () => {
  const { endings } = restarted({ cause: 'removed', since: written }, written + year);
  expect(
    endings.beforeTelling(
      () => true,
      () => false,
    ),
  ).toEqual([]);
});
