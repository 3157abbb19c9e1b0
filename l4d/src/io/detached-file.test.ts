import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readDetached, writeDetached } from './detached-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'l4d-detached-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('what was written is read; without a file nothing is detached', async () => {
  const path = join(folder, 'detached.json');
  expect(readDetached(path)).toEqual({ all: false, vips: [] });
  await writeDetached(path, { all: true, vips: ['a'] });
  expect(readDetached(path)).toEqual({ all: true, vips: ['a'] });
});

test('a file that cannot be read does not release the brake', () => {
  expect(() => readDetached(folder)).toThrow(
    new OperatorError(`${folder} cannot be read: EISDIR`, exitCode.system),
  );
  const file = join(folder, 'file');
  writeFileSync(file, '');
  expect(() => readDetached(join(file, 'detached.json'))).toThrow(/cannot be read: ENOTDIR/);
});
