/**
 * Connections of l7 VIPs over the proxies of three balancers, whatever host the router chooses:
 *
 *   client 198.51.100.7 ── router 10.82.0.1 ── bridge ── lb1 .11, lb2 .12, lb3 .13, backend .21
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { passProgram } from '../../tools/lab/io/build-lab.ts';
import { endProcesses } from '../../tools/lab/io/namespace-processes.ts';
import { ipIn, run, runIn } from './support/network-namespace.ts';

const prefix = `ph${process.pid}`;
const hosts = ['lb1', 'lb2', 'lb3'] as const;
type Host = (typeof hosts)[number];
const machines = ['client', 'router', ...hosts, 'backend'] as const;
type Machine = (typeof machines)[number];
const nameOf = (machine: Machine) => `${prefix}-${machine}`;
const lastByte = { lb1: '11', lb2: '12', lb3: '13' } as const;
const vips = ['203.0.113.82', '2001:db8:82::80'] as const;
const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), prefix));
const started: ChildProcess[] = [];
const bpfDir = (host: Host) => `/sys/fs/bpf/${prefix}-${host}`;
const socket = (host: Host) => join(folder, host, 'run', 'l4d.sock');

type State = 'active' | 'joining' | 'draining';
const desired = (states: Partial<Record<Host, State>>) => ({
  version: 1,
  host: {
    interface: 'eth0',
    proxy: {
      workers: 1,
      hosts: Object.entries(states).map(([host, state]) => ({
        address: `10.82.0.${lastByte[host as Host]}`,
        state,
      })),
    },
  },
  vips: vips.map((address) => ({
    address,
    port: 90,
    policy: 'l7',
    mode: 'tcp',
    check: { type: 'none' },
    backends: [{ address: '10.82.0.21', port: 8080 }],
  })),
});

const server = `require('node:net').createServer((one) => { one.on('error', () => {}); one.pipe(one); }).listen(8080, '10.82.0.21');`;

/** Keeps connections open; `open N` adds some to each VIP, `try N` does not keep them, `check` tells the ports of those that do not echo. */
const holder = `
const net = require('node:net');
const all = [];
const vips = ${JSON.stringify(vips)};
const tell = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
function echo(one) {
  const token = String(Math.random()).padEnd(24, '0');
  return new Promise((resolve) => {
    let seen = '';
    const timer = setTimeout(() => resolve(false), 4000);
    if (one.destroyed) return resolve(false);
    one.once('close', () => { clearTimeout(timer); resolve(false); });
    one.removeAllListeners('data');
    one.on('data', (data) => { seen += data; if (seen === token) { clearTimeout(timer); resolve(true); } });
    one.write(token);
  });
}
async function open(vip, isKept) {
  const one = net.connect({ port: 90, host: vip, noDelay: true });
  one.on('error', () => {});
  await new Promise((resolve) => { one.once('connect', resolve); one.once('close', resolve); });
  one.own = one.localPort;
  const isAnswered = await echo(one);
  if (isAnswered && isKept) all.push(one);
  else one.destroy();
  return isAnswered;
}
require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const [word, count] = line.split(' ');
  if (word === 'open' || word === 'try') {
    const done = await Promise.all(vips.flatMap((vip) => Array.from({ length: Number(count) }, () => open(vip, word === 'open'))));
    tell(done.filter((ok) => !ok).length);
  }
  if (word === 'check') {
    const done = await Promise.all(all.map(echo));
    tell(all.flatMap((one, n) => done[n] ? [] : [one.own]));
  }
});`;

