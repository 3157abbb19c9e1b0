import { expect, test } from 'vitest';
import { aggregateOf } from './host-interface.ts';

const links = [
  { index: 1, name: 'lo', kind: undefined },
  { index: 2, name: 'eth0', kind: undefined },
  { index: 3, name: 'bond0', kind: 'bond' },
  { index: 4, name: 'br0', kind: 'bridge' },
  { index: 5, name: 'team0', kind: 'team' },
];

test('parts of bonds and teams are known, ports of bridges are none', () => {
  expect(aggregateOf({ master: 3 }, links)?.name).toBe('bond0');
  expect(aggregateOf({ master: 5 }, links)?.name).toBe('team0');
  expect(aggregateOf({ master: 4 }, links)).toBeUndefined();
  expect(aggregateOf({ master: undefined }, links)).toBeUndefined();
  // Of another network namespace.
  expect(aggregateOf({ master: 9 }, links)).toBeUndefined();
});
