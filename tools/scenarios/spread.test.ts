import { expect, test } from 'vitest';
import { spreadByWeight } from './spread.ts';

const names = ['b1', 'b2', 'b3'];

test('what chance allows is fair', () => {
  expect(spreadByWeight({ b1: 149, b2: 300, b3: 551 }, names, [1, 2, 3])).toEqual({
    isFair: true,
    text: 'b1 149 (expected 167), b2 300 (expected 333), b3 551 (expected 500)',
  });
});

test('weights that were ignored are not', () => {
  expect(spreadByWeight({ b1: 333, b2: 334, b3: 333 }, names, [1, 2, 3]).isFair).toBe(false);
});

test('a backend that nobody knows, and no answer at all, are not', () => {
  expect(spreadByWeight({ b1: 100, b9: 1 }, ['b1'], [1])).toMatchObject({ isFair: false });
  expect(spreadByWeight({}, names, [1, 1, 1]).isFair).toBe(false);
});
