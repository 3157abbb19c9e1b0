/**
 * A namespace with one backend and one proxy at a time, over loopback: the proxy has a core to itself,
 * client (wrk) and backend (nginx) share another.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { OperatorError } from '@l4d/kit/errors.ts';
import { makeSelfSigned } from '@l4d/kit/tls/self-signed.ts';

const root = join(import.meta.dirname, '../../..');
/** Where the backend listens. */
export const backendPort = 9000;
/** Where datagrams are sent back. */
export const echoPort = 9002;
/** Where questions on one TCP connection are answered. */
export const answerPort = 9003;
/** Where the sink and source of bulk transfers listens. */
export const bulkPort = 9001;
const clientCore = 0;
const proxyCore = 1;
const ticksPerSecond = 100;
const execute = promisify(execFile);

/** One run of wrk against the proxy. */
export interface LoadResult {
  readonly requestsPerSecond: number;
  readonly p99Milliseconds: number;
  /** Processor time of the proxy's process for one request. */
  readonly cpuMicroseconds: number;
  /** Bodies and heads that came, 10^9 bytes. */
  readonly gigabytes: number;
  /** Processor time of the proxy's process. */
  readonly cpuSeconds: number;
}

/** How clients speak to the proxy: `tickets`, sessions are resumed; `no-tickets`, they cannot be. */
export type Transport = 'plain' | 'tickets' | 'no-tickets';

/** What a run asks for. */
export interface Load {
  readonly connections: number;
  readonly seconds: number;
  /** Each request on a connection of its own. */
  readonly newConnections: boolean;
  /** By default plain. */
  readonly transport?: Transport;
  /** The answer is of 1 MiB, not of 1 KiB. */
  readonly bulk?: boolean;
}

/** UDP clients of a run. */
export interface DatagramLoad {
  readonly clients: number;
  /** Datagrams of each that are on their way at a time. */
  readonly window: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Each question comes from a port of its own. */
  readonly newSessions: boolean;
}

/** One run of UDP clients. */
export interface DatagramResult {
  readonly answersPerSecond: number;
  readonly p99Milliseconds: number;
  /** Processor time of the proxy's process for a question and its answer. */
  readonly cpuMicroseconds: number;
}

/** One transfer through the proxy. */
export interface BulkResult {
  readonly gigabitsPerSecond: number;
  /** Processor time of the proxy's process for 10^9 bytes. */
  readonly cpuSecondsPerGigabyte: number;
}

/** Questions of 64 bytes and answers on one TCP connection, one at a time. */
export interface QuestionsResult {
  readonly medianMicroseconds: number;
  readonly p99Microseconds: number;
  /** Processor time of the proxy's process for a question and its answer; what the kernel does elsewhere is not in it. */
  readonly cpuMicroseconds: number;
}

/** A running proxy: the process whose time is counted, and its port on 127.0.0.1. */
export interface RunningProxy {
  readonly pid: number;
  readonly port: number;
  /** Its port for another transport; absent: it has none. */
  portFor?(transport: Transport): Promise<number>;
}

/** Certificate and key of the proxies (ECDSA P-256), and keys of session tickets, as each of them wants them. */
export interface BenchSecrets {
  readonly cert: string;
  readonly key: string;
  /** Certificate and key in one file. */
  readonly both: string;
  /** A key of 80 bytes. */
  readonly ticketKey: string;
  /** Three in base64, a line each. */
  readonly ticketKeys: string;
}

/** The lab, running. */
export interface ProxyLab {
  readonly folder: string;
  readonly secrets: BenchSecrets;
  /** Starts a program on the proxy's core, in this checkout's folder. */
  start(command: string, ...args: readonly string[]): ChildProcess;
  /** Waits until something listens on a port. */
  listening(port: number, protocol?: 'tcp' | 'udp'): Promise<void>;
  /** Ports on which a process listens. */
  portsOf(pid: number, protocol?: 'tcp' | 'udp'): readonly number[];
  /** UDP clients; the proxy's backend is `echoPort`. */
  datagrams(proxy: RunningProxy, load: DatagramLoad): DatagramResult;
  /** One TCP client with one question at a time; the proxy's backend is `answerPort`. */
  questions(proxy: RunningProxy, count: number): QuestionsResult;
  run(proxy: RunningProxy, load: Load): Promise<LoadResult>;
  /** Sends by iperf3 for so many seconds; the proxy's backend is `bulkPort`. */
  bulk(proxy: RunningProxy, seconds: number, direction: 'upload' | 'download'): BulkResult;
  /** Ends what `start` started. */
  stopProxy(): Promise<void>;
  remove(): void;
}

