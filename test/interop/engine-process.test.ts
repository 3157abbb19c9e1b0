/** The processes beside the announcer, without an announcer. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';

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
