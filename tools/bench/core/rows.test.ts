import { describe, expect, it } from 'vitest';
import { type BenchRow, formatTable, summarize } from './rows.ts';

const row = (name: string, subject: string, samples: number[]): BenchRow => ({
  bench: 'b',
  case: name,
  subject,
  metric: 'time',
  unit: 'ns',
  ...summarize(samples),
});

describe('summarize', () => {
  it('takes the median of odd and even counts', () => {
    expect(summarize([30, 10, 20])).toEqual({ median: 20, min: 10, max: 30, runs: 3 });
    expect(summarize([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4, runs: 4 });
    expect(() => summarize([])).toThrow(/no samples/);
  });
});

describe('formatTable', () => {
  it('puts ours first, then each peer with its ratio, and names who is missing', () => {
    const rows = [
      row('hit', 'l4d', [50]),
      row('hit', 'peer 1.0', [100]),
      row('empty', 'floor', [6.25, 6.25]),
    ];
    expect(formatTable({ rows, missing: [{ subject: 'Katran', reason: 'not installed' }] })).toBe(
      [
        'case                   l4d          peer 1.0  ratio                floor  ratio',
        'hit, time    50 ns (50-50)  100 ns (100-100)   2.00                    -',
        'empty, time              -                 -         6.25 ns (6.25-6.25)',
        'missing: Katran (not installed)',
      ].join('\n'),
    );
  });
});
