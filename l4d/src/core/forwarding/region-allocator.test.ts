import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRegionAllocator, type Region } from './region-allocator.ts';

const capacity = 24;

type Command =
  | { readonly kind: 'take'; readonly size: number }
  | { readonly kind: 'claim'; readonly region: Region }
  | { readonly kind: 'release'; readonly region: Region }
  | { readonly kind: 'release-taken'; readonly which: number };
const region = fc.record({ offset: fc.nat(capacity), size: fc.nat(8) });
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant('take' as const), size: fc.nat(10) }),
  fc.record({ kind: fc.constant('claim' as const), region }),
  fc.record({ kind: fc.constant('release' as const), region }),
  fc.record({ kind: fc.constant('release-taken' as const), which: fc.nat() }),
);

describe('createRegionAllocator', () => {
  it('behaves as a row of slots that are free or not', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 50 }), (commands) => {
        const allocator = createRegionAllocator(capacity);
        const used = new Array<boolean>(capacity).fill(false);
        const taken: Region[] = [];
        const all = ({ offset, size }: Region, value: boolean) =>
          Array.from({ length: size }, (_, n) => used[offset + n]).every((one) => one === value);
        const mark = ({ offset, size }: Region, value: boolean) => used.fill(value, offset, offset + size);
        for (const step of commands) {
          if (step.kind === 'take') {
            let offset = 0;
            while (offset + step.size <= capacity && !all({ offset, size: step.size }, false)) offset += 1;
            const expected =
              step.size > 0 && offset + step.size <= capacity ? { offset, size: step.size } : undefined;
            expect(allocator.take(step.size)).toEqual(expected);
            if (expected !== undefined) {
              mark(expected, true);
              taken.push(expected);
            }
          } else if (step.kind === 'claim') {
            const isFree = step.region.size === 0 || all(step.region, false);
            expect(allocator.claim(step.region)).toBe(isFree);
            if (isFree) mark(step.region, true);
          } else if (step.kind === 'release') {
            if (step.region.size === 0 || all(step.region, true)) {
              allocator.release(step.region);
              mark(step.region, false);
            } else {
              expect(() => allocator.release(step.region)).toThrow(/not all in use/);
            }
          } else {
            const one = taken.splice(step.which % Math.max(taken.length, 1), 1)[0];
            if (one === undefined || !all(one, true)) continue;
            allocator.release(one);
            mark(one, false);
          }
          expect(allocator.free).toBe(used.filter((one) => !one).length);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
