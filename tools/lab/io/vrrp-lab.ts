/**
 * Network namespaces on one bridge, with real keepalived, for the VRRP tests:
 *
 *     a 10.79.0.1 fd79::1 ──┐        ┌── keepalived 10.79.0.9 fd79::9
 *     b 10.79.0.2 fd79::2 ──┤ bridge ├── client     10.79.0.100 fd79::100
 *     c 10.79.0.3 fd79::3 ──┘        └── other      10.79.0.101 fd79::101
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import type { VrrpInput } from '@l4d/announcer/core/vrrp/config.ts';
import type { VirtualRouterStatus, VrrpStatus } from '@l4d/announcer/core/vrrp/status.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { waitFor } from './wait-for.ts';

/** The machines on the bridge. */
export type Machine = 'a' | 'b' | 'c' | 'keepalived' | 'client' | 'other';

const prefix = `vrp${process.pid}`;
const switchName = `${prefix}-sw`;
const machines: Readonly<Record<Machine, number>> = {
  a: 1,
  b: 2,
  c: 3,
  keepalived: 9,
  client: 100,
  other: 101,
};
const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
const started = new Set<ChildProcess>();
const engines = new Set<number>();

/** Runs a command, returns its output; throws with its errors. */
function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

const inside = (machine: Machine) => `--net=/run/netns/${prefix}-${machine}`;

/** Runs a command on a machine; throws with its errors. */
export function runOn(machine: Machine, command: string, ...args: readonly string[]): string {
  return run('nsenter', inside(machine), command, ...args);
}

