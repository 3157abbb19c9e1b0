import { expect, it } from 'vitest';
import { type HeldPriority, heldPriority, riseDelay } from './priority-hold.ts';

/** What was told at each of these moments. */
function tell(...seen: readonly (readonly [number, number])[]): number[] {
  let held: HeldPriority | undefined;
  return seen.map(([now, wanted]) => {
    held = heldPriority(held, wanted, now);
    return held.told;
  });
}

it('falls at once and rises when it has not fallen for thirty seconds', () => {
  expect(tell([0, 125], [1, 150], [5000, 100], [6000, 125], [34_999, 125], [35_000, 125])).toEqual([
    125, 150, 100, 100, 100, 125,
  ]);
});

it('stays down while a backend comes and goes', () => {
  const flaps = Array.from({ length: 40 }, (_, at) => [at * 5000, at % 2 === 0 ? 150 : 125] as const);
  expect(tell(...flaps)).toEqual([150, ...Array.from({ length: 39 }, () => 125)]);
});

it('says when it may rise', () => {
  const fell = heldPriority(heldPriority(undefined, 150, 0), 100, 1000);
  expect(riseDelay(fell, 1000)).toBeUndefined();
  const back = heldPriority(fell, 150, 4000);
  expect(riseDelay(back, 4000)).toBe(27_000);
});