/** Makes the namespace and starts the backend. Throws OperatorError. */
export async function createProxyLab(): Promise<ProxyLab> {
  if (cpus().length < 2) throw new OperatorError('this bench needs two cores, one of them for the proxy', 1);
  const name = `l4dl7b${process.pid}`;
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  const children: ChildProcess[] = [];
  const inside = [`--net=/run/netns/${name}`];
  const spawnOn = (core: number, command: readonly string[]) => {
    const child = spawn('nsenter', [...inside, 'taskset', '-c', String(core), ...command], {
      stdio: 'ignore',
      cwd: root,
    });
    children.push(child);
    return child;
  };
  const output = (...command: string[]) =>
    execFileSync('nsenter', [...inside, ...command], { encoding: 'utf8' });

  execFileSync('ip', ['netns', 'add', name]);
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  const lab: ProxyLab = {
    folder,
    secrets: makeSecrets(folder),
    start: (...command) => spawnOn(proxyCore, command),
    async listening(port, protocol = 'tcp') {
      for (let i = 0; i < 500; i++) {
        if (output('ss', protocol === 'tcp' ? '-Hltn' : '-Hlun', `sport = :${port}`) !== '') return;
        await sleep(10);
      }
      throw new OperatorError(`nothing listens on port ${port}`, 1);
    },
    portsOf(pid, protocol = 'tcp') {
      const lines = output('ss', protocol === 'tcp' ? '-Hltnp4' : '-Hlunp4').split('\n');
      return lines
        .filter((line) => line.includes(`pid=${pid},`))
        .map((line) => Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1]));
    },
    async run(proxy, load) {
      const scheme = (load.transport ?? 'plain') === 'plain' ? 'http' : 'https';
      const before = cpuTicks(proxy.pid);
      // Connections of the one who measures live on meanwhile.
      const { stdout: text } = await execute('nsenter', [
        ...inside,
        ...['taskset', '-c', String(clientCore), 'wrk', '-t1', '--latency', '--timeout', '5s'],
        ...[`-c${load.connections}`, `-d${load.seconds}s`],
        ...(load.newConnections ? ['-H', 'Connection: close'] : []),
        `${scheme}://127.0.0.1:${proxy.port}/${load.bulk === true ? 'bulk' : ''}`,
      ]);
      const ticks = cpuTicks(proxy.pid) - before;
      const requests = Number(/(\d+) requests in/.exec(text)?.[1] ?? 0);
      const failed = /Non-2xx|Socket errors: connect [1-9]/.exec(text);
      if (requests === 0 || failed !== null) throw new OperatorError(`the load failed:\n${text}`, 1);
      return {
        requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]),
        p99Milliseconds: milliseconds(/99%\s+([\d.]+)(us|ms|s)/.exec(text)),
        cpuMicroseconds: ((ticks / ticksPerSecond) * 1e6) / requests,
        gigabytes: bytes(/, ([\d.]+)([KMGT]?B) read/.exec(text)) / 1e9,
        cpuSeconds: ticks / ticksPerSecond,
      };
    },
    datagrams(proxy, { clients, window, bytes, seconds, newSessions }) {
      const before = cpuTicks(proxy.pid);
      const words = [proxy.port, clients, window, bytes, seconds, newSessions ? 1 : 0].map(String);
      const program = join(import.meta.dirname, 'udp-load.ts');
      const text = output('taskset', '-c', String(clientCore), process.execPath, program, ...words);
      const ticks = cpuTicks(proxy.pid) - before;
      const result = JSON.parse(text) as { answered: number; seconds: number; p99: number };
      if (result.answered === 0) throw new OperatorError('no datagram was answered', 1);
      return {
        answersPerSecond: result.answered / result.seconds,
        p99Milliseconds: result.p99,
        cpuMicroseconds: ((ticks / ticksPerSecond) * 1e6) / result.answered,
      };
    },
    questions(proxy, count) {
      const before = cpuTicks(proxy.pid);
      const program = join(import.meta.dirname, 'tcp-questions.ts');
      const words = ['ask', String(proxy.port), String(count)];
      const text = output('taskset', '-c', String(clientCore), process.execPath, program, ...words);
      const ticks = cpuTicks(proxy.pid) - before;
      const { median, p99 } = JSON.parse(text) as { median: number; p99: number };
      return {
        medianMicroseconds: median,
        p99Microseconds: p99,
        cpuMicroseconds: ((ticks / ticksPerSecond) * 1e6) / count,
      };
    },
    bulk(proxy, seconds, direction) {
      const before = cpuTicks(proxy.pid);
      const text = output(
        ...['taskset', '-c', String(clientCore), 'iperf3', '-J', '-c', '127.0.0.1', '-p', String(proxy.port)],
        ...['-t', String(seconds), ...(direction === 'download' ? ['-R'] : [])],
      );
      const cpuSeconds = (cpuTicks(proxy.pid) - before) / ticksPerSecond;
      const { bytes, bits_per_second: bits } = JSON.parse(text).end.sum_received;
      return { gigabitsPerSecond: bits / 1e9, cpuSecondsPerGigabyte: cpuSeconds / (bytes / 1e9) };
    },
    async stopProxy() {
      for (const child of children.splice(4)) await end(child);
    },
    remove() {
      for (const child of children) child.kill('SIGTERM');
      execFileSync('ip', ['netns', 'del', name]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  try {
    spawnOn(clientCore, ['nginx', '-c', writeBackend(folder)]);
    spawnOn(clientCore, ['iperf3', '-s', '-p', String(bulkPort)]);
    spawnOn(clientCore, [process.execPath, join(import.meta.dirname, 'udp-echo.ts'), String(echoPort)]);
    const questions = join(import.meta.dirname, 'tcp-questions.ts');
    spawnOn(clientCore, [process.execPath, questions, 'serve', String(answerPort)]);
    await lab.listening(answerPort);
    await lab.listening(backendPort);
    await lab.listening(bulkPort);
    await lab.listening(echoPort, 'udp');
  } catch (error) {
    lab.remove();
    throw error;
  }
  return lab;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

/** nginx's configuration around what is within `http`, and beside it; returns the file. */
export function writeNginx(folder: string, name: string, http: string, beside = ''): string {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${own}/${kind};`)
    .join(' ');
  const file = join(own, 'nginx.conf');
  writeFileSync(
    file,
    `${beside} daemon off; master_process off; error_log stderr crit; pid ${own}/pid;
events { worker_connections 8192; }
http { access_log off; ${temporary} ${http} }`,
  );
  return file;
}

function writeBackend(folder: string): string {
  const body = 'x'.repeat(1024);
  writeFileSync(join(folder, 'bulk'), Buffer.alloc(1024 * 1024, 'x'));
  return writeNginx(
    folder,
    'backend',
    `keepalive_requests 1000000000; server { listen 127.0.0.1:${backendPort} backlog=4096; location / { return 200 "${body}"; } location /bulk { root ${folder}; } }`,
  );
}

function makeSecrets(folder: string): BenchSecrets {
  const path = (name: string) => join(folder, name);
  const { cert, key } = makeSelfSigned(folder, 'bench', 'bench.example');
  writeFileSync(path('both.pem'), readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'));
  writeFileSync(path('ticket.key'), randomBytes(80));
  const lines = [1, 2, 3].map(() => `${randomBytes(80).toString('base64')}\n`);
  writeFileSync(path('ticket.keys'), lines.join(''));
  return {
    cert,
    key,
    both: path('both.pem'),
    ticketKey: path('ticket.key'),
    ticketKeys: path('ticket.keys'),
  };
}

/** User and system time of a process, with all its threads. */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

/** wrk counts in powers of 1024. */
function bytes(match: RegExpExecArray | null): number {
  return Number(match?.[1]) * 1024 ** ['B', 'KB', 'MB', 'GB', 'TB'].indexOf(match?.[2] ?? '');
}

function milliseconds(match: RegExpExecArray | null): number {
  const value = Number(match?.[1]);
  return match?.[2] === 'us' ? value / 1000 : match?.[2] === 's' ? value * 1000 : value;
}
