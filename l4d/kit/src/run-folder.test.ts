import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listenOnSocket, socketAnswers, takeRunFolder } from './run-folder.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'l4d-run-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('makes the folder and names the socket', async () => {
  const runDir = join(folder, 'new');
  expect(await takeRunFolder(runDir, 'thing')).toBe(join(runDir, 'thing.sock'));
});

test('a second one of the same name is refused, one of another name is not', async () => {
  await takeRunFolder(folder, 'thing');
  await expect(takeRunFolder(folder, 'thing')).rejects.toMatchObject({
    exitCode: 75,
    message: `another thing is already running on ${join(folder, 'thing.sock')}`,
  });
  await takeRunFolder(folder, 'other');
});

test('a socket that somebody answers on is not taken, without a lock either', async () => {
  const path = join(folder, 'thing.sock');
  const server = createServer();
  await listenOnSocket(server, path);
  try {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await expect(takeRunFolder(folder, 'thing')).rejects.toMatchObject({ exitCode: 75 });
    expect(await socketAnswers(path)).toBe(true);
  } finally {
    server.close();
  }
});

test('the socket that a dead process left is removed', async () => {
  const path = join(folder, 'thing.sock');
  const server = createServer();
  await listenOnSocket(server, `${path}.live`);
  // Closing removes the socket under the name it was bound to: moved away before, it stays.
  await rename(`${path}.live`, path);
  await new Promise((resolve) => server.close(resolve));
  await takeRunFolder(folder, 'thing');
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
});

test('a file in the place of the socket is kept', async () => {
  writeFileSync(join(folder, 'thing.sock'), 'precious');
  await expect(takeRunFolder(folder, 'thing')).rejects.toThrow(/is not a socket/);
});
