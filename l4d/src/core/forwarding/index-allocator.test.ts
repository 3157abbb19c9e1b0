import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIndexAllocator } from './index-allocator.ts';

const first = 1;
const end = 12;

type Command = { readonly kind: 'take' } | { readonly kind: 'claim' | 'release'; readonly index: number };
const anIndex = fc.integer({ min: first - 1, max: end });
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ kind: 'take' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('claim' as const), index: anIndex }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('release' as const), index: anIndex }) },
);

describe('createIndexAllocator', () => {
  it('behaves as a set from which the lowest is taken', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const allocator = createIndexAllocator(first, end);
        const used = new Set<number>();
        for (const step of commands) {
          if (step.kind === 'take') {
            let lowest = first;
            while (used.has(lowest)) lowest += 1;
            if (lowest === end) {
              expect(() => allocator.take()).toThrow(/in use/);
            } else {
              expect(allocator.take()).toBe(lowest);
              used.add(lowest);
            }
          } else if (step.kind === 'claim') {
            const isFree = step.index >= first && step.index < end && !used.has(step.index);
            if (isFree) allocator.claim(step.index);
            else expect(() => allocator.claim(step.index)).toThrow();
            if (isFree) used.add(step.index);
          } else if (used.delete(step.index)) {
            allocator.release(step.index);
          } else {
            expect(() => allocator.release(step.index)).toThrow(/not in use/);
          }
          expect(allocator.used).toBe(used.size);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('takes back many indices in any order', () => {
    const count = 20_000;
    const allocator = createIndexAllocator(0, count);
    for (let n = 0; n < count; n++) allocator.take();
    for (let n = count - 1; n >= 0; n--) allocator.release(n);
    for (let n = 0; n < count; n++) expect(allocator.take()).toBe(n);
  });
});
