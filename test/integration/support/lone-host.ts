/**
 * One l4d host with a client and a backend, for tests of a machine that is not as it should be:
 *
 *     client 10.88.0.1, .2 ──┐
 *                            ├─ br0 (generic XDP only), 10.88.0.11: the host
 *     backend 10.88.0.21 ────┘
 *     client far0 10.88.1.1 ─── eth0 (native XDP), 10.88.1.11: the host
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endProcesses } from '../../../tools/lab/io/namespace-processes.ts';
import { type CommandResult, inNamespace, runCommand } from '../../../tools/lab/io/run-command.ts';
import { ipIn, run } from './network-namespace.ts';

/** A daemon that was started, and what it has written so far. */
export interface StartedDaemon {
  readonly process: ChildProcess;
  /** Log lines, parsed. */
  log(): { readonly [key: string]: unknown }[];
  /** Everything on stderr. */
  stderr(): string;
  /** Resolves with the exit code when it has ended. */
  readonly ended: Promise<number>;
}

/** The host and what a test does with it. */
export interface LoneHost {
  /** Folder of its files, below it `run` and `state`. */
  readonly folder: string;
  readonly namespaces: { readonly host: string; readonly client: string; readonly backend: string };
  readonly environment: Readonly<Record<string, string>>;
  /** Writes a file in the folder; gives its path. */
  write(name: string, text: string): string;
  /** Runs a program on the host to its end. */
  run(...argv: readonly string[]): Promise<CommandResult>;
  /** Starts `l4d run` with arguments and waits until it runs or has ended. */
  start(...args: readonly string[]): Promise<StartedDaemon>;
  /** One request from the client to the VIP: the answer's text, empty when there is none. */
  ask(url?: string): Promise<string>;
  /** As ask, without a second try: for when no answer is expected. */
  askOnce(): Promise<string>;
  /** Asks until the backend answers; gives the last answer. */
  untilServed(): Promise<string>;
  /** Ends all processes of the product, forgets its state and its pins. */
  reset(): Promise<void>;
  remove(): Promise<void>;
}

/** The VIP that the backend answers for. */
export const vipAddress = '203.0.113.10';

/** A desired state that works on that host; `interfaceName` and more lines of `host` are the caller's. */
export function goodConfig(options: { readonly host?: string; readonly more?: string } = {}): string {
  return `version: 1
host: { ${options.host ?? 'interface: br0'} }
${options.more ?? ''}vips:
  - name: web
    address: ${vipAddress}
    port: 80
    check: { type: tcp, interval: 250ms, timeout: 1s, rise: 1, fall: 2 }
    backends: [{ address: 10.88.0.21 }]
`;
}

/** Lines that are no log lines: what is said to the operator. */
export function said(text: string): string[] {
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
}

