import { InvariantError } from '@l4d/kit/errors.ts';

/** Hands out the lowest free index of a range, and takes it back. */
export interface IndexAllocator {
  /** The lowest free index; throws an InvariantError when none is left. */
  take(): number;
  /** Whether an index is one of the range and not used. */
  isFree(index: number): boolean;
  /** Marks an index as used, as when adopting; throws an InvariantError when it already is. */
  claim(index: number): void;
  release(index: number): void;
  readonly used: number;
}

/** An allocator of the indices `first` to `end` - 1. */
export function createIndexAllocator(first: number, end: number): IndexAllocator {
  const used = new Set<number>();
  /** Released indices below `next`, as a heap; some may have been claimed since and are skipped. */
  const released: number[] = [];
  let next = first;
  return {
    get used() {
      return used.size;
    },
    take() {
      for (let again = popLowest(released); again !== undefined; again = popLowest(released)) {
        if (used.has(again)) continue;
        used.add(again);
        return again;
      }
      while (used.has(next)) next += 1;
      if (next >= end) throw new InvariantError(`all ${end - first} indices are in use`);
      used.add(next);
      return next++;
    },
    isFree: (index) => index >= first && index < end && !used.has(index),
    claim(index) {
      if (index < first || index >= end)
        throw new InvariantError(`index ${index} is outside ${first} to ${end - 1}`);
      if (used.has(index)) throw new InvariantError(`index ${index} is claimed twice`);
      used.add(index);
    },
    release(index) {
      if (!used.delete(index)) throw new InvariantError(`index ${index} is not in use`);
      if (index < next) push(released, index);
    },
  };
}

/** Adds to a binary heap whose lowest value is first. */
function push(heap: number[], value: number): void {
  let at = heap.length;
  heap.push(value);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] ?? 0;
    if (above <= value) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = value;
}

/** Takes the lowest value out of a heap. */
function popLowest(heap: number[]): number | undefined {
  const lowest = heap[0];
  const last = heap.pop();
  if (heap.length === 0 || last === undefined) return lowest;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if ((heap[child + 1] ?? Number.POSITIVE_INFINITY) < (heap[child] ?? 0)) child += 1;
    const below = heap[child] ?? 0;
    if (last <= below) break;
    heap[at] = below;
    at = child;
  }
  heap[at] = last;
  return lowest;
}
