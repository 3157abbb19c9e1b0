import { expect, test } from 'vitest';
import { isPrime, maxBackendsPerVip, maxTableSize, primeAtLeast, tableSizeFor } from './table-size.ts';

test('isPrime agrees with a sieve', () => {
  const limit = 5000;
  const composite = new Set<number>();
  for (let i = 2; i < limit; i++) for (let j = i * 2; j < limit; j += i) composite.add(j);
  for (let i = 2; i < limit; i++) expect(isPrime(i)).toBe(!composite.has(i));
  for (const value of [-7, 0, 1, 2.5, Number.NaN, Number.POSITIVE_INFINITY])
    expect(isPrime(value)).toBe(false);
});

test.each([
  [1, 1009],
  [3, 1009],
  [10, 1009],
  [11, 1103],
  [100, 10_007],
  [1000, 100_003],
])('a pool of %i gets %i slots', (backends, slots) => {
  expect(tableSizeFor(backends)).toBe(slots);
});

test('the largest pool fits in the largest table', () => {
  expect(tableSizeFor(maxBackendsPerVip)).toBeLessThanOrEqual(maxTableSize);
  expect(isPrime(maxTableSize)).toBe(true);
  expect(primeAtLeast(maxTableSize + 1)).toBeGreaterThan(2 ** 20);
});
