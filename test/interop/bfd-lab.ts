/**
 * Network namespaces and real routers for the BFD interop tests:
 *
 *     frr   10.78.0.1 fd78:0::1 ── veth ──┐
 *     bird  10.78.1.1 fd78:1::1 ── veth ──┘ announcer: 10.78.N.2, fd78:N::2
 *
 * or, with a router in between that forwards and does nothing else (fe: the last part of its addresses):
 *
 *     frr   10.78.0.1 fd78:0::1 ── veth ──┐
 *     bird  10.78.1.1 fd78:1::1 ── veth ──┴─ hop ── veth ── announcer: 10.78.2.2, fd78:2::2
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';

const prefix = `bfd${process.pid}`;

/** Names of the namespaces of this test process. */
export const namespaces = { announcer: `${prefix}-a`, frr: `${prefix}-f`, bird: `${prefix}-b` } as const;

/** The router in between, where there is one. */
export const hop = `${prefix}-h`;

/** Working folder; FRR's user must be able to go through it. */
const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
const frrRun = join(folder, 'frr');
const birdSocket = join(folder, 'bird.ctl');
const birdFile = join(folder, 'bird.conf');

/** Makes namespaces and links. */
export function setUpNetwork(): void {
  run('chmod', '755', folder);
  for (const name of Object.values(namespaces)) {
    run('ip', 'netns', 'add', name);
    runIn(name, 'ip', 'link', 'set', 'lo', 'up');
  }
  for (const [index, name] of [namespaces.frr, namespaces.bird].entries()) {
    const pair = ['type', 'veth', 'peer', 'name', `v${index}`, 'netns', namespaces.announcer];
    runIn(name, 'ip', 'link', 'add', 'up0', ...pair);
    for (const [side, device, last] of [
      [name, 'up0', 1],
      [namespaces.announcer, `v${index}`, 2],
    ] as const) {
      runIn(side, 'ip', 'address', 'add', `10.78.${index}.${last}/24`, 'dev', device);
      runIn(side, 'ip', 'address', 'add', `fd78:${index}::${last}/64`, 'dev', device, 'nodad');
      runIn(side, 'ip', 'link', 'set', device, 'up');
    }
  }
}

