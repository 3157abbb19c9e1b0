import { expect, it } from 'vitest';
import { countError, type ErrorCount, maxErrorCounts, restoreErrors } from './error-counts.ts';
import { announcerMetrics } from './metric-families.ts';
import { metricText } from './metric-text.ts';

const error = (code: number, subcode: number) =>
  ({ direction: 'received', code, subcode, text: '' }) as const;

it('counts each kind, and is bounded whatever codes a peer invents', () => {
  const counts = new Map<string, ErrorCount>();
  countError(counts, error(2, 2));
  countError(counts, error(2, 2));
  for (let subcode = 0; subcode < 1000; subcode++) countError(counts, error(200, subcode % 256));
  expect(counts.get('received 2 2')?.count).toBe(2);
  expect(counts.size).toBeLessThanOrEqual(maxErrorCounts + 3);
  expect([...counts.values()].reduce((sum, { count }) => sum + count, 0)).toBe(1002);
});

it('are one count for each direction, code and subcode, also where a peer sends code 0', () => {
  const counts = new Map<string, ErrorCount>();
  countError(counts, error(0, 0));
  for (let subcode = 0; subcode < 100; subcode++) countError(counts, error(6, subcode));
  const names = [...counts.values()].map(({ direction, code, subcode }) => `${direction} ${code} ${subcode}`);
  expect(new Set(names).size).toBe(names.length);
  const again = new Map<string, ErrorCount>();
  restoreErrors(again, [...counts.values()]);
  countError(again, error(0, 0));
  expect(again.get('received 0 0')?.count).toBe((counts.get('received 0 0')?.count ?? 0) + 1);
});

it('are a metric, beside the connections of strangers', () => {
  const peer = { address: '10.0.0.1', state: 'Active', prefixesReceived: 0, prefixesAdvertised: 0, flaps: 0 };
  const errors = [{ direction: 'sent', code: 2, subcode: 2, count: 3 }] as const;
  const text = metricText(announcerMetrics({ peers: [{ ...peer, errors }], connectionsRefused: 4 }));
  expect(text).toContain('l4d_bgp_errors_total{peer="10.0.0.1",direction="sent",code="2",subcode="2"} 3\n');
  expect(text).toContain('l4d_bgp_connections_refused_total 4\n');
});