/** Starts a command on a machine; it ends with the lab. */
export function startOn(machine: Machine, command: string, ...args: readonly string[]): ChildProcess {
  const child = spawn('nsenter', [inside(machine), command, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  started.add(child);
  return child;
}

/** Name of a machine's port of the bridge. */
const portOf = (machine: Machine) => `p-${machine}`;

/** Makes the namespaces, the bridge and the links. */
export function setUpNetwork(): void {
  run('ip', 'netns', 'add', switchName);
  run(
    'nsenter',
    `--net=/run/netns/${switchName}`,
    'ip',
    'link',
    'add',
    'br0',
    'type',
    'bridge',
    'forward_delay',
    '0',
  );
  run('nsenter', `--net=/run/netns/${switchName}`, 'ip', 'link', 'set', 'br0', 'up');
  for (const [machine, last] of Object.entries(machines) as [Machine, number][]) {
    run('ip', 'netns', 'add', `${prefix}-${machine}`);
    const peer = ['type', 'veth', 'peer', 'name', portOf(machine), 'netns', switchName];
    runOn(machine, 'ip', 'link', 'set', 'lo', 'up');
    runOn(
      machine,
      'sysctl',
      '-qw',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv6.conf.default.dad_transmits=0',
    );
    runOn(machine, 'ip', 'link', 'add', 'eth0', ...peer);
    const port = ['nsenter', `--net=/run/netns/${switchName}`, 'ip', 'link', 'set', portOf(machine)] as const;
    run(...port, 'master', 'br0', 'up');
    runOn(machine, 'ip', 'address', 'add', `10.79.0.${last}/24`, 'dev', 'eth0');
    runOn(machine, 'ip', 'address', 'add', `fd79::${last}/64`, 'dev', 'eth0', 'nodad');
    runOn(machine, 'ip', 'link', 'set', 'eth0', 'up');
  }
}

/** Ends what was started and removes everything, also after a failure half-way. */
export function tearDownNetwork(): void {
  for (const child of started) child.kill('SIGKILL');
  for (const pid of engines) kill(pid, 'SIGKILL');
  for (const name of [switchName, ...Object.keys(machines).map((machine) => `${prefix}-${machine}`)]) {
    try {
      // What is left in it is of this lab alone.
      for (const pid of run('ip', 'netns', 'pids', name).split(/\s+/))
        if (pid !== '') kill(Number(pid), 'SIGKILL');
      run('ip', 'netns', 'del', name);
    } catch {
      // It was never made.
    }
  }
  rmSync(folder, { recursive: true, force: true });
}

/** Sends a signal; false when there is no such process. */
export function kill(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** Takes the cable out of a machine's port of the bridge, or puts it in. */
export function setPort(machine: Machine, state: 'up' | 'down'): void {
  run('nsenter', `--net=/run/netns/${switchName}`, 'ip', 'link', 'set', portOf(machine), state);
}

/** Waits until the check holds; fails with its name after 20 s. */
export async function until(name: string, check: () => boolean | Promise<boolean>): Promise<void> {
  await waitFor(name, check, (isSo) => isSo, { timeoutMs: 20_000, everyMs: 20 });
}

/** An announcer with its VRRP process. */
export interface Host {
  readonly client: AnnouncerClient;
  readonly process: ChildProcess;
  readonly runDir: string;
  /** Process of the VRRP engine. */
  enginePid(): number;
  /** Groups from now on. */
  put(groups: VrrpInput['groups']): Promise<void>;
  status(): Promise<VrrpStatus>;
  router(family?: 'ipv4' | 'ipv6', vrid?: number): Promise<VirtualRouterStatus>;
  log(): string;
}

/** Starts an announcer on a machine and waits until it answers; by default with a run folder of its own. */
export async function startHost(
  machine: Machine,
  runDir = mkdtempSync(join(folder, `${machine}-`)),
): Promise<Host> {
  const main = join(import.meta.dirname, '../../../announcer/bin/start.mjs');
  const child = startOn(machine, process.execPath, main, '--run-dir', runDir);
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const client = announcerClient(join(runDir, 'announcer.sock'));
  await until(`the announcer of ${machine} answers`, () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
  const status = async () => (await client.status()).vrrp ?? { routers: [], dropped: {} };
  const enginePid = () => {
    const engine = pidsOf(machine).find((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('vrrp-process.'),
    );
    if (engine === undefined) throw new Error(`no VRRP process on ${machine}: ${log}`);
    engines.add(engine);
    return engine;
  };
  return {
    client,
    process: child,
    runDir,
    enginePid,
    log: () => log,
    async put(groups) {
      const desired: DesiredInput = { owner: 'test', peers: [], prefixes: [], vrrp: { groups } };
      await client.put(desired);
      if (groups.length > 0) {
        await until('the groups are known', async () => (await client.status()).vrrp !== undefined);
      }
    },
    status,
    async router(family = 'ipv4', vrid) {
      const { routers } = await status();
      const found = routers.find((one) => one.family === family && (vrid === undefined || one.vrid === vrid));
      if (found === undefined) throw new Error(`no router of ${family}: ${log}`);
      return found;
    },
  };
}

/** A running keepalived. */
export interface Keepalived {
  readonly process: ChildProcess;
  log(): string;
  /** As it reported last. */
  state(instance: string): string | undefined;
  stop(signal: NodeJS.Signals): Promise<void>;
}

let keepalivedCount = 0;

/** Starts keepalived on its machine with these `vrrp_instance` blocks, by name. */
export function startKeepalived(
  instances: Readonly<Record<string, string>>,
  machine: Machine = 'keepalived',
): Keepalived {
  keepalivedCount += 1;
  const base = join(folder, `keepalived-${keepalivedCount}`);
  const blocks = Object.entries(instances).map(
    ([name, body]) => `vrrp_instance ${name} {\n interface eth0\n${body}\n}\n`,
  );
  writeFileSync(`${base}.conf`, `global_defs {\n vrrp_version 3\n router_id lab\n}\n${blocks.join('')}`);
  const pids = ['-p', `${base}.pid`, '-r', `${base}-vrrp.pid`, '-c', `${base}-check.pid`];
  const child = startOn(machine, 'keepalived', '-n', '-l', '-D', '-P', '-f', `${base}.conf`, ...pids);
  let log = '';
  const take = (chunk: Buffer) => {
    log += chunk.toString();
  };
  child.stdout?.on('data', take);
  child.stderr?.on('data', take);
  return {
    process: child,
    log: () => log,
    state: (name) => [...log.matchAll(new RegExp(`\\(${name}\\) Entering (\\w+) STATE`, 'g'))].at(-1)?.[1],
    async stop(signal) {
      // nsenter has become keepalived; its VRRP child holds the addresses.
      const worker = Number(readFileSync(`${base}-vrrp.pid`, 'utf8'));
      if (signal === 'SIGKILL') kill(worker, 'SIGKILL');
      if (kill(child.pid ?? 0, signal) && child.exitCode === null) await once(child, 'exit');
      if (signal === 'SIGKILL') kill(worker, 'SIGKILL');
    },
  };
}

/** MAC address that a machine has in its cache for an address. */
export function cachedMac(machine: Machine, address: string): string | undefined {
  return /lladdr (\S+)/.exec(runOn(machine, 'ip', 'neighbour', 'show', address, 'dev', 'eth0'))?.[1];
}

/** Processes that run on a machine. */
export function pidsOf(machine: Machine): number[] {
  return run('ip', 'netns', 'pids', `${prefix}-${machine}`).split(/\s+/).filter(Boolean).map(Number);
}

/** MAC address of a machine. */
export function interfaceMac(machine: Machine): string | undefined {
  return /link\/ether (\S+)/.exec(runOn(machine, 'ip', 'link', 'show', 'eth0'))?.[1];
}

/** The machine behind the bridge port at which a MAC address was last seen. */
export function bridgePortOf(mac: string): string | undefined {
  const fdb = run('nsenter', `--net=/run/netns/${switchName}`, 'bridge', 'fdb', 'show', 'br', 'br0');
  return new RegExp(`^${mac} dev p-(\\S+)`, 'm').exec(fdb)?.[1];
}

/** Pings from a machine every few milliseconds and remembers when answers came, in Unix milliseconds. */
export function watchPings(
  machine: Machine,
  address: string,
  intervalMs = 10,
): { answers(): number; largestGapMs(): number; lastAt(): number; stop(): void } {
  const child = startOn(machine, 'ping', '-n', '-D', '-i', String(intervalMs / 1000), address);
  const times: number[] = [];
  child.stdout?.on('data', (chunk: Buffer) => {
    // By ping's own clock: this process may be waiting for a command meanwhile.
    for (const [, seconds] of chunk.toString().matchAll(/\[(\d+\.\d+)\] \d+ bytes from/g)) {
      times.push(Number(seconds) * 1000);
    }
  });
  return {
    answers: () => times.length,
    lastAt: () => times.at(-1) ?? 0,
    largestGapMs: () => times.reduce((gap, at, index) => Math.max(gap, at - (times[index - 1] ?? at)), 0),
    stop: () => child.kill('SIGINT'),
  };
}
