import { expect, it } from 'vitest';
import { lookAtHeap, noHeapReturn } from './heap-return.ts';

/** At which of the looks, a second apart, memory is given back. */
function looks(...open: readonly number[]): number[] {
  let state = noHeapReturn;
  return open.flatMap((count, second) => {
    const look = lookAtHeap(state, count, second * 1000);
    state = look.state;
    return look.due ? [second] : [];
  });
}

it('gives memory back when most of many connections have gone, and once', () => {
  expect(looks(0, 3000, 2000, 1000, 0, 0, 0)).toEqual([3]);
  expect(looks(0, 300, 40, 40)).toEqual([2]);
});

it('does not for few, nor for a share of them that is soon back', () => {
  expect(looks(0, 250, 0, 250, 0)).toEqual([]);
  expect(looks(3000, 1600, 3000, 1600, 3000)).toEqual([]);
});

it('rests between two times', () => {
  expect(looks(3000, 0, 3000, 0, 3000, 0, 3000, 0, 3000, 0, 3000, 0, 3000, 0)).toEqual([1, 11]);
});
