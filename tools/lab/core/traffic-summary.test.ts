import { expect, test } from 'vitest';
import type { TrafficEvent } from './traffic-events.ts';
import { summarizeConnections, summarizeFlows, summarizeRequests } from './traffic-summary.ts';

test('requests are counted by backend within a span, failures kept', () => {
  const events: TrafficEvent[] = [
    { type: 'started', atMs: 0 },
    { type: 'request', atMs: 10, tookMs: 2, backend: 'b1', seenClient: '198.51.100.7' },
    { type: 'request', atMs: 20, tookMs: 3, failure: 'ECONNREFUSED' },
    { type: 'request', atMs: 30, tookMs: 1, backend: 'b1', seenClient: '198.51.100.7' },
    { type: 'request', atMs: 40, tookMs: 9, backend: 'b2', seenClient: '198.51.100.7' },
  ];
  expect(summarizeRequests(events)).toMatchObject({
    total: 4,
    succeeded: 3,
    failures: [{ failure: 'ECONNREFUSED' }],
    byBackend: { b1: 2, b2: 1 },
    seenClients: ['198.51.100.7'],
    largestMs: 9,
  });
  expect(summarizeRequests(events, { fromMs: 30, untilMs: 40 })).toMatchObject({ total: 1, failures: [] });
});

test('a connection shows each change of its backend, its largest gap and how it broke', () => {
  const ping = (connection: number, atMs: number, backend: string): TrafficEvent => ({
    ...{ type: 'ping', connection, port: 12_000 + connection, backend, atMs, tookMs: 1 },
  });
  const events: TrafficEvent[] = [
    ...[ping(1, 100, 'b1'), ping(0, 100, 'b2'), ping(1, 150, 'b1'), ping(0, 900, 'b2'), ping(1, 160, 'b3')],
    { type: 'broken', connection: 1, port: 12_001, atMs: 200, failure: 'ECONNRESET' },
  ];
  expect(summarizeConnections(events)).toEqual([
    { port: 12_000, backends: ['b2'], pings: 2, largestGapMs: 800, lastPingAtMs: 900 },
    {
      ...{ port: 12_001, backends: ['b1', 'b3'], pings: 3, largestGapMs: 50, lastPingAtMs: 160 },
      broken: { type: 'broken', connection: 1, port: 12_001, atMs: 200, failure: 'ECONNRESET' },
    },
  ]);
});

test('flows are told apart by their source port', () => {
  const events: TrafficEvent[] = [
    { type: 'datagram', port: 7, atMs: 1, tookMs: 1, backend: 'b1' },
    { type: 'datagram', port: 5, atMs: 1, tookMs: 1, backend: 'b2' },
    { type: 'datagram', port: 7, atMs: 2, tookMs: 300 },
    { type: 'datagram', port: 7, atMs: 3, tookMs: 1, backend: 'b3' },
  ];
  expect(summarizeFlows(events)).toMatchObject([
    { port: 5, backends: ['b2'], answered: 1, lost: [] },
    { port: 7, backends: ['b1', 'b3'], answered: 2, lost: [{ atMs: 2 }] },
  ]);
});
