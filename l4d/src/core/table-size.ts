/** Slots a backend that keep the share error of a Maglev table under 1 %. */
const slotsPerBackend = 100;

/** Fewest backends that a table is sized for, so that a pool of two or three can grow without a resize. */
const fewestExpected = 10;

/** Most backends of one VIP. */
export const maxBackendsPerVip = 10_000;

/** Largest table accepted: the largest prime below 2^20. */
export const maxTableSize = 1_048_573;

/** Whether an integer is prime. Meant for table sizes: costs sqrt(value) divisions. */
export function isPrime(value: number): boolean {
  if (!Number.isSafeInteger(value) || value < 2) return false;
  if (value % 2 === 0) return value === 2;
  for (let divisor = 3; divisor * divisor <= value; divisor += 2) {
    if (value % divisor === 0) return false;
  }
  return true;
}

/** The smallest prime at or above `value`. */
export function primeAtLeast(value: number): number {
  let candidate = Math.max(2, Math.ceil(value));
  while (!isPrime(candidate)) candidate += 1;
  return candidate;
}

/**
 * Size of the Maglev table for a pool that is expected to hold so many backends: the smallest prime
 * of about 100 slots a backend. Written into desired state once and kept: a resize moves most flows.
 */
export function tableSizeFor(expectedBackends: number): number {
  return primeAtLeast(slotsPerBackend * Math.max(expectedBackends, fewestExpected));
}
