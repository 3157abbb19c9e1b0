import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const main = join(import.meta.dirname, '../main.ts');

it.each([
  [['sidecer'], 2, 'unknown command "sidecer" (did you mean "sidecar"?)'],
  [['sidecer', '-c', 'file'], 2, 'unknown command "sidecer" (did you mean "sidecar"?)'],
  [['--run-dri', '/x'], 2, 'unknown option "--run-dri" (did you mean "--run-dir"?)'],
  [['zzz'], 2, 'unknown command "zzz" (allowed: sidecar, check, maintenance, status)'],
  [['status', 'web'], 2, 'too many arguments'],
  [['check', '--vpi', 'x'], 2, "unknown option '--vpi'"],
  [['--run-dir', '/nowhere', 'status'], 69, '/nowhere/announcer.sock: ENOENT (needed: --run-dir FOLDER'],
])(
  '%j',
  (words, code, message) => {
    const { status, stderr } = spawnSync(process.execPath, [main, ...words], { encoding: 'utf8' });
    expect(stderr).toContain(message);
    expect(status).toBe(code);
  },
  30_000,
);
