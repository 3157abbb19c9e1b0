import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '@l4d/kit/clock.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCompanion } from './companion.ts';

let folder: string;
let now: number;
let pids: number[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'l4d-companion-'));
  now = 0;
  pids = [];
});
afterEach(() => {
  for (const pid of pids) end(pid);
  rmSync(folder, { recursive: true });
});

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** An announcer that lives in the folder, and is looked for at a socket where nobody listens. */
function companion(socketPath = join(folder, 'elsewhere.sock')) {
  const clock: Clock = { now: () => now, after: () => ({ cancel() {} }) };
  const logger = { info: ({ pid }: { pid: number }) => pids.push(pid), error() {} } as unknown as Logger;
  const logPath = join(folder, 'announcer.log');
  return createCompanion({
    name: 'announcer',
    socketPath,
    args: ['--run-dir', folder],
    logPath,
    clock,
    logger,
  });
}

test('a process that lives but does not listen yet is given its time', async () => {
  const announcer = companion();
  expect(await announcer.ensure()).toBe(false);
  now = 2000;
  await announcer.ensure();
  expect(pids).toHaveLength(1);
  now = 10_000;
  await announcer.ensure();
  expect(pids).toHaveLength(2);
});

test('a process that has ended is started again after a second', async () => {
  const announcer = companion();
  await announcer.ensure();
  end(pids[0] ?? 0);
  await expect.poll(() => startedAt(announcer, 999)).toBe(1);
  await expect.poll(() => startedAt(announcer, 1000)).toBe(2);
});

test('a process that listens already is adopted', async () => {
  const socketPath = join(folder, 'here.sock');
  const server = createServer((socket) => socket.end()).listen(socketPath);
  await once(server, 'listening');
  expect(await companion(socketPath).ensure()).toBe(true);
  expect(pids).toEqual([]);
  server.close();
});

/** How many have been started when it is asked for at a time. */
async function startedAt(announcer: ReturnType<typeof companion>, milliseconds: number): Promise<number> {
  now = milliseconds;
  await announcer.ensure();
  return pids.length;
}
