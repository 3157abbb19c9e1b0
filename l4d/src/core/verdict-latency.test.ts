import { expect, it } from 'vitest';
import { verdictLatency } from './verdict-latency.ts';

const change = { sequence: 1, peer: '10.0.0.1', prefixes: ['203.0.113.10/32'] };
const verdict = { vip: 'web', prefix: '203.0.113.10/32', atMs: 1000 };
const values = (changes: Parameters<typeof verdictLatency>[1]['changes']) =>
  verdictLatency([verdict], { changes }).map(({ samples }) => samples.map(({ value }) => value));

it('is of the first change of the prefix after the verdict', () => {
  expect(
    values([
      { ...change, askedAtMs: 900, writtenAtMs: 901, ackedAtMs: 902 },
      { ...change, askedAtMs: 1004, writtenAtMs: 1005, ackedAtMs: 1007 },
      { ...change, askedAtMs: 1500, writtenAtMs: 1501, ackedAtMs: 1502 },
    ]),
  ).toEqual([[0.005], [0.007]]);
});

it('is of nothing when the change is another prefix, of another cause, or not acknowledged yet', () => {
  expect(values([{ ...change, prefixes: [], askedAtMs: 1004, writtenAtMs: 1005 }])).toEqual([[], []]);
  expect(values([{ ...change, askedAtMs: 60_000, writtenAtMs: 60_001, ackedAtMs: 60_002 }])).toEqual([
    [],
    [],
  ]);
  expect(values([{ ...change, askedAtMs: 1004, writtenAtMs: 1005 }])).toEqual([[0.005], []]);
});
