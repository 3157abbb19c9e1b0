import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { OperatorError } from '@l4d/kit/errors.ts';
import { hostsOf } from './core/topology.ts';
import type {
  DatagramsOptions,
  DownloadOptions,
  HoldOptions,
  ProgressEvent,
  RequestsOptions,
  TrafficEvent,
  TrafficTask,
} from './core/traffic-events.ts';
import {
  type ConnectionSummary,
  type FlowSummary,
  type RequestSummary,
  summarizeConnections,
  summarizeFlows,
  summarizeRequests,
} from './core/traffic-summary.ts';
import { type WaitOptions, waitFor } from './io/wait-for.ts';
import type { Lab } from './lab.ts';

/** Traffic under way. It ends by itself, at the latest after its own duration. */
export interface RunningTraffic<Summary> {
  /** The client's process, such as to bind it to a CPU. */
  readonly pid: number;
  /** What has happened so far. */
  readonly events: readonly TrafficEvent[];
  /** What it came to so far, or between two times (milliseconds since the epoch) for requests and datagrams. */
  summary(span?: { readonly fromMs?: number; readonly untilMs?: number }): Summary;
  /** Waits until the summary so far fulfils a condition; throws an OperatorError when the time is over. */
  until(what: string, isSo: (summary: Summary) => boolean, options: WaitOptions): Promise<Summary>;
  /** Ends it and gives its summary. */
  stop(): Promise<Summary>;
  /** Resolves with its summary when it has ended. */
  readonly done: Promise<Summary>;
}

/** A UDP server on a backend. */
export interface UdpServer {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Traffic from a client of the lab. */
export interface Traffic {
  /** Requests over new connections; resolves when they begin. */
  requests(options: RequestsOptions): Promise<RunningTraffic<RequestSummary>>;
  /** Long-lived connections, each from a port that no connection has used before. */
  hold(options: HoldOptions): Promise<RunningTraffic<ConnectionSummary[]>>;
  /** One download; its summary is its last progress. */
  download(options: DownloadOptions): Promise<RunningTraffic<ProgressEvent | undefined>>;
  datagrams(options: DatagramsOptions): Promise<RunningTraffic<FlowSummary[]>>;
  /** Requests to their end. */
  ask(options: RequestsOptions): Promise<RequestSummary>;
  /** Starts a UDP server that answers with the backend's name at each of the addresses. */
  startUdpServer(backend: string, port: number, addresses: readonly string[]): Promise<UdpServer>;
}

const clientProgram = join(import.meta.dirname, 'traffic-client.ts');
const serverProgram = join(import.meta.dirname, 'udp-server.ts');

/** Below the kernel's range for connections that name no port (ip_local_port_range). */
const firstHeldPort = 12_000;

/** Traffic from a client (the topology's first when left out) of a lab that is up. */
export function createTraffic(lab: Lab, client = hostsOf(lab.topology, 'client')[0]?.name ?? ''): Traffic {
  let nextPort = firstHeldPort;
  // A port that a request has used lately may be in TIME-WAIT on one of the backends, which then would answer
  // a segment of ours by an ACK in place of a RST: held connections have ports that nothing else has used.
  const freshPorts = (count: number) => Array.from({ length: count }, () => nextPort++);
  const start = <Summary>(task: TrafficTask, summarize: Summarize<Summary>) =>
    startTask(lab, client, task, summarize);
  const traffic: Traffic = {
    requests: (options) => start({ mode: 'requests', ...options }, summarizeRequests),
    hold: (options) => {
      const sourcePorts = options.sourcePorts ?? freshPorts(options.connections ?? 1);
      return start({ mode: 'hold', ...options, sourcePorts }, summarizeConnections);
    },
    download: (options) => start({ mode: 'download', ...options }, lastProgress),
    datagrams: (options) => start({ mode: 'datagrams', ...options }, summarizeFlows),
    ask: async (options) => (await traffic.requests(options)).done,
    async startUdpServer(backend, port, addresses) {
      const argv = [process.execPath, serverProgram, backend, String(port), ...addresses];
      const child = lab.spawn(backend, argv);
      const lines: string[] = [];
      readLines(child, (line) => lines.push(line));
      const errors = collectErrors(child);
      await waitFor(
        `${backend}: the UDP server listens`,
        () => errors() || lines.join(),
        (said) => said === 'ready',
        { timeoutMs: 5000, everyMs: 20 },
      );
      return { pid: child.pid ?? 0, stop: () => end(child) };
    },
  };
  return traffic;
}

type Summarize<Summary> = (
  events: readonly TrafficEvent[],
  span?: { readonly fromMs?: number; readonly untilMs?: number },
) => Summary;

async function startTask<Summary>(
  lab: Lab,
  client: string,
  task: TrafficTask,
  summarize: Summarize<Summary>,
): Promise<RunningTraffic<Summary>> {
  const child = lab.spawn(client, [process.execPath, clientProgram, JSON.stringify(task)]);
  const events: TrafficEvent[] = [];
  readLines(child, (line) => events.push(JSON.parse(line) as TrafficEvent));
  const errors = collectErrors(child);
  const done = new Promise<Summary>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(summarize(events));
      else reject(new OperatorError(`the traffic client ended with ${code}: ${errors()}`));
    });
  });
  // Whoever waits for it gets the failure; without that it is no unhandled rejection.
  done.catch(() => {});
  await Promise.race([
    done,
    waitFor(
      'the traffic client begins',
      () => events.length,
      (length) => length > 0,
      { timeoutMs: 10_000, everyMs: 10 },
    ),
  ]);
  return {
    pid: child.pid ?? 0,
    events,
    done,
    summary: (span) => summarize(events, span),
    until: (what, isSo, options) => waitFor(what, () => summarize(events), isSo, options),
    async stop() {
      child.kill('SIGTERM');
      return done;
    },
  };
}

function lastProgress(events: readonly TrafficEvent[]): ProgressEvent | undefined {
  return events.findLast((event) => event.type === 'progress');
}

function readLines(child: ChildProcess, take: (line: string) => void): void {
  let rest = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    const lines = `${rest}${chunk.toString('utf8')}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(line);
  });
}

/** Gives what a program has written to stderr so far. */
function collectErrors(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    text = `${text}${chunk.toString('utf8')}`.slice(-2000);
  });
  return () => text.trim();
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGTERM');
  await closed;
}
