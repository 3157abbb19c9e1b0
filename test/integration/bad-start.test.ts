import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createLoneHost, goodConfig, type LoneHost, type StartedDaemon, said } from './support/lone-host.ts';

let host: LoneHost;

beforeAll(() => {
  host = createLoneHost('l4dstart');
});
afterAll(() => host?.remove());
afterEach(() => host.reset());

const good = () => host.write('good.yaml', goodConfig());
const stateFolder = () => host.environment['L4D_STATE_DIR'] ?? '';

describe('stored state of which nothing can be read', () => {
  it('is no reason to remove the VIPs: the daemon does not start, however often it is tried', async () => {
    const first = await host.start('-c', good());
    expect(await host.untilServed()).toBe('backend');
    first.process.kill('SIGKILL');
    await first.ended;
    writeFileSync(join(stateFolder(), 'desired/1.json'), 'garbage');
    for (let start = 0; start < 2; start++) {
      const answer = await host.run('l4d', 'run');
      expect(said(answer.stderr)).toEqual([
        `l4d: no stored state in ${stateFolder()}/desired can be read; nothing was changed. ` +
          'Give the state with -c FILE, or move that folder away to begin without VIPs',
      ]);
      expect(answer.code).toBe(78);
    }
    expect(readdirSync(join(stateFolder(), 'desired'))).toEqual(['1.json']);
    expect(await host.ask()).toBe('backend');
  });
});

describe('undo', () => {
  it('is refused when it would move the daemon to another interface', async () => {
    const first = await host.start('-c', good());
    first.process.kill('SIGTERM');
    await first.ended;
    await host.run('l4d', 'detach', '--all', '--forget');
    await host.run('l4d', 'attach', '--all');
    const other = host.write('other.yaml', goodConfig({ host: 'interface: eth0' }));
    await host.start('-c', other);
    const answer = await host.run('l4ctl', 'undo');
    expect(answer.stderr).toContain('"br0" is not the interface that this daemon serves (allowed: eth0)');
    expect(answer.code).toBe(78);
    expect(readdirSync(join(stateFolder(), 'desired')).sort()).toEqual(['1.journal', '1.json']);
  });
});

describe('a second daemon with a run folder of its own', () => {
  it.each([
    ['--state-dir', () => stateFolder(), () => ['--bpf-dir', `${host.environment['L4D_BPF_DIR']}-2`]],
    [
      '--bpf-dir',
      () => host.environment['L4D_BPF_DIR'] ?? '',
      () => ['--state-dir', join(host.folder, 'state-2')],
    ],
  ])('does not start with the same %s', async (flag, folder, others) => {
    await host.start('-c', good());
    const answer = await host.run(
      'l4d',
      '--run-dir',
      join(host.folder, 'run-2'),
      ...others(),
      'run',
      '-c',
      good(),
    );
    expect(said(answer.stderr)).toEqual([
      `l4d: another l4d already uses the folder ${folder()} (another one: ${flag})`,
    ]);
    expect(answer.code).toBe(75);
    expect(await host.untilServed()).toBe('backend');
  });
});

describe('detaching a VIP while the daemon hangs', () => {
  let daemon: StartedDaemon | undefined;
  afterEach(() => daemon?.process.kill('SIGCONT'));

  it('leaves its maps alone and says so; once it is killed the VIP goes', async () => {
    daemon = await host.start('-c', good());
    expect(await host.untilServed()).toBe('backend');
    daemon.process.kill('SIGSTOP');
    const answer = await host.run('l4d', 'detach', '--vip', 'web');
    expect(said(answer.stderr)).toEqual([
      'l4d: a daemon runs and does not answer: its maps are left alone, so the VIP is still in the packet path. ' +
        'The daemon ends its forwarding when it answers again or is restarted; at once: kill it, then detach again',
    ]);
    expect(answer.code).toBe(69);
    expect(await host.ask()).toBe('backend');
    daemon.process.kill('SIGKILL');
    await daemon.ended;
    expect((await host.run('l4d', 'detach', '--vip', 'web')).code).toBe(0);
    expect(await host.askOnce()).toBe('');
  });
});
