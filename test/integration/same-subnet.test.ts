/**
 * VIPs of the hosts' own subnet without any router: three hosts of l4d, clients and a backend on one bridge. First the
 * whole group at one host, then shared by all.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { shareOwner } from '@l4d/announcer/core/vrrp/share-owner.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus, VrrpView } from '@l4d/l4d/core/status.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  bridgePortOf,
  cachedMac,
  interfaceMac,
  kill,
  type Machine,
  pidsOf,
  runOn,
  setPort,
  setUpNetwork,
  startOn,
  tearDownNetwork,
  until,
  watchPings,
} from '../../tools/lab/io/vrrp-lab.ts';

const hosts = ['a', 'b', 'c'] as const satisfies readonly Machine[];
const folder = mkdtempSync(join(tmpdir(), `vrp${process.pid}-l4d-`));
const bpfDir = (host: Machine) => `/sys/fs/bpf/vrp${process.pid}-${host}`;
const vip4 = '10.79.0.50';
const vip6 = 'fd79::50';
const vrids = [61, 62, 63];

const page = readFileSync(join(import.meta.dirname, '../../docs/operators/same-subnet.md'), 'utf8');
const [alone = '', shared = ''] = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(
  ([, text]) => text ?? '',
);

const groupLine = /^ *- \{ id: web.*$/m;

/** The example of the documentation for that host, shared with the VIPs of both families; no native XDP is here, and nobody waits. */
function config(index: number, isShared: boolean): string {
  const line = groupLine.exec(isShared ? shared : alone)?.[0] ?? '';
  const own = isShared
    ? line.replace('vrid: 61', `vrid: ${vrids[index]}`)
    : line.replace('priority: 150', `priority: ${150 - index * 20}`);
  const eager = own.replace('advertiseInterval', 'preemptDelay: 0s, advertiseInterval');
  return alone.replace(groupLine, eager).replace('interface: eth0', 'interface: eth0\n  xdpMode: generic');
}

const socketOf = (host: Machine) => join(folder, host, 'run', 'l4d.sock');
const get = async <Answer>(host: Machine, path: string) =>
  (await requestJson(socketOf(host), 'GET', path, undefined, 2000)).body as Answer;

async function apply(host: Machine, index: number, isShared: boolean): Promise<void> {
  const path = join(folder, host, 'l4d.yaml');
  writeFileSync(path, config(index, isShared));
  const ctl = join(import.meta.dirname, '../../tools/l4ctl/start.mjs');
  runOn(host, process.execPath, ctl, '--socket', socketOf(host), 'apply', '-f', path);
}

function startL4d(host: Machine, index: number): ChildProcess {
  for (const part of ['run', 'state']) mkdirSync(join(folder, host, part), { recursive: true });
  const path = join(folder, host, 'l4d.yaml');
  writeFileSync(path, config(index, false));
  const main = join(import.meta.dirname, '../../l4d/bin/start.mjs');
  const folders = ['--run-dir', join(folder, host, 'run'), '--state-dir', join(folder, host, 'state')];
  return startOn(host, process.execPath, main, 'run', '-c', path, ...folders, '--bpf-dir', bpfDir(host));
}

/** VRIDs that a host owns, by family. */
async function owned(host: Machine, family: 'ipv4' | 'ipv6' = 'ipv4'): Promise<number[]> {
  const view = await get<VrrpView>(host, '/v1/vrrp').catch(() => undefined);
  return (view?.routers ?? []).filter((one) => one.owning && one.family === family).map(({ vrid }) => vrid);
}

/** One request to the VIP; the answer's text. */
function ask(address: string, client: Machine = 'client'): string {
  const host = address.includes(':') ? `[${address}]` : address;
  try {
    return runOn(client, 'curl', '-s', '-m', '1', `http://${host}/`);
  } catch {
    return '';
  }
}

const logs = new Map<Machine, string>();