/** Asks until the answer is as wanted or the time is over; gives the last answer. */
export async function eventually<T>(
  question: () => Promise<T>,
  holds: (answer: T) => boolean,
  withinMs = 30_000,
): Promise<T> {
  const start = performance.now();
  for (;;) {
    const answer = await question();
    if (holds(answer) || performance.now() - start > withinMs) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const server = "require('node:http').createServer((_, answer) => answer.end('backend')).listen(80)";

/** Builds it; `prefix` and the pid make the names unique. */
export function createLoneHost(prefix: string): LoneHost {
  const name = (role: string) => `${prefix}${process.pid}-${role}`;
  const namespaces = { host: name('h'), client: name('c'), backend: name('b') };
  const folder = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
  const bpfDir = `/sys/fs/bpf/${prefix}${process.pid}`;
  const environment = {
    L4D_RUN_DIR: join(folder, 'run'),
    L4D_STATE_DIR: join(folder, 'state'),
    L4D_BPF_DIR: bpfDir,
    PATH: `${new URL('../../../node_modules/.bin', import.meta.url).pathname}:${process.env['PATH'] ?? ''}`,
  };
  const path = (namespace: string) => `/run/netns/${namespace}`;
  const { host, client, backend } = namespaces;
  mkdirSync(environment.L4D_STATE_DIR);

  const remove = async () => {
    await endProcesses(Object.values(namespaces).map(path), 500);
    for (const namespace of Object.values(namespaces)) {
      await runCommand(['ip', 'netns', 'delete', namespace]);
    }
    rmSync(bpfDir, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  };

  for (const namespace of Object.values(namespaces)) {
    run('ip', 'netns', 'add', namespace);
    ipIn(namespace, 'link set lo up');
  }
  ipIn(host, 'link add br0 address 02:00:00:00:88:0b type bridge');
  for (const [end, port] of [
    [client, 'pc'],
    [backend, 'pb'],
  ] as const) {
    ipIn(host, `link add ${port} type veth peer name e0 netns ${end}`);
    ipIn(host, `link set ${port} up master br0`);
    ipIn(end, 'link set e0 up');
  }
  ipIn(host, 'link add eth0 type veth peer name far0 netns '.concat(client));
  for (const device of ['br0', 'eth0']) ipIn(host, `link set ${device} up`);
  ipIn(client, 'link set far0 up');
  for (const [end, device, address] of [
    [host, 'br0', '10.88.0.11/24'],
    [host, 'eth0', '10.88.1.11/24'],
    [client, 'e0', '10.88.0.1/24'],
    [client, 'e0', '10.88.0.2/24'],
    [client, 'far0', '10.88.1.1/24'],
    [backend, 'e0', '10.88.0.21/24'],
    [backend, 'lo', `${vipAddress}/32`],
  ] as const) {
    ipIn(end, `address add ${address} dev ${device}`);
  }
  ipIn(client, 'route add 203.0.113.0/24 via 10.88.0.11');
  run('nsenter', `--net=${path(backend)}`, 'sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=1');
  spawn('nsenter', [`--net=${path(backend)}`, process.execPath, '-e', server], { stdio: 'ignore' }).unref();

  const curl = async (...args: readonly string[]) =>
    (await runCommand(inNamespace(path(client), ['curl', '-s', ...args]))).stdout;
  const ask = (url = `http://${vipAddress}/`) =>
    curl('--max-time', '2', '--retry', '2', '--retry-connrefused', url);
  return {
    folder,
    namespaces,
    environment,
    write(file, text) {
      const place = join(folder, file);
      writeFileSync(place, text);
      return place;
    },
    run: (...argv) => runCommand(inNamespace(path(host), argv), { env: environment, timeout: 30_000 }),
    start: (...args) => startDaemon([...inNamespace(path(host), ['l4d', 'run']), ...args], environment),
    ask,
    askOnce: () => curl('--max-time', '2', `http://${vipAddress}/`),
    untilServed: () =>
      eventually(
        // Not to wait for a second SYN when the first one came before the backend was known to be up.
        () => curl('--max-time', '0.5', `http://${vipAddress}/`),
        (answer) => answer === 'backend',
      ),
    async reset() {
      await endProcesses([path(host)], 500);
      await runCommand(inNamespace(path(host), ['l4d', 'detach', '--all', '--forget']), { env: environment });
      for (const part of ['run', 'state']) rmSync(join(folder, part), { recursive: true, force: true });
    },
    remove,
  };
}

function startDaemon(
  argv: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<StartedDaemon> {
  const [command = '', ...args] = argv;
  const child = spawn(command, args, {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  const ended = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? -1)));
  const daemon: StartedDaemon = {
    process: child,
    stderr: () => text,
    log: () =>
      text
        .split('\n')
        .filter((line) => line.startsWith('{') && line.endsWith('}'))
        .map((line) => JSON.parse(line) as { readonly [key: string]: unknown }),
    ended,
  };
  return new Promise((resolve) => {
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (text.includes('"msg":"running"')) resolve(daemon);
    });
    void ended.then(() => resolve(daemon));
  });
}
