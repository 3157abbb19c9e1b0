import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chooseWeighted } from './weighted-choice.ts';

const candidates = (weights: Record<string, number>) =>
  Object.entries(weights).map(([name, weight]) => ({ name, weight, credit: 0, restsUntil: 0 }));

test('is smooth', () => {
  const pool = candidates({ a: 5, b: 1, c: 1 });
  const order = Array.from({ length: 7 }, () => chooseWeighted(pool)?.name).join('');
  expect(order).toBe('aabacaa');
});

test('every full round holds each exactly as often as its weight', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 8 }), (weights) => {
      const pool = weights.map((weight, id) => ({ id, weight, credit: 0, restsUntil: 0 }));
      const counts = weights.map(() => 0);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (let i = 0; i < total; i++) {
        const chosen = chooseWeighted(pool);
        if (chosen !== undefined) counts[chosen.id] = (counts[chosen.id] ?? 0) + 1;
      }
      expect(counts).toEqual(weights);
    }),
  );
});

test('leaves out the tried ones, and nobody is nobody', () => {
  const pool = candidates({ a: 3, b: 1, c: 0 });
  const [a, b] = pool;
  expect(chooseWeighted(pool, new Set(a === undefined ? [] : [a]))?.name).toBe('b');
  expect(chooseWeighted(pool, new Set(a === undefined || b === undefined ? [] : [a, b]))).toBeUndefined();
  expect(chooseWeighted([])).toBeUndefined();
});

test('leaves out who rests while somebody else is there', () => {
  const pool = candidates({ a: 3, b: 1 });
  const [a, b] = pool;
  if (a === undefined || b === undefined) throw new Error('no candidates');
  a.restsUntil = 1000;
  expect(chooseWeighted(pool, new Set(), 999)?.name).toBe('b');
  expect(chooseWeighted(pool, new Set(), 1000)?.name).toBe('a');
  expect(chooseWeighted(pool, new Set([b]), 999)?.name).toBe('a');
  b.restsUntil = 1000;
  expect(chooseWeighted(pool, new Set(), 999)).toBeDefined();
});
