import { readFileSync } from 'node:fs';
import { desiredStateJsonSchema } from '@l4d/l4d/core/desired-state.ts';
import { expect, test } from 'vitest';
import { fieldTexts } from './field-texts.ts';
import { fieldsOf, referencePage } from './reference.ts';

const page = new URL('../../docs/operators/configuration.md', import.meta.url);

test('every field has a text, and every text a field', () => {
  const paths = fieldsOf(desiredStateJsonSchema()).map(({ path }) => path);
  expect(Object.keys(fieldTexts).toSorted()).toEqual(paths.toSorted());
});

test('the committed page is what "npm run docs" makes', () => {
  expect(readFileSync(page, 'utf8')).toBe(referencePage(desiredStateJsonSchema(), fieldTexts));
});
