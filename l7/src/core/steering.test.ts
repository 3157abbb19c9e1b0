import { expect, test } from 'vitest';
import { assignBuckets, maxWorkers, steeringBuckets } from './steering.ts';

const shares = (buckets: readonly number[]) => {
  const counts = new Map<number, number>();
  for (const worker of buckets) counts.set(worker, (counts.get(worker) ?? 0) + 1);
  return counts;
};
const moved = (before: readonly number[], after: readonly number[]) =>
  after.filter((worker, bucket) => worker !== before[bucket]).length;
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

test.each(upTo(maxWorkers).map((n) => n + 1))('%i workers: shares differ by one bucket at most', (count) => {
  const counts = [...shares(assignBuckets([], upTo(count))).values()];
  expect(counts).toHaveLength(count);
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
});

test('nobody is live: no buckets', () => {
  expect(assignBuckets([0, 0, 1], [])).toEqual([]);
});

test.each([2, 3, 5, 8, 48, 64])('%i workers: only the buckets of one that goes change hands', (count) => {
  const before = assignBuckets([], upTo(count));
  const gone = Math.floor(count / 2);
  const after = assignBuckets(
    before,
    upTo(count).filter((worker) => worker !== gone),
  );
  expect(moved(before, after)).toBe(shares(before).get(gone));
  const counts = [...shares(after).values()];
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
  // It comes back and takes its share, no more.
  const back = assignBuckets(after, upTo(count));
  expect(moved(after, back)).toBe(shares(back).get(gone));
  expect(moved(after, back)).toBeLessThanOrEqual(Math.ceil(steeringBuckets / count));
});

test('the same workers: nothing moves, also after a supervisor that knew of holes only', () => {
  const before = assignBuckets([], [0, 1, 2]);
  expect(assignBuckets(before, [2, 1, 0])).toEqual(before);
  const holes = before.map((worker, bucket) => (bucket % 7 === 0 ? undefined : worker));
  const filled = assignBuckets(holes, [0, 1, 2]);
  expect(moved(before, filled)).toBeLessThanOrEqual(Math.ceil(steeringBuckets / 7));
  expect([...shares(filled).values()].sort()).toEqual([...shares(before).values()].sort());
});

/** How the kernel goes on from an empty bucket: STEERING_TRIES of bpf/l7_lookup.bpf.c. */
function found(buckets: readonly number[], first: number, dead: ReadonlySet<number>): number | undefined {
  let bucket = first;
  for (let i = 0; i < 32; i++) {
    bucket = (bucket + i) % steeringBuckets;
    const worker = buckets[bucket];
    if (worker !== undefined && !dead.has(worker)) return worker;
  }
  return undefined;
}

test('whatever deaths and returns there were: from each bucket of a dead worker a living one is found', () => {
  const histories = [
    [[0], [0, 1]],
    [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]],
    [
      [0, 1, 2],
      [0, 1],
      [0, 2],
      [0, 1, 2],
    ],
    [
      [0, 1, 2, 3],
      [0, 1, 2],
      [0, 2],
      [0, 1, 2, 3],
      [1, 3],
      [0, 1, 3],
      [0, 1, 2, 3],
    ],
    [[0, 1, 2], [0], [0, 1, 2, 3], [0, 1, 2], [0, 1], [0, 1, 2], [1, 2], [0, 1, 2]],
  ];
  for (const history of histories) {
    const buckets = history.reduce<readonly number[]>((before, live) => assignBuckets(before, live), []);
    for (const dead of history.at(-1) ?? []) {
      for (let bucket = 0; bucket < steeringBuckets; bucket++)
        expect(found(buckets, bucket, new Set([dead])), `${JSON.stringify(history)} ${dead}`).toBeDefined();
    }
  }
});
