import type { NatStatus } from '@l4d/l4d/core/status.ts';
import { expect, test } from 'vitest';
import { renderNat } from './nat-command.ts';

const nat: NatStatus = {
  ports: '10240-32767',
  capacity: 131_072,
  refused: 3,
  idleResets: 2,
  phases: { opening: 1, established: 20, closing: 5 },
  sources: [
    {
      address: '10.0.0.11',
      connections: 26,
      ports: 22_528,
      busiest: { used: 14, target: '10.0.0.21 port 80 tcp' },
    },
    { address: '10.0.0.12', connections: 0, ports: 22_528 },
  ],
};

test('a line of sums, and for each source what is left towards its busiest backend', () => {
  const lines = renderNat(nat).trimEnd().split('\n');
  expect(lines).toEqual([
    'ports 10240-32767, connections 1 opening, 20 established, 5 closing, room for 131072 of each family, 3 packets refused for want of a port, 2 RSTs to ends of idle ones',
    expect.stringMatching(/^SOURCE +CONNECTIONS +PORTS +USED MOST +FREE THERE +TOWARDS$/),
    expect.stringMatching(/^10\.0\.0\.11 +26 +22528 +14 +22514 +10\.0\.0\.21 port 80 tcp$/),
    expect.stringMatching(/^10\.0\.0\.12 +0 +22528 +0 +22528 +-$/),
  ]);
});

test('what is wrong comes first, and a host without NAT says so', () => {
  expect(renderNat({ ...nat, ports: '', sources: [], problem: 'no ports are left' })).toMatch(
    /^! no ports are left\nports none,/,
  );
  expect(renderNat(undefined)).toBe('no VIP has backends with forward: nat\n');
});
