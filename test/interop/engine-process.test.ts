/** The processes beside the announcer, without an announcer. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BfdReport } from '@l4d/announcer/io/bfd/messages.ts';
import { onLines } from '@l4d/announcer/io/json-lines.ts';
import { expect, it } from 'vitest';
import { until } from './bgp-until.ts';

it.concurrent.each(['bfd/bfd-process.ts', 'vrrp/vrrp-process.ts'])(
  '%s leaves when the announcer that started it has died before it came',
  async (entry) => {
    const folder = mkdtempSync(join(tmpdir(), `engine${process.pid}-`));
    const main = join(import.meta.dirname, '../../announcer/src/io', entry);
    const child = spawn(process.execPath, [main, join(folder, 'engine.sock')], { stdio: 'ignore' });
    try {
      const left = await Promise.race([once(child, 'exit'), sleep(15_000, 'still there', { ref: false })]);
      expect(left).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

/** As in a container that was given nothing. */
const withoutRights = ['setpriv', '--bounding-set', '-sys_nice,-ipc_lock', '--', 'prlimit', '--rtprio=0'];

it.concurrent.each([
  {
    rights: 'all',
    prefix: [],
    precedence: expect.stringMatching(/^(deadline|round-robin)$/),
    inMemory: true,
  },
  { rights: 'none', prefix: withoutRights, precedence: 'none', inMemory: false },
])('BFD works with $rights of the rights, and says how', async ({ prefix, precedence, inMemory }) => {
  const folder = mkdtempSync(join(tmpdir(), `engine${process.pid}-`));
  const path = join(folder, 'engine.sock');
  const main = join(import.meta.dirname, '../../announcer/src/io/bfd/bfd-process.ts');
  const [command = '', ...args] = [...prefix, process.execPath, '--single-threaded', main, path];
  const child = spawn(command, args, { stdio: 'ignore' });
  try {
    const reports: BfdReport[] = [];
    await until('the process answers', async () => {
      const socket = createConnection(path);
      onLines(socket, (message) => reports.push(message as BfdReport));
      await Promise.race([once(socket, 'data'), once(socket, 'close')]).catch(() => undefined);
      return reports.length > 0;
    });
    expect(reports[0]).toMatchObject({ kind: 'serving', precedence, inMemory });
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
