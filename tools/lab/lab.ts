import type { ChildProcess } from 'node:child_process';
import { readFile, statfs } from 'node:fs/promises';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { addAddress, type Command, removeAddress, vipAddress } from './core/host-network.ts';
import { type KernelRoute, parseKernelRoutes } from './core/kernel-routes.ts';
import {
  defaultLabId,
  type HostEnvironment,
  hostEnvironment,
  hostFolder,
  type LabNames,
  labNames,
  namespacePath,
} from './core/lab-names.ts';
import { fabricHosts, frrFolder, nginxPaths, planLab, portOf, startServerCommand } from './core/lab-plan.ts';
import { checkTopology, findHost, type Host, hostsOf, switchName, type Topology } from './core/topology.ts';
import { buildLab, buildPassProgram, passProgram, waitUntil } from './io/build-lab.ts';
import { readLabRecord, writeLabRecord } from './io/lab-record.ts';
import { type NamespaceProcess, processesIn, signal } from './io/namespace-processes.ts';
import { removeLab } from './io/remove-lab.ts';
import { type CommandResult, inNamespace, runChecked, runCommand, startCommand } from './io/run-command.ts';

/** How a program is run on a host. */
export interface ExecOptions {
  /** Milliseconds after which it is killed (exit code 124); 60 s by default. */
  readonly timeout?: number;
  /** Added to the host's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

/** How a program is started on a host. */
export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** What its stdout and stderr are: pipes by default. */
  readonly stdio?: 'pipe' | 'inherit' | 'ignore';
  /** Whether it outlives this process. */
  readonly detached?: boolean;
}

/**
 * A small data centre in network namespaces. Functions that name a host throw an OperatorError for a name that
 * the topology does not have; those that act on a host throw one when the command behind them fails.
 */
