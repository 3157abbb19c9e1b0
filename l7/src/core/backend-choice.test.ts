import { ipAddress } from '@l4d/kit/ip-address.ts';
import { parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { expect, it } from 'vitest';
import { letRest, nextBackend, passOver } from './backend-choice.ts';
import { compilePolicy } from './policy.ts';

/** A listener with four backends, of whom each request may ask two. */
function listenerOf(more: object = {}) {
  const backends = [1, 2, 3, 4].map((n) => ({ address: `10.0.0.${n}`, port: 80 }));
  const listener = { name: 'a', address: '203.0.113.1', port: 80, retries: { tries: 2 }, ...more };
  const parsed = parseProxyDesired({ listeners: [{ ...listener, pools: [{ name: 'default', backends }] }] });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const [compiled] = compilePolicy(parsed.value).values();
  const pool = compiled?.pools[0];
  if (compiled === undefined || pool === undefined) throw new Error('no listener');
  return { listener: compiled, pool };
}

it('those that were passed over are not asked, and are no tries', () => {
  const { listener, pool } = listenerOf();
  const [a, b, c, d] = pool.backends;
  if (a === undefined || b === undefined || c === undefined || d === undefined)
    throw new Error('no backends');
  const counts = { retries: 0, retriesRefused: 0 };
  expect(nextBackend(listener, pool, undefined, counts, 0, new Set([a, b, c]))).toBe(d);
  expect(counts).toEqual({ retries: 0, retriesRefused: 0 });
  expect(nextBackend(listener, pool, new Set([d]), counts, 0, new Set([a, b]))).toBe(c);
  expect(counts).toEqual({ retries: 1, retriesRefused: 0 });
  expect(nextBackend(listener, pool, undefined, counts, 0, new Set([a, b, c, d]))).toBeUndefined();
});

it('one that was passed over costs no further try', () => {
  const { listener, pool } = listenerOf({ retries: { tries: 3 } });
  const [first] = pool.backends;
  if (first === undefined) throw new Error('no backends');
  const counts = { retries: 0, retriesRefused: 0 };
  const tried = new Set([first]);
  for (let turn = 0; turn < 100; turn++) {
    expect(nextBackend(listener, pool, tried, counts, 0)).toBeDefined();
    passOver(pool, tried, counts);
  }
  expect(counts).toEqual({ retries: 0, retriesRefused: 0 });
  // A first choice is none either, and takes nothing from the budget.
  for (let turn = 0; turn < 100; turn++) passOver(pool, undefined, counts);
  expect(counts.retries).toBe(0);
  for (let turn = 0; turn < 11; turn++) nextBackend(listener, pool, tried, counts, 0);
  expect(counts).toEqual({ retries: 10, retriesRefused: 1 });
});

it("one that is spoken to from clients' addresses does not rest for what one client found", () => {
  const plain = listenerOf().pool.backends[0];
  const sourced = listenerOf({ clientSource: { subnets: ['10.0.0.0/30', 'fd00::/64'] } }).pool.backends[0];
  if (plain === undefined || sourced === undefined) throw new Error('no backends');
  expect(sourced.sourced).toMatchObject({ address: ipAddress('10.0.0.1'), subnets: [{ length: 30 }] });
  for (const one of [plain, sourced]) letRest(one, 1000);
  expect([plain.restsUntil > 0, sourced.restsUntil]).toEqual([true, 0]);
});
