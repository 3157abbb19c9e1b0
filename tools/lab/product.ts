import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { hostsOf } from './core/topology.ts';
import { repositoryRoot } from './io/build-lab.ts';
import { type NamespaceProcess, signal } from './io/namespace-processes.ts';
import type { CommandResult } from './io/run-command.ts';
import { waitFor } from './io/wait-for.ts';
import type { Lab } from './lab.ts';

/** How a daemon is started. */
export interface StartOptions {
  /** Path of its configuration; the host's `l4d.yaml` (no VIPs) when left out, none when null. */
  readonly config?: string | null;
  /** Also wait until every enabled VIP that it has is announced. */
  readonly announced?: boolean;
  /** Milliseconds for all waiting; 15 s by default. */
  readonly timeoutMs?: number;
}

/** A running daemon. */
export interface DaemonHandle {
  readonly host: string;
  readonly pid: number;
  /** Its stderr of all its lives, JSON lines. */
  readonly logPath: string;
  /** Sends a signal (SIGTERM by default) and returns when the process has ended. Companions live on. */
  kill(name?: NodeJS.Signals): Promise<void>;
}

/** The processes beside the daemon, when they run. */
export interface CompanionPids {
  readonly announcer?: number;
  readonly proxy?: number;
}

/** The product's programs on the l4d hosts of a lab. */
export interface Product {
  /** Starts `l4d run`; returns when it answers. Throws an OperatorError with the end of its log otherwise. */
  startDaemon(host: string, options?: StartOptions): Promise<DaemonHandle>;
  /** The running daemon of a host, whoever started it. */
  daemon(host: string): Promise<DaemonHandle | undefined>;
  /** `l4ctl -o json ARGS` on a host, parsed. Throws an OperatorError with what it said when it fails. */
  l4ctl(host: string, args: readonly string[]): Promise<unknown>;
  /** `l4ctl ARGS` as an operator would see it; its exit code is part of the answer. */
  runL4ctl(host: string, args: readonly string[]): Promise<CommandResult>;
  /** `l4d ARGS` to its end (check, detach, attach), as runL4ctl. */
  runL4d(host: string, args: readonly string[]): Promise<CommandResult>;
  /** What a host's daemon says about itself, asked on its socket. Rejects when it does not answer. */
  status(host: string): Promise<FabricStatus>;
  companions(host: string): Promise<CompanionPids>;
  /** Ends daemons and companions on the given hosts, on all when left out; pins and stored state stay. */
  stopAll(...hosts: string[]): Promise<void>;
}

const bin = (name: 'l4d' | 'l4ctl') => join(repositoryRoot, 'node_modules/.bin', name);

/** Milliseconds between SIGTERM and SIGKILL in stopAll. */
const graceMs = 3000;