export interface Lab {
  readonly topology: Topology;
  readonly id: string;
  /** Builds everything and returns when routers and servers answer. Cleans up and throws when that fails. */
  up(): Promise<void>;
  /** Removes everything that belongs to the lab, also what a crashed run left. May be repeated. */
  down(): Promise<void>;
  /** Whether the lab is built. */
  isUp(): Promise<boolean>;
  /** Runs a program on a host to its end; its exit code is part of the answer, not a failure. */
  exec(host: string, argv: readonly string[], options?: ExecOptions): Promise<CommandResult>;
  /** Starts a program on a host. What still runs at down() is ended. */
  spawn(host: string, argv: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Folders of the product's processes on a host, as their environment variables. */
  env(host: string): HostEnvironment;
  /** The host's own folder: /run/l4d-lab/ID/HOST. An l4d host has `l4d.yaml` and `l4d-with-vips.yaml` there. */
  folder(host: string): string;
  /** Path of the host's network namespace. */
  namespacePath(host: string): string;
  /** Processes on the given hosts, on all when left out. */
  processes(...hosts: string[]): Promise<NamespaceProcess[]>;
  /** Answer of a router to a show command that ends in `json`. */
  vtysh(router: string, command: string): Promise<unknown>;
  /** Main table of a host's kernel. */
  kernelRoutes(host: string, family: 'ipv4' | 'ipv6'): Promise<KernelRoute[]>;
  /** Starts a backend's web server; nothing happens when it runs. */
  startServer(backend: string): Promise<void>;
  /** Stops a backend's web server in good order; returns when it has ended. */
  stopServer(backend: string): Promise<void>;
  /** Kills a backend's web server (SIGKILL); returns when it has ended. */
  killServer(backend: string): Promise<void>;
  /** Cuts a host off the fabric without its interface losing the carrier. */
  cutPort(host: string): Promise<void>;
  /** Undoes cutPort. */
  restorePort(host: string): Promise<void>;
  /** Puts an address on a backend's loopback. */
  addVip(backend: string, address: string): Promise<void>;
  /** Takes an address off a backend's loopback. */
  removeVip(backend: string, address: string): Promise<void>;
}

/** Type of bpffs in statfs(2): BPF_FS_MAGIC of linux/magic.h. */
const bpffsMagic = 0xcafe4a11;

/** A lab of that topology and id (`l4d` by default); nothing is built before up(). Throws an OperatorError. */
export function createLab(topology: Topology, options: { readonly id?: string } = {}): Lab {
  const names = namesOf(options.id ?? defaultLabId);
  const problems = checkTopology(topology);
  if (problems.length > 0) throw new OperatorError(problems.join('\n'), exitCode.config);

  const hostNamed = (name: string): Host => {
    const host = findHost(topology, name);
    if (host !== undefined) return host;
    const allowed = topology.hosts.map((each) => each.name).join(', ');
    throw new OperatorError(
      `there is no host "${name}" in ${topology.name}; it has ${allowed}`,
      exitCode.usage,
    );
  };
  const hostOfRole = (name: string, role: Host['role']): Host => {
    const host = hostNamed(name);
    if (host.role === role) return host;
    const allowed = hostsOf(topology, role).map((each) => each.name);
    throw new OperatorError(
      `${name} is a ${host.role}; wanted is one of ${allowed.join(', ')}`,
      exitCode.usage,
    );
  };
  const path = (host: string) => namespacePath(names, hostNamed(host).name);
  const environment = (host: string) => hostEnvironment(names, hostNamed(host).name);
  const run = (host: string, command: Command) => runChecked(inNamespace(path(host), command));
  const setPort = async (host: string, state: 'disabled' | 'forwarding') => {
    if (!fabricHosts(topology).some(({ name }) => name === hostNamed(host).name)) {
      throw new OperatorError(`${host} is not plugged into the fabric`, exitCode.usage);
    }
    const number = { disabled: '0', forwarding: '3' }[state];
    const command = ['bridge', 'link', 'set', 'dev', portOf(host), 'state', number];
    await runChecked(inNamespace(namespacePath(names, switchName), command));
  };

  let building: Promise<void> | undefined;
  let leaving = false;
  /** A program on a host; none is started any more while the lab is taken down, where it would be left over. */
  const enter = (host: string, argv: readonly string[]) => {
    if (leaving) throw new OperatorError(`the lab is being taken down: "${argv.join(' ')}" is not started`);
    return inNamespace(path(host), argv);
  };

  const lab: Lab = {
    topology,
    id: names.id,
    up: () => {
      leaving = false;
      building = up(lab, names);
      return building;
    },
    down: async () => {
      leaving = true;
      // What is still being built would be made again behind our back. It cleans up when it fails.
      await building?.catch(() => undefined);
      await down(topology, names);
    },
    isUp: async () => (await readLabRecord(names))?.ready === true,
    exec: async (host, argv, execOptions = {}) =>
      runCommand(enter(host, argv), {
        ...execOptions,
        env: { ...environment(host), ...execOptions.env },
      }),
    spawn: (host, argv, spawnOptions = {}) =>
      startCommand(enter(host, argv), {
        ...spawnOptions,
        env: { ...environment(host), ...spawnOptions.env },
      }),
    env: environment,
    folder: (host) => hostFolder(names, hostNamed(host).name),
    namespacePath: path,
    processes: async (...hosts) =>
      processesIn((hosts.length > 0 ? hosts : topology.hosts.map(({ name }) => name)).map(path)),
    vtysh: async (router, command) => {
      hostOfRole(router, 'router');
      const text = await run(router, ['vtysh', '--vty_socket', frrFolder(names, router), '-c', command]);
      try {
        return JSON.parse(text) as unknown;
      } catch {
        throw new OperatorError(
          `${router} answered "${command}" with something else than JSON: ${text.trim()}`,
        );
      }
    },
    kernelRoutes: async (host, family) =>
      parseKernelRoutes(await run(host, ['ip', family === 'ipv4' ? '-4' : '-6', '-j', 'route', 'show'])),
    startServer: async (backend) => {
      hostOfRole(backend, 'backend');
      if ((await serverPid(names, backend)) !== undefined) return;
      await run(backend, startServerCommand(names, backend));
    },
    stopServer: async (backend) => {
      hostOfRole(backend, 'backend');
      const pid = await serverPid(names, backend);
      if (pid === undefined) return;
      signal(pid, 'SIGTERM');
      await waitUntil(
        `${backend}: nginx has ended`,
        async () => (await serverProcesses(path(backend))).length === 0,
        5000,
      );
    },
    killServer: async (backend) => {
      hostOfRole(backend, 'backend');
      await waitUntil(
        `${backend}: nginx is killed`,
        async () => {
          const living = await serverProcesses(path(backend));
          for (const { pid } of living) signal(pid, 'SIGKILL');
          return living.length === 0;
        },
        5000,
      );
    },
    cutPort: (host) => setPort(host, 'disabled'),
    restorePort: (host) => setPort(host, 'forwarding'),
    addVip: async (backend, address) => {
      hostOfRole(backend, 'backend');
      await run(backend, addAddress(vipAddress(address), 'lo'));
    },
    removeVip: async (backend, address) => {
      hostOfRole(backend, 'backend');
      await run(backend, removeAddress(vipAddress(address), 'lo'));
    },
  };
  return lab;
}

/** Name of the topology of a lab that is up; undefined when none of that id is. Throws for a bad id. */
export async function runningTopology(id: string): Promise<string | undefined> {
  const record = await readLabRecord(namesOf(id));
  return record?.ready === true ? record.topology : undefined;
}

function namesOf(id: string): LabNames {
  const names = labNames(id);
  if (!names.ok) throw new OperatorError(names.error, exitCode.usage);
  return names.value;
}

function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new OperatorError('the lab makes network namespaces: it needs root (try sudo)', exitCode.permission);
}

