import { expect, test } from 'vitest';
import { editDistance, nearestWord } from './edit-distance.ts';

test.each([
  ['', '', 0],
  ['port', 'port', 0],
  ['prot', 'port', 1],
  ['backend', 'backends', 1],
  ['abc', '', 3],
  ['kitten', 'sitting', 3],
])('editDistance(%j, %j) is %i', (a, b, expected) => {
  expect(editDistance(a, b)).toBe(expected);
  expect(editDistance(b, a)).toBe(expected);
});

test('the nearest word is found in spite of case and swapped letters; far ones are not offered', () => {
  const keys = ['address', 'port', 'protocol', 'backends', 'onBackendDown'];
  expect(nearestWord('prot', keys)).toBe('port');
  expect(nearestWord('onbackenddown', keys)).toBe('onBackendDown');
  expect(nearestWord('colour', keys)).toBeUndefined();
  expect(nearestWord('x'.repeat(1000), keys)).toBeUndefined();
});
