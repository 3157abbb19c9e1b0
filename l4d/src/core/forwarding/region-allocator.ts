import { InvariantError } from '@l4d/kit/errors.ts';

/** A run of slots. */
export interface Region {
  readonly offset: number;
  readonly size: number;
}

/** Hands out runs of an array, first fit, joining freed neighbours. */
export interface RegionAllocator {
  /** A free run; undefined when no gap is large enough. */
  take(size: number): Region | undefined;
  /** Marks a run as used, as when adopting; false when part of it already is. */
  claim(region: Region): boolean;
  release(region: Region): void;
  /** Slots not handed out. */
  readonly free: number;
}

/** An allocator over the slots 0 to `capacity` - 1. */
export function createRegionAllocator(capacity: number): RegionAllocator {
  /** Free runs by offset, never adjacent. */
  let gaps: Region[] = [{ offset: 0, size: capacity }];

  return {
    get free() {
      return gaps.reduce((sum, gap) => sum + gap.size, 0);
    },
    take(size) {
      const at = gaps.findIndex((gap) => gap.size >= size);
      const gap = gaps[at];
      if (gap === undefined || size === 0) return undefined;
      const rest = { offset: gap.offset + size, size: gap.size - size };
      gaps.splice(at, 1, ...(rest.size > 0 ? [rest] : []));
      return { offset: gap.offset, size };
    },
    claim(region) {
      if (region.size === 0) return true;
      const end = region.offset + region.size;
      const at = gaps.findIndex((gap) => gap.offset <= region.offset && end <= gap.offset + gap.size);
      const gap = gaps[at];
      if (gap === undefined) return false;
      const before = { offset: gap.offset, size: region.offset - gap.offset };
      const after = { offset: end, size: gap.offset + gap.size - end };
      gaps.splice(at, 1, ...[before, after].filter((part) => part.size > 0));
      return true;
    },
    release(region) {
      if (region.size === 0) return;
      const at = gaps.findIndex((gap) => gap.offset > region.offset);
      const index = at === -1 ? gaps.length : at;
      const before = gaps[index - 1];
      const after = gaps[index];
      const end = region.offset + region.size;
      if (
        end > capacity ||
        (before && before.offset + before.size > region.offset) ||
        (after && end > after.offset)
      ) {
        throw new InvariantError(`slots ${region.offset} to ${end - 1} are not all in use`);
      }
      const joinsBefore = before !== undefined && before.offset + before.size === region.offset;
      const joinsAfter = after !== undefined && after.offset === end;
      const start = joinsBefore ? before.offset : region.offset;
      const stop = joinsAfter ? after.offset + after.size : end;
      const from = joinsBefore ? index - 1 : index;
      const to = joinsAfter ? index + 1 : index;
      gaps = [...gaps.slice(0, from), { offset: start, size: stop - start }, ...gaps.slice(to)];
    },
  };
}
