import { expect, test } from 'vitest';
import { createNatCount, natWarnings } from './nat-usage.ts';
import type { NatStatus } from './status.ts';

test('connections are counted by source, target and phase', () => {
  const count = createNatCount();
  const target = '10.0.0.21 port 80 tcp';
  count.add({ phase: 'opening', source: '10.0.0.11', target });
  count.add({ phase: 'established', source: '10.0.0.11', target });
  count.add({ phase: 'closing', source: '10.0.0.11', target: '10.0.0.22 port 80 tcp' });
  count.add({ phase: 'closing', source: 'fd00::11', target: 'fd00::21 port 80 tcp' });
  expect(count.total()).toEqual({
    phases: { opening: 1, established: 1, closing: 2 },
    sources: [
      { address: '10.0.0.11', connections: 3, busiest: { target, used: 2 } },
      { address: 'fd00::11', connections: 1, busiest: { target: 'fd00::21 port 80 tcp', used: 1 } },
    ],
  });
});

test('warns from four fifths on: of ports towards one backend, and of the table', () => {
  const nat: NatStatus = {
    ports: '10240-10339',
    capacity: 1000,
    phases: { opening: 0, established: 0, closing: 0 },
    refused: 0,
    idleResets: 0,
    sources: [
      { address: '10.0.0.11', ports: 100, connections: 79, busiest: { target: 'a', used: 79 } },
      { address: 'fd00::11', ports: 100, connections: 799, busiest: { target: 'b', used: 80 } },
      { address: 'fd00::12', ports: 100, connections: 1, busiest: { target: 'b', used: 1 } },
    ],
  };
  expect(natWarnings(nat)).toEqual([
    'NAT from fd00::11 has 80 of 100 ports in use towards b: give host.nat.sourceIpv6 more addresses',
    'NAT holds 800 of 1000 connections: raise host.capacity.natFlows',
  ]);
  expect(natWarnings({ ...nat, sources: [], problem: 'no ports' })).toEqual(['no ports']);
});