function link(machine: Machine, gateway: string, own: string): void {
  const port = `to-${machine}`;
  ipIn(nameOf(machine), `link add eth0 type veth peer name ${port} netns ${nameOf('router')}`);
  for (const [where, device] of [
    [nameOf(machine), 'eth0'],
    [nameOf('router'), port],
  ] as const) {
    runIn(where, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off');
    ipIn(where, `link set ${device} up`);
  }
  ipIn(nameOf('router'), `link set dev ${port} xdpdrv obj ${passProgram} sec xdp.frags`);
  const [four, six] = own.split(' ') as [string, string];
  ipIn(nameOf(machine), `address add ${four}/24 dev eth0`);
  ipIn(nameOf(machine), `address add ${six}/64 dev eth0 nodad`);
  const [viaFour, viaSix] = gateway.split(' ');
  ipIn(nameOf(machine), `route add default via ${viaFour}`);
  ipIn(nameOf(machine), `-6 route add default via ${viaSix}`);
}

function build(): void {
  for (const machine of machines) run('ip', 'netns', 'add', nameOf(machine));
  for (const machine of machines) {
    runIn(nameOf(machine), 'sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0');
    ipIn(nameOf(machine), 'link set lo up');
  }
  const router = nameOf('router');
  for (const setting of [
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
    'net.ipv4.fib_multipath_hash_policy=1',
    'net.ipv6.fib_multipath_hash_policy=1',
    'net.ipv4.conf.all.send_redirects=0',
    'net.ipv4.conf.default.send_redirects=0',
  ])
    runIn(router, 'sysctl', '-qw', setting);
  ipIn(router, 'link add br0 address 02:00:00:00:82:01 type bridge');
  ipIn(router, 'link set br0 up');
  ipIn(router, 'address add 10.82.0.1/24 dev br0');
  ipIn(router, 'address add fd82::1/64 dev br0 nodad');
  link('client', '198.51.100.1 2001:db8:c::1', '198.51.100.7 2001:db8:c::7');
  ipIn(router, 'address add 198.51.100.1/24 dev to-client');
  ipIn(router, 'address add 2001:db8:c::1/64 dev to-client nodad');
  for (const [machine, last] of [...Object.entries(lastByte), ['backend', '21']] as [Machine, string][]) {
    link(machine, '10.82.0.1 fd82::1', `10.82.0.${last} fd82::${last}`);
    ipIn(router, `link set to-${machine} master br0`);
  }
}

/** What the router's ECMP set is. */
function routeTo(...to: readonly Host[]): void {
  const hops = (net: string) => to.map((host) => `nexthop via ${net}${lastByte[host]}`).join(' ');
  ipIn(nameOf('router'), `route replace ${vips[0]} ${hops('10.82.0.')}`);
  ipIn(nameOf('router'), `-6 route replace ${vips[1]} ${hops('fd82::')}`);
}

function start(machine: Machine, command: string, ...args: readonly string[]): ChildProcess {
  const child = spawn('nsenter', [`--net=/run/netns/${nameOf(machine)}`, command, ...args], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdout?.resume();
  started.push(child);
  return child;
}

const daemons = new Map<Host, ChildProcess>();
function startDaemon(host: Host): void {
  const at = (part: string) => join(folder, host, part);
  const folders = ['--run-dir', at('run'), '--state-dir', at('state'), '--bpf-dir', bpfDir(host)];
  const main = join(root, 'l4d/bin/start.mjs');
  daemons.set(host, start(host, process.execPath, main, 'run', '-c', at('l4d.yaml'), ...folders));
}

const status = async (host: Host) =>
  (await requestJson(socket(host), 'GET', '/v1/status', undefined, 2000)).body as FabricStatus;

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!(await holds().catch(() => false))) {
    if (performance.now() - begun > 60_000) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function declare(states: Partial<Record<Host, State>>, on: readonly Host[] = hosts): Promise<void> {
  for (const host of on) {
    const answer = await requestJson(socket(host), 'PUT', '/v1/desired', desired(states), 10_000);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  }
  for (const host of on.filter((one) => states[one] !== undefined))
    await until(`${host} has the table`, async () => {
      const seen = (await status(host)).proxyHosts ?? [];
      const total = seen.reduce((sum, { share }) => sum + share, 0);
      return (
        seen.length === Object.keys(states).length &&
        seen.every(({ isLive, state, share }) => isLive && (state === 'draining' || share > 0)) &&
        total > 0.999
      );
    });
}

let clients: ChildProcess;
const answers: string[] = [];
async function tell(word: string): Promise<unknown> {
  answers.length = 0;
  clients.stdin?.write(`${word}\n`);
  await until(word, async () => answers.length > 0);
  return JSON.parse(answers[0] ?? '');
}
const broken = async () => (await tell('check')) as number[];

/** Ports of clients whose connections live on a host. */
function livingOn(host: Host): number[] {
  const table = execFileSync('nsenter', [
    `--net=/run/netns/${nameOf(host)}`,
    ...['ss', '-Htn', 'state', 'established', 'sport', '=', ':90'],
  ]).toString();
  return table
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Number(line.trim().split(/\s+/).at(-1)?.split(':').at(-1)));
}

beforeAll(async () => {
  build();
  start('backend', process.execPath, '-e', server);
  for (const host of hosts) {
    for (const part of ['run', 'state']) mkdirSync(join(folder, host, part), { recursive: true });
    // JSON is YAML.
    writeFileSync(join(folder, host, 'l4d.yaml'), JSON.stringify(desired({ lb1: 'active', lb2: 'active' })));
    startDaemon(host);
  }
  routeTo('lb1', 'lb2');
  clients = start('client', process.execPath, '-e', holder);
  if (clients.stdout !== null)
    createInterface({ input: clients.stdout }).on('line', (line) => answers.push(line));
  for (const host of ['lb1', 'lb2'] as const)
    await until(`${host} serves and knows the other`, async () => {
      const { vips: views, proxyHosts } = await status(host);
      const shares = (proxyHosts ?? []).map(({ share }) => share);
      return (
        views.length === 2 &&
        views.every(({ verdict }) => verdict.code !== 'proxy-down') &&
        shares.every((share) => share > 0.4)
      );
    });
  await until('connections', async () => (await tell('open 1')) === 0);
}, 120_000);

afterAll(async () => {
  await endProcesses(
    machines.map((machine) => `/run/netns/${nameOf(machine)}`),
    500,
  ).catch(() => undefined);
  for (const child of started) child.kill('SIGKILL');
  for (const machine of machines) {
    try {
      run('ip', 'netns', 'del', nameOf(machine));
    } catch {
      // It was never made.
    }
  }
  for (const path of [...hosts.map(bpfDir), folder]) rmSync(path, { recursive: true, force: true });
});

it('200 connections live on while hosts come, drain, and the router changes its mind', async () => {
  expect(await tell('open 100')).toBe(0);
  expect(livingOn('lb1').length).toBeGreaterThan(50);
  expect(livingOn('lb2').length).toBeGreaterThan(50);
  for (const [one, other] of [
    ['lb1', 'lb2'],
    ['lb2', 'lb1'],
  ] as const) {
    routeTo(one);
    expect(await broken(), `all by ${one}, not ${other}`).toEqual([]);
  }
  routeTo('lb1', 'lb2', 'lb3');
  await declare({ lb1: 'active', lb2: 'active', lb3: 'joining' });
  routeTo('lb3');
  expect(await broken()).toEqual([]);
  expect(livingOn('lb3')).toEqual([]);
  // With SYN cookies alone, nothing but the cookie tells whose the ACK of a handshake is. They are not kept: hosts of
  // one kernel have one secret, so that the first one that gets the ACK takes it.
  for (const host of hosts) runIn(nameOf(host), 'sysctl', '-qw', 'net.ipv4.tcp_syncookies=2');
  expect(await tell('try 50')).toBe(0);
  for (const host of hosts) runIn(nameOf(host), 'sysctl', '-qw', 'net.ipv4.tcp_syncookies=1');
  expect(await tell('open 50')).toBe(0);
  const joined = livingOn('lb3').length;
  expect(joined).toBeGreaterThan(10);
  await declare({ lb1: 'active', lb2: 'active', lb3: 'active' });
  for (const host of hosts) {
    routeTo(host);
    expect(await broken(), `all by ${host}`).toEqual([]);
  }
  await declare({ lb1: 'draining', lb2: 'active', lb3: 'active' });
  const kept = livingOn('lb1').length;
  routeTo('lb2', 'lb3');
  expect(await tell('open 50')).toBe(0);
  expect(livingOn('lb1').length).toBe(kept);
  expect(await broken()).toEqual([]);
}, 60_000);

it('a daemon that is killed and starts again changes nothing', async () => {
  routeTo('lb2');
  const killed = daemons.get('lb2');
  killed?.kill('SIGKILL');
  expect(await broken()).toEqual([]);
  startDaemon('lb2');
  // From the first answer on: the table of before holds until the others are known.
  await until('lb2 answers', async () => (await status('lb2')).vips.length === 2);
  expect(await broken()).toEqual([]);
  await until('lb2 knows the others', async () =>
    ((await status('lb2')).proxyHosts ?? []).every(({ isLive }) => isLive),
  );
  expect(await broken()).toEqual([]);
}, 60_000);

it('a host that dies takes its own connections with it, no others', async () => {
  const own = new Set(livingOn('lb3'));
  expect(own.size).toBeGreaterThan(10);
  routeTo('lb2');
  ipIn(nameOf('router'), 'link set to-lb3 down');
  const died = performance.now();
  await until('lb3 is out', async () => {
    const seen = (await status('lb2')).proxyHosts ?? [];
    return seen.some(({ address, isLive }) => address.endsWith('.13') && !isLive);
  });
  const took = performance.now() - died;
  console.log(`noticed after ${Math.round(took)} ms`);
  const gone = await broken();
  expect(new Set(gone)).toEqual(own);
  expect(await tell('open 25')).toBe(0);
}, 60_000);
