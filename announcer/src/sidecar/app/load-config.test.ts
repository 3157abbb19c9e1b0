import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { SidecarFlags } from '../core/command-line.ts';
import { loadConfig } from './load-config.ts';

const folder = mkdtempSync(join(tmpdir(), 'l4d-load-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const path = join(folder, 'sidecar.yaml');
const given: SidecarFlags = {
  as: '65001',
  peer: ['10.0.0.1@65000'],
  vip: ['203.0.113.10'],
  check: ['tcp://127.0.0.1:80'],
};

/** A file with one service; the last line is its check. */
function fileOf(check: string, more = ''): string {
  writeFileSync(
    path,
    `as: 65001
peers: [{ address: 10.0.0.1, as: 65000 }]
services:
  - name: web
    vips: [203.0.113.20]
    port: 80
    ${more}
    checks: [${check}]
`,
  );
  return path;
}

describe('what is wrong is told in the words of who gave it', () => {
  const { as: _as, ...withoutAs } = given;
  const { check: _check, ...withoutCheck } = given;
  const { peer: _peer, ...withoutPeer } = given;
  it.each<[string, SidecarFlags, RegExp]>([
    ['missing', withoutAs, /^--as \(L4_ANNOUNCER_AS\): is missing/],
    ['no neighbour', withoutPeer, /^--peer \(L4_ANNOUNCER_PEERS\): is missing/],
    ['no check', withoutCheck, /^--check \(L4_ANNOUNCER_CHECKS\): is empty/],
    ['no service', { as: '65001' }, /\n--vip \(L4_ANNOUNCER_VIPS\): is missing \(needed: an address/],
    ['interval', { ...given, interval: 'x' }, /^--interval \(L4_ANNOUNCER_INTERVAL\): "x" is not/],
    ['vip', { ...given, vip: ['x'] }, /^--vip \(L4_ANNOUNCER_VIPS\): "x" is not/],
    ['med', { ...given, med: 'x' }, /^--med \(L4_ANNOUNCER_MED\): "x" is not/],
    ['promise', { ...given, promise: 'x' }, /^--promise \(L4_ANNOUNCER_PROMISE\): "x" is not/],
    ['not a neighbour', { ...given, peer: ['x'] }, /^--peer \(L4_ANNOUNCER_PEERS\): "x" is not/],
  ])('by flags: %s', async (_, flags, message) => {
    await expect(loadConfig(undefined, flags)).rejects.toThrow(message);
  });

  it('by both: a flag by its name, the file by its own', async () => {
    const file = fileOf('{ type: tcp, rise: 0 }');
    const wrong = loadConfig(file, { ...given, fall: '0' });
    await expect(wrong).rejects.toThrow(`${file}: services[0].checks[0].rise: 0 is not`);
    await expect(wrong).rejects.toThrow('\n--fall (L4_ANNOUNCER_FALL): 0 is not');
  });

  it('by a file: the value that is no fallback', async () => {
    const wrong = loadConfig(fileOf('{ type: tcp }', 'whenDown: drop'), {});
    await expect(wrong).rejects.toThrow('services[0].whenDown: "drop" is neither "withdraw" nor attributes');
  });
});

describe('what is allowed, but hardly meant', () => {
  it.each([
    ['{ type: tcp, interval: 2s, timeout: 10s }', ['timeout: 10s is longer than interval: 2s']],
    ['{ type: tcp, interval: 2s, timeout: 2s }', []],
    // The default timeout is for any interval.
    ['{ type: tcp, interval: 1s }', []],
    ['{ type: exec, command: [/nowhere/disk-has-room] }', ['"/nowhere/disk-has-room" is not found']],
    ['{ type: exec, command: [no-such-program-of-l4d] }', ['"no-such-program-of-l4d" is not found']],
    ['{ type: exec, command: [test, -w, /var/tmp] }', []],
    ['{ type: exec, command: [/tmp] }', ['"/tmp" is not found']],
  ])('%s', async (check, expected) => {
    const { warnings } = await loadConfig(fileOf(check), {});
    expect(warnings).toEqual(expected.map((text) => expect.stringContaining(text)));
  });

  it('of flags too', async () => {
    const { warnings } = await loadConfig(undefined, { ...given, interval: '1s', timeout: '3s' });
    expect(warnings).toEqual([expect.stringContaining('3s is longer than interval: 1s')]);
  });
});
