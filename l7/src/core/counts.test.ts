import { expect, test } from 'vitest';
import { addCounts } from './counts.ts';

test('adds place by place, and takes what only one side has', () => {
  const one = { requests: 3, responses: [0, 2, 0], backends: { a: { errors: 1 } } };
  const other = { requests: 4, responses: [0, 1, 0, 9], backends: { a: { errors: 2 }, b: { errors: 5 } } };
  expect(addCounts<object & typeof one>(one, other as never)).toEqual({
    requests: 7,
    responses: [0, 3, 0, 9],
    backends: { a: { errors: 3 }, b: { errors: 5 } },
  });
  expect(one).toEqual({ requests: 3, responses: [0, 2, 0], backends: { a: { errors: 1 } } });
});

test('counters of another version, with a field more or another shape, do no harm', () => {
  expect(addCounts({ a: 1 }, { b: 2 } as never)).toEqual({ a: 1, b: 2 });
  expect(addCounts([1, 2], { b: 2 } as never)).toEqual([1, 2]);
});
