import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createLoneHost, goodConfig, type LoneHost, said } from './support/lone-host.ts';
import { ipIn } from './support/network-namespace.ts';

let host: LoneHost;

beforeAll(() => {
  host = createLoneHost('l4dbrake');
});
afterAll(() => host?.remove());
afterEach(() => host.reset());

const good = () => host.write('good.yaml', goodConfig());
const stateFolder = () => host.environment['L4D_STATE_DIR'] ?? '';
const runFolder = () => host.environment['L4D_RUN_DIR'] ?? '';

/** Programs attached to a device, as `ip` sees them. */
const xdpOf = (device: string) => /xdp\w*/.exec(ipIn(host.namespaces.host, `link show dev ${device}`))?.[0];

/** Runs a program on the host with a file system for its state on which nothing fits any more. */
function runOnFullDisk(command: string) {
  const state = stateFolder();
  const steps = [
    `cp -r ${state} ${state}-copy`,
    `mount -t tmpfs -o size=256k tmpfs ${state}`,
    `cp -r ${state}-copy/. ${state}`,
    `rm -r ${state}-copy`,
    `{ cat /dev/zero > ${state}/filler 2> /dev/null; exec ${command}; }`,
  ];
  return host.run('unshare', '-m', 'sh', '-c', steps.join(' && '));
}

const cannotWrite = () =>
  `l4d: ${stateFolder()}/detached.json could not be written (ENOSPC): no daemon knows that this is detached. ` +
  'One that runs, or is started, takes it back: stop it, make room, and detach again';

describe('the brake on a full disk', () => {
  it('withdraws and detaches everything, and says last that no daemon will know', async () => {
    const daemon = await host.start('-c', good());
    expect(await host.untilServed()).toBe('backend');
    daemon.process.kill('SIGKILL');
    await daemon.ended;
    const asked: string[] = [];
    const announcer = createServer((request, answer) => {
      asked.push(`${request.method} ${request.url}`);
      answer.end('{}');
    }).listen(join(runFolder(), 'announcer.sock'));
    try {
      const answer = await runOnFullDisk('l4d detach --all');
      expect(said(answer.stderr)).toEqual([cannotWrite()]);
      expect(answer.stdout).toContain('withdrawn from all BGP peers\nXDP program detached');
      expect(answer.code).toBe(1);
      expect(asked).toContain('POST /v1/withdraw');
      expect(xdpOf('br0')).toBeUndefined();
    } finally {
      announcer.close();
    }
  });

  it('takes one VIP out of the packet path all the same', async () => {
    const daemon = await host.start('-c', good());
    expect(await host.untilServed()).toBe('backend');
    daemon.process.kill('SIGKILL');
    await daemon.ended;
    const answer = await runOnFullDisk('l4d detach --vip web');
    expect(said(answer.stderr)).toEqual([cannotWrite()]);
    expect(answer.stdout).toContain('web detached\n');
    expect(answer.code).toBe(1);
    expect(await host.askOnce()).toBe('');
  });
});

describe('the brake with a damaged file of what is detached', () => {
  it('detaches everything', async () => {
    const daemon = await host.start('-c', good());
    daemon.process.kill('SIGKILL');
    await daemon.ended;
    writeFileSync(join(stateFolder(), 'detached.json'), 'x');
    const answer = await host.run('l4d', 'detach', '--all');
    expect(answer.stderr).toBe('');
    expect(answer.code).toBe(0);
    expect(xdpOf('br0')).toBeUndefined();
  });
});
