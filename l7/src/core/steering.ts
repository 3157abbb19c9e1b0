/*
 * Which worker gets which connections. The kernel hashes a connection's client into a bucket; the bucket
 * holds the sockets of the worker that gets it (bpf/l7_lookup.bpf.c, map l7_sockets: two elements for each
 * bucket, first that of IPv4, then that of IPv6).
 */

/** STEERING_BUCKETS of bpf/l7_lookup.bpf.c. */
export const steeringBuckets = 512;

/** Elements of the map for each bucket. */
export const socketsPerBucket = 2;

/** Most workers: each has eight buckets then. */
export const maxWorkers = 64;

/**
 * Gives each bucket to one of `live`, by number: shares differ by one bucket at most, and no bucket changes
 * hands that need not. `previous` is who has them; undefined, or somebody who is not live: nobody. Empty
 * when nobody is live. The buckets of one worker lie apart: behind an empty one the kernel soon finds another's.
 */
export function assignBuckets(
  previous: readonly (number | undefined)[],
  live: readonly number[],
): readonly number[] {
  if (live.length === 0) return [];
  const fewest = Math.floor(steeringBuckets / live.length);
  /** How many may have one bucket more than the others. */
  let larger = steeringBuckets % live.length;
  const held = new Map(live.map((worker) => [worker, 0]));
  const result: (number | undefined)[] = new Array(steeringBuckets).fill(undefined);
  for (const bucket of spreadOrder) {
    const worker = previous[bucket];
    const count = worker === undefined ? undefined : held.get(worker);
    let keeps = count !== undefined && count < fewest;
    if (count === fewest && larger > 0) {
      keeps = true;
      larger -= 1;
    }
    if (worker !== undefined && keeps) held.set(worker, (count ?? 0) + 1);
    if (keeps) result[bucket] = worker;
  }
  // By turns, the one that has least first.
  const order = [...live].sort((a, b) => (held.get(a) ?? 0) - (held.get(b) ?? 0));
  let turn = 0;
  for (const bucket of spreadOrder) {
    while (result[bucket] === undefined) {
      const next = order[turn % order.length] as number;
      turn += 1;
      const count = held.get(next) ?? 0;
      if (count > fewest || (count === fewest && larger === 0)) continue;
      if (count === fewest) larger -= 1;
      held.set(next, count + 1);
      result[bucket] = next;
    }
  }
  return result as number[];
}

/**
 * All buckets in an order whose every beginning is spread over the whole: steps of about the golden section of
 * their number, which is odd and so meets each once.
 */
const spreadOrder = Array.from({ length: steeringBuckets }, (_, i) => (i * 317) % steeringBuckets);
