import { expect, it } from 'vitest';
import { selected } from './selection.ts';

it('finds by parts of names, or by a whole one', () => {
  const all = ['keep-alive', 'TLS, keep-alive', 'bulk'];
  const names = (...parts: string[]) => selected(all, (name) => name, parts);
  expect(names()).toEqual(all);
  expect(names('KEEP')).toEqual(['keep-alive', 'TLS, keep-alive']);
  expect(names('=keep-alive', 'bul')).toEqual(['keep-alive', 'bulk']);
  expect(names('nothing')).toEqual([]);
});
