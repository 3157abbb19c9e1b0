import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { expect, test } from 'vitest';
import { endingView } from './ending-text.ts';
import {
  beginEnding,
  brakeLimits,
  changeCause,
  type EndingLimits,
  recentPackets,
  stepEnding,
  stepGraceful,
  type VipEnding,
  withdrawPatience,
} from './vip-ending.ts';

const limits: EndingLimits = { gracefulShutdown: Seconds(2), quiet: Seconds(1), atMost: Seconds(30) };
const view = (ending: VipEnding) => endingView(ending, (ms) => ms);

/** Withdrawn at `now` with a counter of 100. */
const withdrawn = (now = 1000, cause: VipEnding['cause'] = 'removed', chosen = limits) =>
  stepEnding(beginEnding(cause, chosen, false, now), true, 100, now);

test('GRACEFUL_SHUTDOWN stands for its time, then the withdraw waits to be taken', () => {
  const begun = beginEnding('removed', limits, true, 1000);
  expect(view(begun)).toMatchObject({
    step: 'graceful-shutdown',
    text: 'announced with GRACEFUL_SHUTDOWN until 00:00:03 UTC',
  });
  expect(stepEnding(begun, true, 0, 1000)).toBe(begun);
  expect(stepGraceful(begun, true, false, 2999)).toBe(begun);
  const left = stepGraceful(begun, true, false, 3000);
  expect(left.leftAt).toBe(3000);
  expect(view(left)).toMatchObject({ step: 'withdrawing' });
  expect(stepEnding(left, true, 0, 3001).withdrawnAt).toBe(3001);
});

test('a failure, or the brake, ends GRACEFUL_SHUTDOWN at once; another announcer may be waited for', () => {
  const begun = beginEnding('host-draining', limits, true, 0);
  expect(stepGraceful(begun, false, true, 10).leftAt).toBe(10);
  expect(changeCause(begun, 'detached', brakeLimits, 10).leftAt).toBe(10);
  expect(stepGraceful(begun, true, true, 60_000)).toBe(begun);
});

test('what routers never had is not announced in order to leave', () => {
  expect(beginEnding('removed', limits, false, 1000).leftAt).toBe(1000);
});

test('forwarding ends when the counter has rested for a second', () => {
  let ending = withdrawn();
  for (const [now, packets] of [
    [1200, 110],
    [1800, 137],
    [2000, 137],
    [2700, 137],
  ] as const) {
    ending = stepEnding(ending, true, packets, now);
    expect(ending.over).toBeUndefined();
  }
  expect(recentPackets(ending)).toBe(27);
  expect(view(ending)).toMatchObject({
    step: 'withdrawn',
    packetsLastSecond: 27,
    text: 'withdrawn, 27 packets in the last second, forwards until quiet or 00:00:31 UTC',
  });
  ending = stepEnding(ending, true, 137, 2800);
  expect(ending.over).toEqual({ at: 2800, by: 'quiet' });
  expect(view(ending).text).toBe('withdrawn, quiet for 1s, forwarding has ended');
});

test('it ends by the bound while packets still come, and says so', () => {
  let ending = withdrawn();
  for (let now = 1200; now < 31_000; now += 200) ending = stepEnding(ending, true, now, now);
  expect(ending.over).toBeUndefined();
  ending = stepEnding(ending, true, 1e6, 31_000);
  expect(view(ending)).toMatchObject({ step: 'over', endedBy: 'bound' });
  expect(view(ending).text).toBe('withdrawn, packets still came after 30s, forwarding has ended');
});

test('a VIP that stays declared is forwarded on', () => {
  const ending = stepEnding(withdrawn(0, 'disabled'), true, 100, 1000);
  expect(view(ending).text).toBe('withdrawn, quiet for 1s, forwards what may still arrive');
  // Removed then, it is watched again before its forwarding ends.
  const removed = changeCause(ending, 'removed', limits, 5000);
  expect(removed).toMatchObject({ withdrawnAt: 5000, over: undefined });
});

test('a withdraw that nobody has taken keeps the forwarding, for as long as an announcer may take', () => {
  const waiting = stepEnding(beginEnding('removed', limits, false, 1000), false, 0, 5000);
  expect(waiting.withdrawnAt).toBeUndefined();
  expect(stepEnding(waiting, false, 0, 1000 + withdrawPatience - 1).over).toBeUndefined();
  expect(stepEnding(waiting, false, 0, 1000 + withdrawPatience).over?.by).toBe('no-announcer');
  expect(stepEnding(waiting, true, 0, 6000).withdrawnAt).toBe(6000);
});

test('where nothing counts, the time decides', () => {
  const started = stepEnding(beginEnding('removed', limits, false, 0), true, undefined, 0);
  expect(stepEnding(started, true, undefined, 999).over).toBeUndefined();
  expect(stepEnding(started, true, undefined, 1000).over?.by).toBe('quiet');
  const braked = withdrawn(0, 'detached', { ...brakeLimits, quiet: Milliseconds(5000) });
  expect(stepEnding(braked, true, 200, 1000).over?.by).toBe('bound');
});
