import { InvariantError } from '@l4d/kit/errors.ts';

/** Hands out the lowest free index of a range, and takes it back. */
export interface IndexAllocator {
  /** The lowest free index; throws an InvariantError when none is left. */
  take(): number;
  /** Marks an index as used, as when adopting; throws an InvariantError when it already is. */
  claim(index: number): void;
  release(index: number): void;
  readonly used: number;
}

/** An allocator of the indices `first` to `end` - 1. */
export function createIndexAllocator(first: number, end: number): IndexAllocator {
  const used = new Set<number>();
  // Released indices below `next`; the lowest first keeps maps dense. Claimed ones are skipped on the way.
  const released: number[] = [];
  let next = first;
  return {
    get used() {
      return used.size;
    },
    take() {
      const again = released.pop();
      if (again !== undefined) {
        used.add(again);
        return again;
      }
      while (used.has(next)) next += 1;
      if (next >= end) throw new InvariantError(`all ${end - first} indices are in use`);
      used.add(next);
      return next++;
    },
    claim(index) {
      if (used.has(index)) throw new InvariantError(`index ${index} is claimed twice`);
      used.add(index);
    },
    release(index) {
      if (!used.delete(index)) throw new InvariantError(`index ${index} is not in use`);
      if (index >= next) return;
      const at = released.findIndex((other) => other < index);
      if (at === -1) released.push(index);
      else released.splice(at, 0, index);
    },
  };
}
