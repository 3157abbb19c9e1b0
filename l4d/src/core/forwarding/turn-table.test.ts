import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildTurnTable } from './turn-table.ts';

const members = (weights: readonly number[]) =>
  weights.map((weight, n) => ({ identity: `10.0.0.${n + 1}`, weight }));
const counts = (slots: Uint32Array, of: number) =>
  Array.from({ length: of }, (_, n) => slots.filter((slot) => slot === n).length);

describe('a turn table', () => {
  it('gives shares that are those of the weights, exactly where their sum fits', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 12 }), (weights) => {
        const slots = buildTurnTable(members(weights), 1009);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        expect(slots.length === 0).toBe(total === 0);
        for (const [n, count] of counts(slots, weights.length).entries()) {
          expect(count * total).toBe((weights[n] ?? 0) * slots.length);
        }
      }),
    );
  });

  it('does not depend on the order of the backends', () => {
    const backends = members([3, 1, 2, 5]);
    const namesOf = (list: typeof backends) =>
      [...buildTurnTable(list, 101)].map((slot) => list[slot]?.identity);
    expect(namesOf([...backends].reverse())).toEqual(namesOf(backends));
  });

  it('spreads the turns of a heavy backend', () => {
    const slots = [...buildTurnTable(members([5, 1, 1]), 101)];
    expect(slots.slice(0, 7).filter((slot) => slot === 0)).toHaveLength(5);
    // Never all five in a row, over the end too.
    expect(`${slots.join('')}${slots.join('')}`).not.toContain('00000');
  });

  it('comes close where the sum does not fit', () => {
    const weights = [1000, 999, 1];
    const slots = buildTurnTable(members(weights), 101);
    expect(slots).toHaveLength(101);
    for (const [n, count] of counts(slots, 3).entries()) {
      expect(Math.abs(count - ((weights[n] ?? 0) * 101) / 2000)).toBeLessThan(1);
    }
  });
});
