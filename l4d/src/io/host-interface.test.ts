import { expect, test } from 'vitest';
import { aggregateOf, interfacesOf } from './host-interface.ts';

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

test('a route over several next hops leads over each interface once', () => {
  expect(interfacesOf({ interfaceIndex: undefined, pathInterfaces: [2, 2] })).toEqual([2]);
  expect(interfacesOf({ interfaceIndex: undefined, pathInterfaces: [2, 4] })).toEqual([2, 4]);
  expect(interfacesOf({ interfaceIndex: 3, pathInterfaces: [] })).toEqual([3]);
  expect(interfacesOf({ interfaceIndex: undefined, pathInterfaces: [] })).toEqual([]);
});
