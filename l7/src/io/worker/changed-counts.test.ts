import { expect, it } from 'vitest';
import { backendCounters, listenerCounters } from '../counters.ts';
import type { Front } from '../front.ts';
import { changedCounts } from './changed-counts.ts';

it('tells of a backend that was chosen after its client had come', () => {
  const counters = new Map();
  const front = { counters, table: new Map(), unknownConnections: 0 } as unknown as Front;
  const counted = listenerCounters(counters, 'a');
  counted.connections += 1;
  const changed = changedCounts();
  expect(changed.take(front)?.listeners.a).toMatchObject({ connections: 1 });
  expect(changed.take(front)).toBeUndefined();
  backendCounters(counted, 'b').requests += 1;
  expect(changed.take(front)?.listeners.a).toMatchObject({ backends: { b: { requests: 1 } } });
});
