import { expect, test } from 'vitest';
import { countTowardsBudget, mayAskAnother, newRetryBudget, takeRetry } from './retries.ts';

const sent = { idempotent: true, hasBody: false, answered: false } as const;

test.each([
  ['nothing was sent', { ...sent, failure: 'unreachable', idempotent: false, hasBody: true }, true],
  ['it broke off before an answer', { ...sent, failure: 'broken' }, true],
  ['it was silent', { ...sent, failure: 'timeout' }, true],
  ['a kept connection was dead', { ...sent, failure: 'stale' }, true],
  ['the method may not be sent twice', { ...sent, failure: 'broken', idempotent: false }, false],
  ['a body was passed on', { ...sent, failure: 'timeout', hasBody: true }, false],
  ['an answer has begun', { ...sent, failure: 'broken', answered: true }, false],
  ['it was the client that said nothing', { ...sent, failure: 'client-timeout' }, false],
] as const)('another backend: %s', (_name, failed, expected) => {
  expect(mayAskAnother(failed)).toBe(expected);
});

function taken(budget: ReturnType<typeof newRetryBudget>, percent: number, now: number): number {
  let count = 0;
  while (count < 10_000 && takeRetry(budget, percent, now)) count += 1;
  return count;
}

test('a few tries are there from the begin, and come back with time', () => {
  const budget = newRetryBudget();
  expect(taken(budget, 20, 1000)).toBe(10);
  expect(taken(budget, 20, 1099)).toBe(0);
  expect(taken(budget, 20, 1590)).toBe(5);
  expect(taken(budget, 20, 60_000)).toBe(10);
});

test('requests add their share, and a long calm is not saved up for ever', () => {
  const budget = newRetryBudget();
  expect(taken(budget, 20, 1000)).toBe(10);
  for (let i = 0; i < 1000; i++) countTowardsBudget(budget, 20);
  expect(taken(budget, 20, 1000)).toBeGreaterThanOrEqual(199);
  for (let i = 0; i < 100_000; i++) countTowardsBudget(budget, 20);
  expect(taken(budget, 20, 1000)).toBeLessThanOrEqual(501);
});

test('a budget of 0 allows none', () => {
  expect(takeRetry(newRetryBudget(), 0, 1000)).toBe(false);
});

test('a clock that stands still or goes back gives nothing', () => {
  const budget = newRetryBudget();
  expect(taken(budget, 20, 5000)).toBe(10);
  expect(taken(budget, 20, 4000)).toBe(0);
});
