/**
 * Big datagrams and pings to a VIP, in fragments, by way of two balancers and a router that sends first fragments to
 * one of them and the others to the other, as one that spreads by ports does:
 *
 *   client 198.51.100.7 ── router 10.81.0.1 ── bridge ── lb1 .11, lb2 .12, backend .21
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { passProgram } from '../../tools/lab/io/build-lab.ts';
import { endProcesses } from '../../tools/lab/io/namespace-processes.ts';
import { ipIn, run, runIn } from './support/network-namespace.ts';

const prefix = `frag${process.pid}`;
const machines = ['client', 'router', 'lb1', 'lb2', 'backend'] as const;
type Machine = (typeof machines)[number];
const nameOf = (machine: Machine) => `${prefix}-${machine}`;
const vips = ['203.0.113.81', '2001:db8:81::80'] as const;
const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), prefix));
const started: ChildProcess[] = [];
const bpfDir = (host: Machine) => `/sys/fs/bpf/${prefix}-${host}`;
const socket = (host: Machine) => join(folder, host, 'run', 'l4d.sock');

const config = (fragments: string) => `version: 1
host: { interface: eth0, ${fragments} }
vips:
${vips
  .map(
    (vip) => `  - address: "${vip}"
    port: 90
    protocol: udp
    check: { type: none }
    backends: [{ address: "${vip.includes(':') ? 'fd81::21' : '10.81.0.21'}" }]
`,
  )
  .join('')}`;
const together = 'fragments: { hosts: [10.81.0.11, 10.81.0.12] }';

/** Answers a datagram with its own content, from the address that it came to. */
const server = `
for (const [type, address] of [['udp4', '${vips[0]}'], ['udp6', '${vips[1]}']]) {
  const socket = require('node:dgram').createSocket(type);
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  socket.bind(90, address);
}`;

/** Sends datagrams of 2 to 8 KB, each from a port of its own; tells how many came back as they were. */
const sender = `
const [, address, count] = process.argv;
let answered = 0, open = Number(count);
const done = () => { if (--open === 0) { process.stdout.write(String(answered)); process.exit(); } };
for (let n = 0; n < Number(count); n++) {
  const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const content = require('node:crypto').randomBytes(2000 + (n * 613) % 6000);
  const timer = setTimeout(done, 800);
  socket.on('message', (message) => { if (message.equals(content)) answered++; clearTimeout(timer); done(); });
  setTimeout(() => socket.send(content, 90, address), n * 5);
}`;