/** Makes namespaces and links with a router between the announcer and its peers. */
export function setUpNetworkWithHop(): void {
  run('chmod', '755', folder);
  for (const name of [...Object.values(namespaces), hop]) {
    run('ip', 'netns', 'add', name);
    runIn(name, 'ip', 'link', 'set', 'lo', 'up');
  }
  runIn(hop, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  for (const [index, [name, last]] of (
    [
      [namespaces.frr, 1],
      [namespaces.bird, 1],
      [namespaces.announcer, 2],
    ] as const
  ).entries()) {
    runIn(name, 'ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', `h${index}`, 'netns', hop);
    for (const [side, device, part] of [
      [name, 'up0', String(last)],
      [hop, `h${index}`, 'fe'],
    ] as const) {
      const ipv4 = `10.78.${index}.${part === 'fe' ? 254 : part}/24`;
      runIn(side, 'ip', 'address', 'add', ipv4, 'dev', device);
      runIn(side, 'ip', 'address', 'add', `fd78:${index}::${part}/64`, 'dev', device, 'nodad');
      runIn(side, 'ip', 'link', 'set', device, 'up');
    }
    runIn(name, 'ip', 'route', 'add', 'default', 'via', `10.78.${index}.254`);
    runIn(name, 'ip', '-6', 'route', 'add', 'default', 'via', `fd78:${index}::fe`);
  }
}

/** Removes everything, also after a failure half-way. */
export function tearDownNetwork(): void {
  for (const daemon of ['bgpd', 'bfdd', 'zebra']) {
    try {
      process.kill(Number(readFileSync(join(frrRun, `${daemon}.pid`), 'utf8')));
    } catch {
      // It was never started.
    }
  }
  bird?.kill('SIGTERM');
  for (const name of [...Object.values(namespaces), hop]) {
    try {
      run('ip', 'netns', 'del', name);
    } catch {
      // It was never made.
    }
  }
  rmSync(folder, { recursive: true, force: true });
}

/** Drops everything that arrives over the first link, on both of its ends: nobody is told. */
export function cutLink(): void {
  for (const [namespace, device] of [
    [namespaces.frr, 'up0'],
    [namespaces.announcer, 'v0'],
  ] as const) {
    runIn(
      namespace,
      'nft',
      `table inet cut { chain in { type filter hook prerouting priority -400; iifname ${device} drop; }; }`,
    );
  }
}

/** Ends cutLink. */
export function mendLink(): void {
  for (const namespace of [namespaces.frr, namespaces.announcer]) {
    try {
      runIn(namespace, 'nft', 'delete table inet cut');
    } catch {
      // It was not cut.
    }
  }
}

/** Starts zebra, bfdd and bgpd with one session over IPv4 (or what `neighbor` says), and a BFD profile `lb`. */
export function startFrr(neighbor = frrNeighbor): void {
  run('install', '-d', '-o', 'frr', '-g', 'frr', frrRun);
  writeFileSync(join(folder, 'zebra.conf'), 'hostname frr\n');
  writeFileSync(join(folder, 'bfdd.conf'), bfdProfile(50).join('\n'));
  writeFileSync(
    join(folder, 'bgpd.conf'),
    `router bgp 65000\n bgp router-id 10.78.0.1\n no bgp ebgp-requires-policy\n${neighbor}`,
  );
  const common = ['--vty_socket', frrRun, '-z', join(frrRun, 'zserv.api'), '-A', '127.0.0.1', '-P', '0'];
  for (const daemon of ['zebra', 'bfdd', 'bgpd']) {
    const files = ['-i', join(frrRun, `${daemon}.pid`), '-f', join(folder, `${daemon}.conf`)];
    const control = daemon === 'bfdd' ? ['--bfdctl', join(frrRun, 'bfdd.sock')] : [];
    run(
      'ip',
      'netns',
      'exec',
      namespaces.frr,
      `/usr/lib/frr/${daemon}`,
      '-d',
      ...common,
      ...files,
      ...control,
    );
  }
  punctual(Number(readFileSync(join(frrRun, 'bfdd.pid'), 'utf8')));
}

const frrNeighbor = ` neighbor 10.78.0.2 remote-as 65001
 neighbor 10.78.0.2 timers 3 9
 neighbor 10.78.0.2 timers connect 1
 neighbor 10.78.0.2 advertisement-interval 0
 neighbor 10.78.0.2 bfd profile lb
`;

/** Gives a router's daemon priority over the work of this machine, which a router of its own would not have. */
function punctual(pid: number | undefined): void {
  if (pid === undefined) return;
  // A thread that ends while it goes through them makes it fail.
  for (let attempt = 1; ; attempt++) {
    try {
      return void run('chrt', '--all-tasks', '--rr', '--pid', '5', String(pid));
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

/** Lines of the profile `lb` with an interval both ways. */
export function bfdProfile(intervalMs: number, ...extra: readonly string[]): string[] {
  return [
    'bfd',
    'profile lb',
    `transmit-interval ${intervalMs}`,
    `receive-interval ${intervalMs}`,
    'detect-multiplier 3',
    ...extra,
  ];
}

/** Output of a show command as JSON. */
export function frrShow(command: string): unknown {
  return JSON.parse(run('vtysh', '--vty_socket', frrRun, '-c', `${command} json`));
}

/** Runs commands of vtysh in configuration mode. */
export function frrConfigure(...commands: readonly string[]): void {
  const all = ['configure terminal', ...commands];
  run('vtysh', '--vty_socket', frrRun, ...all.flatMap((command) => ['-c', command]));
}

let bird: ChildProcess | undefined;

/** (Re)configures BIRD: one BGP session over IPv6 with BFD; `options` go into the interface's BFD options. */
export function configureBird(options = ''): void {
  configureBirdWith(`protocol bfd { interface "*" { interval 50 ms; multiplier 3; ${options} }; }
protocol bgp lb {
  local fd78:1::1 as 65000;
  neighbor fd78:1::2 as 65001;
  bfd on;
  hold time 9; error wait time 1,2; connect delay time 1; connect retry time 1;
  ipv6 { import all; export none; };
}
`);
}

/** (Re)configures BIRD with these protocols beside those of the kernel. */
export function configureBirdWith(protocols: string): void {
  writeFileSync(
    birdFile,
    `router id 10.78.1.1;
protocol device { scan time 1; }
protocol kernel k6 { ipv6 { export all; import none; }; }
${protocols}`,
  );
  if (bird === undefined) {
    bird = spawnIn(namespaces.bird, 'chrt', '--rr', '5', 'bird', '-f', '-c', birdFile, '-s', birdSocket);
  } else run('birdc', '-s', birdSocket, 'configure');
}

/** Output of a command of BIRD's client. */
export function birdShow(...command: readonly string[]): string {
  return run('birdc', '-s', birdSocket, ...command);
}

/** Whether a prefix is in the kernel's table of a namespace. */
export function inKernel(namespace: string, route: string): boolean {
  const family = route.includes(':') ? '-6' : '-4';
  return runIn(namespace, 'ip', family, 'route', 'show', route).trim() !== '';
}

/** When the kernel of a namespace next forgets a route: performance.now() of the event. */
export function watchDeletion(namespace: string, route: string): { at(): number | undefined; stop(): void } {
  const monitor = spawnIn(namespace, 'ip', 'monitor', 'route');
  let at: number | undefined;
  monitor.stdout?.on('data', (chunk: Buffer) => {
    if (chunk.toString().includes(`Deleted ${route}`)) at ??= performance.now();
  });
  return { at: () => at, stop: () => monitor.kill('SIGKILL') };
}

/** Starts an announcer in its namespace, by default with a run folder of its own. */
export function startAnnouncer(runDir = mkdtempSync(join(folder, 'run-'))): {
  readonly runDir: string;
  readonly process: ChildProcess;
  readonly socketPath: string;
  log(): string;
} {
  const main = join(import.meta.dirname, '../../announcer/bin/start.mjs');
  const child = spawnIn(namespaces.announcer, process.execPath, main, '--run-dir', runDir);
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  return { runDir, process: child, socketPath: join(runDir, 'announcer.sock'), log: () => log };
}
