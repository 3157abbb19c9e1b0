import { expect, it } from 'vitest';
import { fullShare, slowStartAt } from './slow-start.ts';

it('a slow start goes up by a tenth of the weight after each tenth of its time', () => {
  const at = (elapsed: number) => slowStartAt(1_000_000, 1_000_000 + elapsed, 30_000);
  expect(at(0)).toEqual({ share: 1, nextStepIn: 3000 });
  expect(at(2999)).toEqual({ share: 1, nextStepIn: 1 });
  expect(at(3000)).toEqual({ share: 2, nextStepIn: 3000 });
  expect(at(26_999).share).toBe(9);
  expect(at(27_000)).toEqual({ share: fullShare, nextStepIn: undefined });
  expect(at(1e9).share).toBe(fullShare);
  // A clock that was set back.
  expect(at(-5000).share).toBe(1);
});
