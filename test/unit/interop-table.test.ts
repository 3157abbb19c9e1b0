/** The page of routers shows what the matrix holds. */
import { expect, it } from 'vitest';
import { renderTable } from '../interop/matrix/features.ts';
import { readSource } from './support/source-files.ts';

it('docs/operators/interop.md has the table of test/interop/matrix/features.ts', () => {
  expect(readSource('docs/operators/interop.md')).toContain(renderTable());
});
