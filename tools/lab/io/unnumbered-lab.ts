/**
 * Network namespaces for sessions without numbers: only the client's link has global addresses.
 *
 *     client 198.51.100.2, 2001:db8:c::2 ── frr up0 ──── eth0 ┐
 *                                                            │ lb: VIPs on lo
 *                                           bird up0 ── eth1 ┘
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, runIn, spawnIn } from './namespace-commands.ts';

const prefix = `unn${process.pid}`;

/** Names of the namespaces of this test process. */
export const namespaces = {
  lb: `${prefix}-l`,
  frr: `${prefix}-f`,
  bird: `${prefix}-b`,
  client: `${prefix}-c`,
} as const;

/** Working folder; FRR's user must be able to go through it. */
export const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));

/** Link-local addresses that are configured beside those that the kernel makes. */
export const birdAddress = 'fe80::b1d';
export const lbAddressAtBird = 'fe80::1b';

/** Runs `ip` in a namespace, the words of a line. */
export function ip(namespace: string, line: string): string {
  return runIn(namespace, 'ip', ...line.split(' '));
}

function setSysctl(namespace: string, ...settings: readonly string[]): void {
  runIn(namespace, 'sysctl', '-qw', ...settings);
}

/** A veth pair between the load balancer and a router, both up. */
export function link(router: string, lbInterface: string, routerInterface = 'up0'): void {
  ip(router, `link add ${routerInterface} type veth peer name ${lbInterface} netns ${namespaces.lb}`);
  for (const [name, device] of [
    [router, routerInterface],
    [namespaces.lb, lbInterface],
  ] as const) {
    // Duplicate address detection takes longer than all else here.
    setSysctl(name, `net.ipv6.conf.${device}.accept_dad=0`);
    ip(name, `link set ${device} up`);
  }
}

/** Makes namespaces and links; the VIPs are on the load balancer's lo. */
export function setUpNetwork(vips: readonly string[]): void {
  run('chmod', '755', folder);
  for (const name of Object.values(namespaces)) {
    run('ip', 'netns', 'add', name);
    setSysctl(name, 'net.ipv6.conf.default.accept_dad=0', 'net.ipv4.conf.all.rp_filter=0');
    ip(name, 'link set lo up');
  }
  setSysctl(namespaces.frr, 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  link(namespaces.frr, 'eth0');
  link(namespaces.bird, 'eth1');
  ip(namespaces.bird, `address add ${birdAddress}/64 dev up0 nodad`);
  ip(namespaces.lb, `address add ${lbAddressAtBird}/64 dev eth1 nodad`);
  ip(namespaces.frr, `link add cl0 type veth peer name up0 netns ${namespaces.client}`);
  for (const [name, device, last] of [
    [namespaces.frr, 'cl0', 1],
    [namespaces.client, 'up0', 2],
  ] as const) {
    ip(name, `address add 198.51.100.${last}/24 dev ${device}`);
    ip(name, `address add 2001:db8:c::${last}/64 dev ${device} nodad`);
    ip(name, `link set ${device} up`);
  }
  ip(namespaces.client, 'route add default via 198.51.100.1');
  ip(namespaces.client, '-6 route add default via 2001:db8:c::1');
  for (const vip of vips) ip(namespaces.lb, `address add ${vip} dev lo`);
}

/** Removes everything, also after a failure half-way. */
export function tearDownNetwork(): void {
  for (const daemon of ['bgpd', 'zebra', 'bfdd']) {
    try {
      process.kill(Number(readFileSync(join(frrRun, `${daemon}.pid`), 'utf8')), 'SIGTERM');
    } catch {
      // It was never started.
    }
  }
  bird?.kill('SIGTERM');
  for (const name of Object.values(namespaces)) {
    try {
      run('ip', 'netns', 'del', name);
    } catch {
      // It was never made.
    }
  }
  rmSync(folder, { recursive: true, force: true });
}

const frrRun = join(folder, 'frr');

/** Starts zebra, bfdd and bgpd with these lines of `router bgp`. */
export function startFrr(as: number, lines: readonly string[]): void {
  run('install', '-d', '-o', 'frr', '-g', 'frr', frrRun);
  writeFileSync(join(folder, 'zebra.conf'), 'hostname frr\n');
  writeFileSync(join(folder, 'bfdd.conf'), 'hostname frr\n');
  writeFileSync(
    join(folder, 'bgpd.conf'),
    `router bgp ${as}\n bgp router-id 192.0.2.1\n no bgp ebgp-requires-policy\n${lines.map((line) => ` ${line}\n`).join('')}`,
  );
  const common = ['--vty_socket', frrRun, '-z', join(frrRun, 'zserv.api'), '-A', '127.0.0.1', '-P', '0'];
  for (const daemon of ['zebra', 'bfdd', 'bgpd']) {
    const more = daemon === 'bfdd' ? ['--bfdctl', join(frrRun, 'bfdd.sock')] : [];
    const files = ['-i', join(frrRun, `${daemon}.pid`), '-f', join(folder, `${daemon}.conf`)];
    run('ip', 'netns', 'exec', namespaces.frr, `/usr/lib/frr/${daemon}`, '-d', ...common, ...more, ...files);
  }
}

/** Output of a show command as JSON. */
export function frrShow(command: string): unknown {
  return JSON.parse(run('vtysh', '--vty_socket', frrRun, '-c', `${command} json`));
}

/** Runs other commands of vtysh. */
export function frrCommand(...commands: readonly string[]): string {
  return run('vtysh', '--vty_socket', frrRun, ...commands.flatMap((command) => ['-c', command]));
}

let bird: ChildProcess | undefined;

/** Starts BIRD with one session, given as the inside of its `protocol bgp`. */
export function startBird(session: string): void {
  const file = join(folder, 'bird.conf');
  writeFileSync(
    file,
    `router id 192.0.2.2;
protocol device { scan time 1; }
protocol kernel k4 { ipv4 { export all; import none; }; }
protocol kernel k6 { ipv6 { export all; import none; }; }
protocol bgp lb {
  hold time 9; error wait time 1,2; connect delay time 1; connect retry time 1;
  ${session}
  ipv6 { import all; export none; };
  ipv4 { import all; export none; extended next hop on; };
}
`,
  );
  bird = spawnIn(namespaces.bird, 'bird', '-f', '-c', file, '-s', join(folder, 'bird.ctl'));
}

/** A line to BIRD's control socket. */
export function birdCommand(...words: readonly string[]): string {
  return run('birdc', '-s', join(folder, 'bird.ctl'), ...words);
}
