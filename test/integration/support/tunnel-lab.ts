import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { passProgram } from '../../../tools/lab/io/build-lab.ts';
import { endProcesses } from '../../../tools/lab/io/namespace-processes.ts';
import { ipIn, run, runIn } from './network-namespace.ts';

/**
 * A backend in another subnet than its balancer:
 *
 *   client  198.51.100.7, 2001:db8:c::7 ──┐
 *   lb      10.80.1.11,   fd80:1::11 ─────┼─ router (.1, ::1)
 *   backend 10.80.2.21,   fd80:2::21 ─────┘
 *
 * A machine `tenant` is there without links. The router sends 203.0.113.80 and 2001:db8:80::80 to the balancer, and no packet to a VIP to the backend.
 */
export interface TunnelLab {
  readonly names: Readonly<Record<Machine, string>>;
  /** Starts the daemon with that configuration; returns when its socket answers. */
  startDaemon(config: string): Promise<void>;
  /** Kills the daemon; what it left in the kernel goes on. */
  killDaemon(): Promise<void>;
  /** Makes the running daemon take another one. */
  apply(config: string): void;
  status(): Promise<FabricStatus>;
  /** `l4ctl backend ARGS` on the backend; gives what it printed. */
  onBackend(...args: readonly string[]): string;
  /** `l4d ARGS` on the balancer, with the daemon's folders; gives what it printed. */
  onBalancer(...args: readonly string[]): string;
  start(machine: Machine, command: string, ...args: readonly string[]): ChildProcess;
  /** Runs a program in the background of this process to its end; gives its output, empty when it failed. */
  ask(machine: Machine, command: string, ...args: readonly string[]): Promise<string>;
  /** What the daemon has logged. */
  log(): string;
  remove(): Promise<void>;
}

/** `tenant` has no link of its own making: a test may give it one. */
export type Machine = 'client' | 'router' | 'lb' | 'backend' | 'tenant';

/** Times are so many times longer on a machine that is so much slower: an emulated one. */
export const patience = Number(process.env['L4D_TEST_PATIENCE'] ?? 1);

export const vips = { ipv4: '203.0.113.80', ipv6: '2001:db8:80::80' } as const;

const links = {
  client: { ipv4: '198.51.100', ipv6: '2001:db8:c:', own: '7' },
  lb: { ipv4: '10.80.1', ipv6: 'fd80:1:', own: '11' },
  backend: { ipv4: '10.80.2', ipv6: 'fd80:2:', own: '21' },
} as const;

const root = join(import.meta.dirname, '../../..');

