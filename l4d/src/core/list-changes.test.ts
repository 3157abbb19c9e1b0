import { describe, expect, test } from 'vitest';
import { listChanges, listOrigin, withListChanges } from './list-changes.ts';

/** A list that counts how many of its values are looked at. */
function counted<T>(list: readonly T[], reads: { count: number }): readonly T[] {
  return new Proxy(list, {
    get(target, key) {
      if (typeof key === 'string' && /^\d+$/.test(key)) reads.count += 1;
      return Reflect.get(target, key);
    },
  });
}

describe('differences of lists', () => {
  test('are what lies between the first and the last difference', () => {
    expect(listChanges(['a', 'b', 'c', 'd'], ['a', 'x', 'd'])).toEqual({
      at: 1,
      removed: ['b', 'c'],
      added: ['x'],
    });
    expect(listChanges(['a'], ['a', 'a'])).toEqual({ at: 1, removed: [], added: ['a'] });
    expect(listChanges(['a', 'a'], ['a'])).toEqual({ at: 1, removed: ['a'], added: [] });
    expect(listChanges([], [])).toEqual({ at: 0, removed: [], added: [] });
  });

  test('lead from the one to the other', () => {
    const before = ['a', 'b', 'c'];
    const after = ['a', 'x', 'y', 'c'];
    expect(withListChanges(before, listChanges(before, after))).toEqual(after);
    expect(withListChanges(after, listChanges(after, before))).toEqual(before);
  });

  test('that were said are not looked for again, in either direction', () => {
    const reads = { count: 0 };
    const before = counted(
      Array.from({ length: 1000 }, (_, index) => index),
      reads,
    );
    const after = withListChanges(before, { at: 500, removed: [500], added: [-1] });
    reads.count = 0;
    expect(listChanges(before, after)).toEqual({ at: 500, removed: [500], added: [-1] });
    expect(listChanges(after, before)).toEqual({ at: 500, removed: [-1], added: [500] });
    expect(reads.count).toBe(0);
    expect(listOrigin(after)?.before).toBe(before);
  });

  test('of other lists than those are looked for', () => {
    const first = ['a', 'b', 'c'];
    const second = withListChanges(first, { at: 0, removed: ['a'], added: [] });
    const third = withListChanges(second, { at: 1, removed: ['c'], added: [] });
    expect(listChanges(first, third)).toEqual({ at: 0, removed: ['a', 'b', 'c'], added: ['b'] });
    expect(listChanges(first, ['a', 'b', 'c'])).toEqual({ at: 3, removed: [], added: [] });
  });
});