function link(machine: Machine, router: string, own: string): void {
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
  const [viaFour, viaSix] = router.split(' ');
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
  runIn(router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  runIn(
    router,
    'sysctl',
    '-qw',
    'net.ipv4.conf.all.send_redirects=0',
    'net.ipv4.conf.default.send_redirects=0',
  );
  ipIn(router, 'link add br0 address 02:00:00:00:81:01 type bridge');
  ipIn(router, 'link set br0 up');
  ipIn(router, 'address add 10.81.0.1/24 dev br0');
  ipIn(router, 'address add fd81::1/64 dev br0 nodad');
  link('client', '198.51.100.1 2001:db8:c::1', '198.51.100.7 2001:db8:c::7');
  ipIn(router, 'address add 198.51.100.1/24 dev to-client');
  ipIn(router, 'address add 2001:db8:c::1/64 dev to-client nodad');
  for (const [machine, last] of [
    ['lb1', '11'],
    ['lb2', '12'],
    ['backend', '21'],
  ] as const) {
    link(machine, '10.81.0.1 fd81::1', `10.81.0.${last} fd81::${last}`);
    ipIn(router, `link set to-${machine} master br0`);
  }
  for (const vip of vips) ipIn(nameOf('backend'), `address add ${vip} dev lo`);
  runIn(
    nameOf('backend'),
    'sysctl',
    '-qw',
    'net.ipv4.conf.all.arp_ignore=1',
    'net.ipv4.conf.all.arp_announce=2',
  );
  // Fragments with ports to one host, those without to the other.
  for (const [table, last] of [
    ['81', '11'],
    ['82', '12'],
  ]) {
    ipIn(router, `route add ${vips[0]} via 10.81.0.${last} table ${table}`);
    ipIn(router, `-6 route add ${vips[1]} via fd81::${last} table ${table}`);
  }
  for (const family of ['-4', '-6']) {
    ipIn(router, `${family} rule add fwmark 1 lookup 82 priority 10`);
    ipIn(router, `${family} rule add lookup 81 priority 20`);
  }
  runIn(router, 'nft', 'add table inet ports');
  runIn(router, 'nft', 'add chain inet ports c { type filter hook prerouting priority mangle; }');
  runIn(router, 'nft', `add rule inet ports c ip daddr ${vips[0]} ip frag-off & 0x1fff != 0 meta mark set 1`);
  runIn(router, 'nft', `add rule inet ports c ip6 daddr ${vips[1]} frag frag-off != 0 meta mark set 1`);
}

function start(machine: Machine, command: string, ...args: readonly string[]): ChildProcess {
  const child = spawn('nsenter', [`--net=/run/netns/${nameOf(machine)}`, command, ...args], {
    stdio: 'ignore',
  });
  started.push(child);
  return child;
}

const ask = (command: string, ...args: readonly string[]) =>
  promisify(execFile)('nsenter', [`--net=/run/netns/${nameOf('client')}`, command, ...args]).then(
    ({ stdout }) => stdout,
    (error: { stdout?: string }) => error.stdout ?? '',
  );
const answered = async (vip: string, count = 30) =>
  Number(await ask(process.execPath, '-e', sender, vip, String(count)));
const status = async (host: Machine) =>
  (await requestJson(socket(host), 'GET', '/v1/status', undefined, 2000)).body as FabricStatus;
const drops = async () =>
  ((await status('lb1')).dataplane.dropReasons['drop_fragment'] ?? 0) +
  ((await status('lb2')).dataplane.dropReasons['drop_fragment'] ?? 0);

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!(await holds().catch(() => false))) {
    if (performance.now() - begun > 60_000) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function apply(fragments: string): void {
  for (const host of ['lb1', 'lb2'] as const) {
    writeFileSync(join(folder, host, 'l4d.yaml'), config(fragments));
    const ctl = join(root, 'tools/l4ctl/start.mjs');
    run(
      process.execPath,
      ctl,
      '--socket',
      socket(host),
      '--force',
      'apply',
      '-f',
      join(folder, host, 'l4d.yaml'),
    );
  }
}

beforeAll(async () => {
  build();
  start('backend', process.execPath, '-e', server);
  for (const host of ['lb1', 'lb2'] as const) {
    for (const part of ['run', 'state']) mkdirSync(join(folder, host, part), { recursive: true });
    writeFileSync(join(folder, host, 'l4d.yaml'), config(together));
    const at = (part: string) => join(folder, host, part);
    const folders = ['--run-dir', at('run'), '--state-dir', at('state'), '--bpf-dir', bpfDir(host)];
    start(host, process.execPath, join(root, 'l4d/bin/start.mjs'), 'run', '-c', at('l4d.yaml'), ...folders);
  }
  for (const host of ['lb1', 'lb2'] as const)
    await until(`${host} forwards and knows the other`, async () => {
      const {
        vips: views,
        host: { warnings },
      } = await status(host);
      const isUp = views.every(({ backends }) => backends.every(({ state }) => state === 'up'));
      return views.length === 2 && isUp && (warnings ?? []).every((line) => !line.includes('fragments'));
    });
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
  for (const path of [bpfDir('lb1'), bpfDir('lb2'), folder]) rmSync(path, { recursive: true, force: true });
});

it.each(vips)('%s: datagrams of 2 to 8 KB and big pings come through two hosts', async (vip) => {
  expect(await answered(vip)).toBeGreaterThanOrEqual(29);
  expect(await ask('ping', '-c', '5', '-i', '0.02', '-W', '2', '-s', '6000', vip)).toContain(' 5 received');
});

it('apart, the hosts drop what has no ports: the test does test', async () => {
  const before = await drops();
  apply('draining: false');
  await until('the list is gone', async () => (await answered(vips[0], 3)) === 0);
  expect(await drops()).toBeGreaterThan(before);
  // A host that is not in the list is told.
  apply('fragments: { hosts: [10.81.0.11, 10.81.0.99] }');
  await until('both say so', async () => {
    const one = (await status('lb1')).host.warnings?.join();
    const other = (await status('lb2')).host.warnings?.join();
    return (
      String(one).includes('10.81.0.99 does not answer') && String(other).includes('holds no address of eth0')
    );
  });
  apply(together);
  await until('together again', async () => (await answered(vips[0], 3)) === 3);
});
