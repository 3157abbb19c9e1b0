import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '@l4d/kit/logger.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { afterAll, describe, expect, it } from 'vitest';
import { type Desired, desiredSchema } from '../core/api.ts';
import { createSecretFiles, readSecret } from './secret-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'unn-secret-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;

function file(content: string, mode = 0o600): string {
  const path = join(folder, `${++files}.key`);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe('a secret', () => {
  it.each([
    ['its line', 'hunter2\n'],
    ['without an end of line', 'hunter2'],
    ['of another system', 'hunter2\r\n'],
  ])('is %s', (_name, content) => {
    expect(readSecret(file(content))).toEqual({ ok: true, value: 'hunter2' });
  });

  it('may be behind a link, and read-only', () => {
    const link = join(folder, 'link');
    symlinkSync(file('hunter2', 0o400), link);
    expect(readSecret(link)).toEqual({ ok: true, value: 'hunter2' });
  });

  it('is refused where others could know or choose it, and never told', () => {
    const foreign = file('hunter2');
    chownSync(foreign, 65534, 65534);
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', ['-m', '600', pipe]);
    const refusals: [string, RegExp][] = [
      [file('hunter2', 0o640), /may be read or changed by others \(mode 0640; allowed: 0600 or 0400\)$/],
      [foreign, /belongs to another user \(uid 65534\)$/],
      [pipe, /is not a file$/],
      [folder, /is not a file$/],
      [join(folder, 'none'), /cannot be read: ENOENT$/],
      [file(''), /must have one line of 1 to 80 octets$/],
      [file('hunter2\nhunter3\n'), /must have one line/],
      [file('h'.repeat(81)), /must have one line/],
      [file('h'.repeat(10_000)), /must have one line/],
    ];
    for (const [path, expected] of refusals) {
      const secret = readSecret(path);
      expect(secret.ok ? '' : secret.error).toMatch(expected);
      expect(JSON.stringify(secret)).not.toMatch(/hunter|hhh/);
    }
  });
});

describe('the secrets of a desired state', () => {
  const desired = (passwordFile: string, keyFile: string): Desired =>
    desiredSchema.parse({
      owner: 'test',
      local: { as: 65001, routerId: '10.0.0.1' },
      peers: [
        { address: '10.0.0.2', as: 65000, passwordFile },
        { address: '10.0.0.3', as: 65000, bfd: { auth: { type: 'keyed-sha1', keyFile } } },
      ],
      interfacePeers: [{ interface: 'eth0', as: 'external', passwordFile }],
      dynamicPeers: [
        { range: '10.1.0.0/16', template: { as: 65000, tcpAo: { keyFile, sendId: 1, receiveId: 1 } } },
      ],
      prefixes: [],
    });

  it('are put in place, and peers without theirs are withheld', () => {
    const secrets = createSecretFiles(createManualClock(), createLogger('test'), () => {});
    const filled = secrets.fill(desired(file('one'), file('two')));
    expect(filled.withheld).toEqual([]);
    expect(filled.desired.peers.map(({ password, bfd }) => password ?? bfd?.auth?.key)).toEqual([
      'one',
      'two',
    ]);
    expect(filled.desired.interfacePeers?.[0]?.password).toBe('one');
    expect(filled.desired.dynamicPeers?.[0]?.template.tcpAo?.key).toBe('two');
    const missing = secrets.fill(desired('/nowhere', file('two')));
    expect(missing.withheld.map(({ name }) => name)).toEqual(['10.0.0.2', 'eth0']);
    expect(missing.desired.peers.map(({ address }) => address)).toEqual(['10.0.0.3']);
    expect(missing.desired.interfacePeers).toEqual([]);
    secrets.close();
  });

  it('are asked for again when a file is replaced, comes or goes', async () => {
    const clock = createManualClock();
    let changes = 0;
    const path = file('one');
    const state = desired(path, path);
    const secrets = createSecretFiles(clock, createLogger('test'), () => {
      changes += 1;
      secrets.fill(state);
    });
    secrets.fill(state);
    await clock.advance(10_000);
    expect(changes).toBe(0);
    renameSync(file('other'), path);
    await clock.advance(10_000);
    expect(changes).toBe(1);
    // As an editor writes: a look in between takes no secret away.
    writeFileSync(path, '');
    await clock.advance(1000);
    writeFileSync(path, 'other');
    await clock.advance(10_000);
    expect(changes).toBe(1);
    rmSync(path);
    await clock.advance(10_000);
    expect(changes).toBe(2);
    writeFileSync(path, 'back', { mode: 0o600 });
    await clock.advance(10_000);
    expect(changes).toBe(3);
    secrets.close();
    writeFileSync(path, 'closed');
    await clock.advance(10_000);
    expect(changes).toBe(3);
  });
});
