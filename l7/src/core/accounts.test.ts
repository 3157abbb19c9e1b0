import { expect, test } from 'vitest';
import { noAccounts, pruneAccounts, settle, sumCounts } from './accounts.ts';

const worker = (requests: number, active: number) => ({
  unknownConnections: 1,
  listeners: { a: { requests, activeConnections: active }, b: { requests: 1, activeConnections: 0 } },
});

test('what a worker has counted outlives it; what it had open does not', () => {
  const accounts = settle(settle(noAccounts, worker(5, 3), true), worker(2, 1), false);
  expect(accounts).toEqual({
    deaths: 1,
    past: {
      unknownConnections: 2,
      listeners: { a: { requests: 7, activeConnections: 0 }, b: { requests: 2, activeConnections: 0 } },
    },
  });
  const whole = sumCounts([accounts.past, worker(1, 4)]);
  expect(whole.listeners['a']).toEqual({ requests: 8, activeConnections: 4 });
});

test('a listener that is no longer declared is forgotten', () => {
  const accounts = settle(noAccounts, worker(5, 3), true);
  expect(Object.keys(pruneAccounts(accounts, (key) => key === 'b').past.listeners)).toEqual(['b']);
});