/** Builds it; what is left of a failed attempt is removed. */
export function createTunnelLab(prefix: string): TunnelLab {
  const nameOf = (machine: Machine) => `${prefix}${process.pid}-${machine}`;
  const names = {
    client: nameOf('client'),
    router: nameOf('router'),
    lb: nameOf('lb'),
    backend: nameOf('backend'),
    tenant: nameOf('tenant'),
  };
  const folder = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
  const bpfDir = `/sys/fs/bpf/${prefix}${process.pid}`;
  const socket = join(folder, 'run', 'l4d.sock');
  const started: ChildProcess[] = [];
  const folderOptions = [
    ...['--run-dir', join(folder, 'run'), '--state-dir', join(folder, 'state')],
    ...['--bpf-dir', bpfDir],
  ];
  let log = '';
  let daemon: ChildProcess | undefined;

  const remove = async () => {
    await endProcesses(
      Object.values(names).map((name) => `/run/netns/${name}`),
      500,
    ).catch(() => undefined);
    for (const child of started) child.kill('SIGKILL');
    for (const name of Object.values(names)) {
      try {
        run('ip', 'netns', 'del', name);
      } catch {
        // It was never made.
      }
    }
    for (const path of [bpfDir, `${bpfDir}-decap`, folder]) rmSync(path, { recursive: true, force: true });
  };

  const lab: TunnelLab = {
    names,
    async startDaemon(config) {
      for (const part of ['run', 'state']) mkdirSync(join(folder, part), { recursive: true });
      writeFileSync(join(folder, 'l4d.yaml'), config);
      const main = join(root, 'l4d/bin/start.mjs');
      daemon = lab.start(
        'lb',
        process.execPath,
        main,
        'run',
        '-c',
        join(folder, 'l4d.yaml'),
        ...folderOptions,
      );
      daemon.stderr?.on('data', (chunk: Buffer) => {
        log += chunk.toString();
      });
      for (let turn = 0; turn < 200 * patience; turn++) {
        if (daemon?.exitCode !== null) throw new Error(`the daemon has ended:\n${log}`);
        if (
          await lab.status().then(
            () => true,
            () => false,
          )
        )
          return;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      throw new Error(`the daemon does not answer:\n${log}`);
    },
    async killDaemon() {
      const ended = new Promise((resolve) => daemon?.once('exit', resolve));
      daemon?.kill('SIGKILL');
      await ended;
      daemon = undefined;
    },
    apply(config) {
      writeFileSync(join(folder, 'l4d.yaml'), config);
      const ctl = join(root, 'tools/l4ctl/start.mjs');
      run(process.execPath, ctl, '--socket', socket, '--force', 'apply', '-f', join(folder, 'l4d.yaml'));
    },
    async status() {
      const ask = () => requestJson(socket, 'GET', '/v1/status', undefined, 10_000 * patience);
      // While this process waited for a command, the daemon may have closed the connection that it kept.
      return (await ask().catch(ask)).body as FabricStatus;
    },
    onBackend: (...args) =>
      runIn(
        names.backend,
        process.execPath,
        join(root, 'tools/l4ctl/start.mjs'),
        'backend',
        ...args,
        '--pins',
        `${bpfDir}-decap`,
      ),
    onBalancer: (...args) =>
      runIn(names.lb, process.execPath, join(root, 'l4d/bin/start.mjs'), ...args, ...folderOptions),
    start(machine, command, ...args) {
      const child = spawn('nsenter', [`--net=/run/netns/${names[machine]}`, command, ...args], {
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      started.push(child);
      return child;
    },
    async ask(machine, command, ...args) {
      const asked = promisify(execFile)('nsenter', [`--net=/run/netns/${names[machine]}`, command, ...args]);
      return await asked.then(
        ({ stdout }) => stdout,
        () => '',
      );
    },
    log: () => log,
    remove,
  };
  try {
    build(names);
    return lab;
  } catch (error) {
    void remove();
    throw error;
  }
}

function build(names: TunnelLab['names']): void {
  for (const name of Object.values(names)) run('ip', 'netns', 'add', name);
  for (const name of Object.values(names)) {
    runIn(
      name,
      'sysctl',
      '-qw',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv6.conf.default.dad_transmits=0',
    );
    ipIn(name, 'link set lo up');
  }
  runIn(
    names.router,
    'sysctl',
    '-qw',
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
    'net.ipv4.conf.all.send_redirects=0',
    'net.ipv4.conf.default.send_redirects=0',
  );
  for (const machine of Object.keys(links) as (keyof typeof links)[]) {
    const { ipv4, ipv6, own } = links[machine];
    const port = `to-${machine}`;
    linkMachines(
      { name: names[machine], device: 'eth0', addresses: [`${ipv4}.${own}/24`, `${ipv6}:${own}/64`] },
      { name: names.router, device: port, addresses: [`${ipv4}.1/24`, `${ipv6}:1/64`] },
    );
    ipIn(names[machine], `route add default via ${ipv4}.1`);
    ipIn(names[machine], `-6 route add default via ${ipv6}:1`);
  }
  ipIn(names.router, `route add ${vips.ipv4} via 10.80.1.11`);
  ipIn(names.router, `-6 route add ${vips.ipv6} via fd80:1::11`);
}

/** One end of a link. */
export interface LinkEnd {
  /** Of the namespace. */
  readonly name: string;
  readonly device: string;
  /** With their prefix lengths. */
  readonly addresses: readonly string[];
}

/** Joins two machines by a link; the second end takes what XDP at the first one sends. */
export function linkMachines(one: LinkEnd, other: LinkEnd): void {
  ipIn(one.name, `link add ${one.device} type veth peer name ${other.device} netns ${other.name}`);
  for (const { name, device, addresses } of [one, other]) {
    for (const address of addresses)
      ipIn(name, `address add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`);
    // Packets as they are on a wire: whole ones with checksums.
    runIn(name, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off');
    ipIn(name, `link set ${device} up`);
  }
  // What XDP sends is taken by a port with a program of its own alone.
  ipIn(other.name, `link set dev ${other.device} xdpdrv obj ${passProgram} sec xdp.frags`);
}
