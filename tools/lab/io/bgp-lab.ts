/**
 * Network namespaces and real routers for the BGP interop tests:
 *
 *     frr   10.77.0.1 fd77:0::1 ── veth ──┐
 *     bird  10.77.1.1 fd77:1::1 ── veth ──┤ announcer: 10.77.N.2, fd77:N::2
 *     other 10.77.2.1 fd77:2::1 ── veth ──┘   (scripted TCP)
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, runIn, spawnIn } from './namespace-commands.ts';

const prefix = `l4dbgp${process.pid}`;

/** Names of the namespaces of this test process. */
export const namespaces = {
  announcer: `${prefix}-a`,
  frr: `${prefix}-f`,
  bird: `${prefix}-b`,
  other: `${prefix}-o`,
} as const;

/** Working folder; FRR's user must be able to go through it. */
export const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));

/** Makes namespaces and links. */
export function setUpNetwork(): void {
  run('chmod', '755', folder);
  for (const name of Object.values(namespaces)) {
    run('ip', 'netns', 'add', name);
    runIn(name, 'ip', 'link', 'set', 'lo', 'up');
  }
  for (const [index, name] of [namespaces.frr, namespaces.bird, namespaces.other].entries()) {
    runIn(
      name,
      'ip',
      'link',
      'add',
      'up0',
      'type',
      'veth',
      'peer',
      'name',
      `v${index}`,
      'netns',
      namespaces.announcer,
    );
    for (const [side, device, last] of [
      [name, 'up0', 1],
      [namespaces.announcer, `v${index}`, 2],
    ] as const) {
      runIn(side, 'ip', 'address', 'add', `10.77.${index}.${last}/24`, 'dev', device);
      runIn(side, 'ip', 'address', 'add', `fd77:${index}::${last}/64`, 'dev', device, 'nodad');
      runIn(side, 'ip', 'link', 'set', device, 'up');
    }
  }
}

/** Removes everything, also after a failure half-way. */
export function tearDownNetwork(): void {
  stopFrr();
  stopBird();
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

/** Starts zebra and bgpd; `extra` are more lines of the router's BGP configuration. */
export function startFrr(as: number, neighborAs: number, extra: readonly string[] = []): void {
  run('install', '-d', '-o', 'frr', '-g', 'frr', frrRun);
  writeFileSync(join(folder, 'zebra.conf'), 'hostname frr\n');
  writeFileSync(
    join(folder, 'bgpd.conf'),
    `router bgp ${as}
 bgp router-id 10.77.0.1
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
 neighbor 10.77.0.2 remote-as ${neighborAs}
 neighbor 10.77.0.2 timers 3 9
 neighbor 10.77.0.2 timers connect 1
 neighbor 10.77.0.2 advertisement-interval 0
${extra.map((line) => ` ${line}\n`).join('')} address-family ipv4 unicast
  neighbor 10.77.0.2 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 10.77.0.2 activate
 exit-address-family
`,
  );
  const common = ['--vty_socket', frrRun, '-z', join(frrRun, 'zserv.api'), '-A', '127.0.0.1', '-P', '0'];
  for (const daemon of ['zebra', 'bgpd']) {
    const files = ['-i', join(frrRun, `${daemon}.pid`), '-f', join(folder, `${daemon}.conf`)];
    run('ip', 'netns', 'exec', namespaces.frr, `/usr/lib/frr/${daemon}`, '-d', ...common, ...files);
  }
}

/** Output of a show command as JSON. */
export function frrShow(command: string): unknown {
  return JSON.parse(run('vtysh', '--vty_socket', frrRun, '-c', `${command} json`));
}

/** Runs other commands of vtysh. */
export function frrCommand(...commands: readonly string[]): void {
  run('vtysh', '--vty_socket', frrRun, ...commands.flatMap((command) => ['-c', command]));
}

/** Ends the daemons that startFrr has started. */
export function stopFrr(signal: NodeJS.Signals = 'SIGTERM'): void {
  for (const daemon of ['bgpd', 'zebra']) killByPidFile(join(frrRun, `${daemon}.pid`), signal);
}

let bird: ChildProcess | undefined;

/** Starts BIRD with one BGP session over IPv6 and kernel export of both families; `extra` is more of the session. */
export function startBird(as: number, neighborAs: number, extra = ''): void {
  const file = join(folder, 'bird.conf');
  writeFileSync(
    file,
    `router id 10.77.1.1;
protocol device { scan time 1; }
protocol kernel k4 { ipv4 { export all; import none; }; }
protocol kernel k6 { ipv6 { export all; import none; }; }
protocol bgp lb {
  local fd77:1::1 as ${as};
  neighbor fd77:1::2 as ${neighborAs};
  hold time 9; error wait time 1,2; connect delay time 1; connect retry time 1;
  ${extra}
  ipv6 { import all; export none; };
  ipv4 { import all; export none; };
}
`,
  );
  bird = spawnIn(namespaces.bird, 'bird', '-f', '-c', file, '-s', join(folder, 'bird.ctl'));
}

/** Ends BIRD. */
export function stopBird(): void {
  bird?.kill('SIGTERM');
  bird = undefined;
}

/** Whether a prefix is in the kernel's table of a namespace. */
export function inKernel(namespace: string, route: string): boolean {
  const family = route.includes(':') ? '-6' : '-4';
  return runIn(namespace, 'ip', family, 'route', 'show', route).trim() !== '';
}

/** Starts an announcer in its namespace; its run folder is new. */
export function startAnnouncer(): {
  readonly process: ChildProcess;
  readonly socketPath: string;
  log(): string;
} {
  const runDir = mkdtempSync(join(folder, 'run-'));
  mkdirSync(runDir, { recursive: true });
  const main = join(import.meta.dirname, '../../../announcer/bin/l4-announcer');
  const child = spawnIn(namespaces.announcer, main, '--run-dir', runDir);
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  return { process: child, socketPath: join(runDir, 'announcer.sock'), log: () => log };
}

/**
 * Connects from the third neighbour to the announcer, writes bytes, and gives all that came back until the
 * connection ended, or `stayMs` have passed.
 */
export async function scriptedPeer(bytes: Uint8Array, stayMs = 3000): Promise<Uint8Array> {
  const script = `
    const socket = require('node:net').connect({ host: '10.77.2.2', port: 179, localAddress: '10.77.2.1' });
    const chunks = [];
    const finish = () => { process.stdout.write(Buffer.concat(chunks).toString('hex')); process.exit(0); };
    socket.on('connect', () => socket.write(Buffer.from('${Buffer.from(bytes).toString('hex')}', 'hex')));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', () => {});
    socket.on('close', finish);
    setTimeout(finish, ${stayMs});`;
  const child = spawnIn(namespaces.other, process.execPath, '-e', script);
  let hex = '';
  for await (const chunk of child.stdout ?? []) hex += String(chunk);
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}

function killByPidFile(file: string, signal: NodeJS.Signals): void {
  let pid: number;
  try {
    pid = Number(readFileSync(file, 'utf8'));
    process.kill(pid, signal);
  } catch {
    return;
  }
  // A daemon that still holds its port keeps the next one from starting.
  for (let i = 0; i < 100; i++) {
    try {
      process.kill(pid, 0);
    } catch {
      break;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  }
  rmSync(file, { force: true });
}