/** The product in a lab that is up. */
export function createProduct(lab: Lab): Product {
  const l4dHosts = hostsOf(lab.topology, 'l4d').map(({ name }) => name);
  const socketOf = (host: string) => join(lab.env(host).L4D_RUN_DIR, 'l4d.sock');
  const logOf = (host: string) => join(lab.folder(host), 'l4d.log');

  const processNamed = async (host: string, name: string) =>
    (await lab.processes(host)).find((process) => process.name === name);

  const handle = (host: string, pid: number): DaemonHandle => ({
    host,
    pid,
    logPath: logOf(host),
    async kill(name = 'SIGTERM') {
      signal(pid, name);
      await ended(lab, host, pid, 10_000);
    },
  });

  const product: Product = {
    async startDaemon(host, options = {}) {
      const timeoutMs = options.timeoutMs ?? 15_000;
      const running = await processNamed(host, 'l4d');
      if (running !== undefined) throw new OperatorError(`${host}: l4d runs already (pid ${running.pid})`);
      const config = options.config === undefined ? join(lab.folder(host), 'l4d.yaml') : options.config;
      const run = [bin('l4d'), 'run', ...(config === null ? [] : ['-c', config])];
      // The shell only opens the log and becomes the daemon, so that the pid is the daemon's.
      const shell = ['sh', '-c', 'log=$1; shift; exec "$@" 2>>"$log"', 'sh', logOf(host), ...run];
      const child = lab.spawn(host, shell, { stdio: 'ignore', detached: true });
      const pid = child.pid;
      if (pid === undefined) throw new OperatorError(`${host}: l4d cannot be started`);
      child.unref();
      const exited = () => child.exitCode !== null || child.signalCode !== null;
      const answered = waitFor(
        `${host}: l4d answers`,
        async () => (exited() ? undefined : await product.status(host)),
        (status) => exited() || status?.pid === pid,
        { timeoutMs },
      );
      await withLog(host, answered);
      if (exited()) await withLog(host, Promise.reject(new OperatorError(`${host}: l4d has ended at once`)));
      if (options.announced === true) {
        const announced = waitFor(
          `${host}: every enabled VIP is announced`,
          async () => (await product.status(host)).vips.filter(({ enabled }) => enabled),
          (vips) => vips.every((vip) => vip.announced),
          { timeoutMs },
        );
        await withLog(host, announced);
      }
      return handle(host, pid);
    },

    async daemon(host) {
      const found = await processNamed(host, 'l4d');
      return found === undefined ? undefined : handle(host, found.pid);
    },

    async l4ctl(host, args) {
      const result = await product.runL4ctl(host, ['-o', 'json', ...args]);
      if (result.code !== 0) {
        const said = `${result.stderr}${result.stdout}`.trim();
        throw new OperatorError(`${host}: "l4ctl ${args.join(' ')}" ended with ${result.code}: ${said}`);
      }
      return JSON.parse(result.stdout) as unknown;
    },
    runL4ctl: (host, args) => lab.exec(host, [bin('l4ctl'), ...args], { timeout: 20_000 }),
    runL4d: (host, args) => lab.exec(host, [bin('l4d'), ...args], { timeout: 20_000 }),

    async status(host) {
      const answer = await requestJson(socketOf(host), 'GET', '/v1/status', undefined, 3000);
      if (answer.status !== 200) throw new OperatorError(`${host}: the status answered ${answer.status}`);
      return answer.body as FabricStatus;
    },

    async companions(host) {
      const processes = await lab.processes(host);
      const pidOf = (name: string) => processes.find((process) => process.name === name)?.pid;
      const announcer = pidOf('announcer');
      const proxy = pidOf('l7');
      return {
        ...(announcer === undefined ? {} : { announcer }),
        ...(proxy === undefined ? {} : { proxy }),
      };
    },

    async stopAll(...hosts) {
      const where = hosts.length > 0 ? hosts : l4dHosts;
      // The daemon first: it would start its companions again.
      const workers = ['worker-process.ts', 'worker-process.js'];
      for (const names of [['l4d'], ['announcer', 'l7', ...workers]]) {
        const living = (await lab.processes(...where)).filter(({ name }) => names.includes(name));
        await endAll(lab, where, living);
      }
    },
  };

  /** Adds the end of a host's log to the message of a failure. */
  async function withLog<Value>(host: string, promise: Promise<Value>): Promise<Value> {
    return promise.catch(async (error: Error) => {
      const log = await readFile(logOf(host), 'utf8').catch(() => '');
      const end = log.trimEnd().split('\n').slice(-5).join('\n  ');
      throw new OperatorError(`${error.message}\n  ${end || '(its log is empty)'}`);
    });
  }

  return product;
}

async function endAll(lab: Lab, hosts: readonly string[], processes: readonly NamespaceProcess[]) {
  for (const { pid } of processes) signal(pid, 'SIGTERM');
  const pids = new Set(processes.map(({ pid }) => pid));
  const start = performance.now();
  for (;;) {
    const living = (await lab.processes(...hosts)).filter(({ pid }) => pids.has(pid));
    if (living.length === 0) return;
    const elapsed = performance.now() - start;
    if (elapsed > 2 * graceMs) {
      throw new OperatorError(`cannot be ended: ${living.map(({ name, pid }) => `${name} (${pid})`).join()}`);
    }
    if (elapsed > graceMs) for (const { pid } of living) signal(pid, 'SIGKILL');
    await sleep(30);
  }
}

async function ended(lab: Lab, host: string, pid: number, timeoutMs: number): Promise<void> {
  await waitFor(
    `${host}: process ${pid} has ended`,
    async () => (await lab.processes(host)).some((process) => process.pid === pid),
    (lives) => !lives,
    { timeoutMs, everyMs: 20 },
  );
}