beforeAll(async () => {
  setUpNetwork();
  for (const machine of ['client', 'other', 'keepalived'] as const) {
    // Without offloads: generic XDP sends on what it gets.
    runOn(machine, 'ethtool', '-K', 'eth0', 'tx', 'off', 'tso', 'off', 'gso', 'off');
  }
  runOn('keepalived', 'sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=1', 'net.ipv4.conf.all.arp_announce=2');
  runOn('keepalived', 'ip', 'address', 'add', `${vip4}/32`, 'dev', 'lo');
  runOn('keepalived', 'ip', 'address', 'add', `${vip6}/128`, 'dev', 'lo');
  const server = "require('node:http').createServer((q, s) => s.end('served\\n')).listen(80, '::')";
  startOn('keepalived', process.execPath, '-e', server);
  for (const [index, host] of hosts.entries()) {
    const child = startL4d(host, index);
    child.stderr?.on('data', (chunk: Buffer) => logs.set(host, (logs.get(host) ?? '') + chunk.toString()));
  }
  await until('the best host owns both families', async () => {
    const all = [...(await owned('a')), ...(await owned('a', 'ipv6'))];
    return all.length === 2;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${[...logs.values()].join('\n')}`);
  });
});

afterAll(() => {
  tearDownNetwork();
  for (const host of hosts) rmSync(bpfDir(host), { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
});

it('serves by the owner; when it drains, and when it is dead, another goes on', async () => {
  await until('served', () => ask(vip4) === 'served\n' && ask(vip6) === 'served\n');
  expect(cachedMac('client', vip4)).toBe(interfaceMac('a'));
  await until('the other host says where they are', async () => {
    const { vips } = await get<FabricStatus>('b', '/v1/status');
    const where = /10\.79\.0\.1 is Active with priority 150, ours is 130/;
    return vips.some(({ verdict }) => verdict.code === 'standby' && where.test(verdict.reason));
  });
  // A stack that has the addresses and would answer does not hear the questions.
  const stray = (verb: string) => {
    runOn('b', 'ip', 'address', verb, `${vip4}/32`, 'dev', 'eth0');
    runOn('b', 'ip', 'address', verb, `${vip6}/128`, 'dev', 'eth0', 'nodad');
  };
  stray('add');
  for (let turn = 0; turn < 4; turn++) {
    runOn('client', 'ip', 'neighbour', 'flush', 'dev', 'eth0');
    expect([ask(vip4), ask(vip6)]).toEqual(['served\n', 'served\n']);
    expect([cachedMac('client', vip4), cachedMac('client', vip6)]).toEqual([
      interfaceMac('a'),
      interfaceMac('a'),
    ]);
  }
  stray('del');
  const ctl = join(import.meta.dirname, '../../tools/l4ctl/start.mjs');
  const table = runOn('a', process.execPath, ctl, '--socket', socketOf('a'), 'vrrp');
  expect(table).toMatch(/web +51 +ipv4 +Active +150 +10\.79\.0\.1 \(this host\)/);

  const pings = watchPings('client', vip4);
  await until('pings are answered by the program', () => pings.answers() > 10);
  runOn('a', process.execPath, ctl, '--socket', socketOf('a'), 'host', 'drain');
  await until('b owns', async () => (await owned('b')).length === 1);
  await sleep(300);
  const drained = pings.largestGapMs();
  expect(ask(vip4)).toBe('served\n');
  runOn('a', process.execPath, ctl, '--socket', socketOf('a'), 'host', 'undrain');
  await until('a owns again', async () => (await owned('a')).length === 1);
  await sleep(300);
  setPort('a', 'down');
  await until('b owns', async () => (await owned('b')).length === 1);
  await until('answered', () => pings.lastAt() > Date.now() - 50);
  await sleep(200);
  pings.stop();
  console.log(
    `largest gap of pings at 100 ms: ${Math.round(drained)} ms while drained, ` +
      `${Math.round(pings.largestGapMs())} ms when the link of the owner was cut`,
  );
  expect(ask(vip4)).toBe('served\n');
  expect(cachedMac('client', vip4)).toBe(interfaceMac('b'));
  setPort('a', 'up');
  await until('a owns again', async () => (await owned('a')).length === 1);
});

it('shared, all carry traffic, and no client has to learn anything when one dies', async () => {
  for (const [index, host] of hosts.entries()) await apply(host, index, true);
  for (const [index, host] of hosts.entries()) {
    await until(`${host} owns its own alone`, async () =>
      [...(await owned(host)), ...(await owned(host, 'ipv6'))].every(
        (vrid, _at, all) => all.length === 2 && vrid === vrids[index],
      ),
    );
  }
  for (const machine of ['client', 'other'] as const)
    runOn(machine, 'ip', 'neighbour', 'flush', 'dev', 'eth0');
  for (const [machine, address] of [
    ['client', '10.79.0.100'],
    ['other', '10.79.0.101'],
  ] as const) {
    await until('served', () => ask(vip4, machine) === 'served\n' && ask(vip6, machine) === 'served\n');
    const vrid = shareOwner(ipAddress(address), vrids).toString(16);
    expect(cachedMac(machine, vip4)).toBe(`00:00:5e:00:01:${vrid}`);
  }
  const mac = cachedMac('client', vip4) ?? '';
  const index = vrids.indexOf(Number.parseInt(mac.slice(-2), 16));
  const dead = hosts[index] as Machine;
  // Where another had this address before, the bridge learns it with the owner's next advertisement.
  await until('the bridge knows the owner', () => bridgePortOf(mac) === dead);
  const pings = watchPings('client', vip4);
  await until('pings are answered', () => pings.answers() > 10);
  const changes = startOn('client', 'ip', 'monitor', 'neigh');
  let monitored = '';
  changes.stdout?.on('data', (chunk: Buffer) => {
    monitored += chunk.toString();
  });
  await sleep(300);
  setPort(dead, 'down');
  for (const pid of pidsOf(dead)) kill(pid, 'SIGKILL');
  await until('the virtual MAC address is elsewhere', () => bridgePortOf(mac) === hosts[(index + 1) % 3]);
  await until('answered', () => pings.lastAt() > Date.now() - 50);
  await sleep(200);
  pings.stop();
  console.log(
    `shared at 100 ms: largest gap of pings when a host died: ${Math.round(pings.largestGapMs())} ms`,
  );
  expect(cachedMac('client', vip4)).toBe(mac);
  expect(monitored.split('\n').filter((line) => line.includes(`${vip4} `) && !line.includes(mac))).toEqual(
    [],
  );
  expect(ask(vip4)).toBe('served\n');
});

it('gives everything up by the brake when neither the daemon nor the announcer lives', async () => {
  const braked = await firstOwner();
  const mine = await owned(braked);
  const isOf = (pid: number, ...names: readonly string[]) =>
    names.some((name) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(name));
  const isAlone = () => pidsOf(braked).every((pid) => isOf(pid, 'vrrp-process'));
  for (const pid of pidsOf(braked)) if (!isOf(pid, 'vrrp-process')) kill(pid, 'SIGKILL');
  await until('the process of VRRP is alone', isAlone);
  const main = join(import.meta.dirname, '../../l4d/bin/start.mjs');
  const folders = ['--run-dir', join(folder, braked, 'run'), '--state-dir', join(folder, braked, 'state')];
  const said = runOn(
    braked,
    process.execPath,
    main,
    'detach',
    '--all',
    ...folders,
    '--bpf-dir',
    bpfDir(braked),
  );
  expect(said).toMatch(/VRRP: all addresses given up[\s\S]*XDP program detached/);
  expect(pidsOf(braked)).toEqual([]);
  await until('another has what it had', async () => {
    const elsewhere = await Promise.all(hosts.filter((host) => host !== braked).map((host) => owned(host)));
    return mine.every((vrid) => elsewhere.flat().includes(vrid));
  });
});

/** A host that owns something and answers. */
async function firstOwner(): Promise<(typeof hosts)[number]> {
  for (const host of hosts) if ((await owned(host)).length > 0) return host;
  throw new Error('nobody owns anything');
}
