/** The announcer alone, as `npm run package` packs it: it runs away from the repository. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { repositoryRoot } from '../../tools/lab/io/build-lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'l4d-package-test-'));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('is small, and checks a configuration without anything of the repository', () => {
  const file = join(folder, 'package.tar.gz');
  execFileSync(process.execPath, [join(repositoryRoot, 'tools/packaging/main.ts'), file]);
  expect(statSync(file).size).toBeLessThan(5_000_000);
  execFileSync('tar', ['-C', folder, '-xzf', file]);
  const [name = ''] = readdirSync(folder).filter((one) => one.startsWith('l4-announcer-'));
  const run = (...words: readonly string[]) =>
    spawnSync(join(folder, name, 'bin/l4-announcer'), words, {
      cwd: '/',
      encoding: 'utf8',
      env: { L4D_NODE: process.execPath, PATH: '/usr/bin:/bin', L4_ANNOUNCER_AS: '65021' },
    });
  const flags = ['--router-id', '10.0.0.21', '--peer', '10.0.0.1@65000', '--vip', '203.0.113.10'];
  const good = run('check', ...flags, '--check', 'http://127.0.0.1:8080/health');
  expect(good.stdout + good.stderr).toBe('1 services, 1 VIPs, 1 peers, no problem\n');
  const bad = run('check', ...flags, '--check', 'http://127.0.0.1:80800/health');
  expect(bad.stderr).toContain('--check (L4_ANNOUNCER_CHECKS): 80800 is not a port (allowed: 1 to 65535)');
  expect(bad.status).toBe(78);
});
