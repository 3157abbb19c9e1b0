import { expect, it } from 'vitest';
import { findServerName, orderServerNames } from './server-names.ts';

const names = orderServerNames([
  { names: ['a.example', '*.a.example'], entry: 'a' },
  { names: ['www.a.example'], entry: 'www' },
  { names: ['a.example', '*.b.example'], entry: 'later' },
]);

it.each([
  ['a.example', 'a'],
  ['A.Example.', 'a'],
  ['x.a.example', 'a'],
  ['www.a.example', 'www'],
  ['x.y.a.example', undefined],
  ['x.b.example', 'later'],
  ['b.example', undefined],
  ['.b.example', undefined],
  ['', undefined],
  ['example', undefined],
  ['*.a.example', 'a'],
])('%s', (asked, expected) => {
  expect(names && findServerName(names, asked)).toBe(expected);
});

it('has the first entry for clients that name none, and nothing without entries', () => {
  expect(names?.first).toBe('a');
  expect(orderServerNames([])).toBeUndefined();
});