async function requireBpffs(): Promise<void> {
  const found = await statfs('/sys/fs/bpf').catch(() => undefined);
  if (found?.type === bpffsMagic) return;
  throw new OperatorError('bpffs is not mounted at /sys/fs/bpf: run "npm run setup"', exitCode.system);
}

async function up(lab: Lab, names: LabNames): Promise<void> {
  requireRoot();
  await requireBpffs();
  const found = await readLabRecord(names);
  if (found?.ready === true) {
    throw new OperatorError(
      `lab "${names.id}" is up already (topology ${found.topology}); take it down first`,
    );
  }
  // What an unfinished or crashed run has left would be in the way.
  await down(lab.topology, names);
  const plan = planLab(lab.topology, names, passProgram);
  const record = {
    topology: lab.topology.name,
    namespaces: plan.namespaces,
    startedAt: new Date().toISOString(),
  };
  await buildPassProgram();
  await writeLabRecord(names, { ...record, ready: false });
  try {
    await buildLab(plan, names);
    await Promise.all(hostsOf(lab.topology, 'router').map(({ name }) => untilRouterAnswers(lab, name)));
    await writeLabRecord(names, { ...record, ready: true });
  } catch (error) {
    await down(lab.topology, names);
    throw error;
  }
}

async function down(topology: Topology, names: LabNames): Promise<void> {
  requireRoot();
  const recorded = (await readLabRecord(names))?.namespaces ?? [];
  await removeLab(names, [...recorded, ...planLab(topology, names, passProgram).namespaces]);
}

async function untilRouterAnswers(lab: Lab, router: string): Promise<void> {
  const answers = () =>
    lab.vtysh(router, 'show bgp ipv4 unicast summary json').then(
      () => true,
      () => false,
    );
  await waitUntil(`${router}: bgpd answers`, answers, 10_000);
}

/** Pid of a backend's nginx master, when it runs. */
async function serverPid(names: LabNames, backend: string): Promise<number | undefined> {
  const text = await readFile(nginxPaths(names, backend).pidFile, 'utf8').catch(() => '');
  const pid = Number(text.trim());
  const processes = await serverProcesses(namespacePath(names, backend));
  return processes.some((process) => process.pid === pid) ? pid : undefined;
}

async function serverProcesses(namespace: string): Promise<NamespaceProcess[]> {
  return (await processesIn([namespace])).filter(({ name }) => name === 'nginx');
}
