/**
 * TCP and UDP through one proxy core that looks at nothing: questions on one connection, bulk each way, a connection a request, datagrams of lasting
 * sessions, and a session a datagram; HAProxy (with and without splicing; it has no UDP) and nginx in turn in the same run.
 */
import { OperatorError } from '@l4d/kit/errors.ts';
import { type BenchResult, type BenchRow, type MissingPeer, summarize } from './core/rows.ts';
import {
  answerPort,
  backendPort,
  bulkPort,
  createProxyLab,
  type DatagramLoad,
  echoPort,
  type Load,
} from './io/proxy-lab.ts';
import { hasWrk, installed } from './io/proxy-subjects.ts';
import { relaySubjects } from './io/relay-subjects.ts';

const rounds = 3;
const bulkSeconds = 5;
const questions = 20_000;
const warmUp: Load = { connections: 64, seconds: 1, newConnections: true };
const connections: Load = { connections: 64, seconds: 5, newConnections: true };

const datagramCases: readonly { readonly name: string; readonly load: DatagramLoad }[] = [
  {
    name: 'datagrams of 64 clients, one at a time each',
    load: { clients: 64, window: 1, bytes: 100, seconds: 3, newSessions: false },
  },
  {
    name: 'datagrams of 1,200 bytes of 4 clients, 32 at a time each',
    load: { clients: 4, window: 32, bytes: 1200, seconds: 3, newSessions: false },
  },
  {
    name: 'a UDP session a question, 64 at a time',
    load: { clients: 64, window: 1, bytes: 100, seconds: 3, newSessions: true },
  },
];

/** Runs all cases, the proxies in turn. Needs root, two cores, wrk, iperf3 and nginx. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  if (!hasWrk()) throw new OperatorError('wrk is not installed (Debian package wrk)', 69);
  if (!installed('iperf3')) throw new OperatorError('iperf3 is not installed (Debian package iperf3)', 69);
  const missing: MissingPeer[] = relaySubjects.flatMap(({ subject, missing: reason }) =>
    reason === undefined ? [] : [{ subject, reason }],
  );
  const samples = new Map<string, number[]>();
  const lab = await createProxyLab();
  const note = (name: string, subject: string, metric: string, unit: string, value: number) => {
    const key = JSON.stringify([name, subject, metric, unit]);
    samples.set(key, [...(samples.get(key) ?? []), value]);
  };
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const { subject, start, startDatagrams } of relaySubjects.filter(
        (one) => one.missing === undefined,
      )) {
        progress(`round ${round} of ${rounds}: ${subject}`);
        for (const { name, load } of startDatagrams === undefined ? [] : datagramCases) {
          const proxy = await startDatagrams?.(lab, echoPort, load.newSessions);
          if (proxy === undefined) continue;
          lab.datagrams(proxy, { ...load, seconds: 0.5 });
          const result = lab.datagrams(proxy, load);
          note(name, subject, 'answers', '/s', result.answersPerSecond);
          note(name, subject, 'CPU an answer', 'us', result.cpuMicroseconds);
          note(name, subject, '99th percentile', 'ms', result.p99Milliseconds);
          await lab.stopProxy();
        }
        const asked = await start(lab, answerPort);
        const answers = lab.questions(asked, questions);
        const talk = 'a question and its answer, one connection';
        note(talk, subject, 'median', 'us', answers.medianMicroseconds);
        note(talk, subject, '99th percentile', 'us', answers.p99Microseconds);
        note(talk, subject, 'CPU', 'us', answers.cpuMicroseconds);
        await lab.stopProxy();
        const bulk = await start(lab, bulkPort);
        lab.bulk(bulk, 1, 'upload');
        for (const direction of ['upload', 'download'] as const) {
          const result = lab.bulk(bulk, bulkSeconds, direction);
          note(`bulk, ${direction}`, subject, 'rate', 'Gbit/s', result.gigabitsPerSecond);
          note(`bulk, ${direction}`, subject, 'CPU', 's/GB', result.cpuSecondsPerGigabyte);
        }
        await lab.stopProxy();
        const proxy = await start(lab, backendPort);
        await lab.run(proxy, warmUp);
        const result = await lab.run(proxy, connections);
        const name = 'a connection a request, 64 at a time';
        note(name, subject, 'connections', '/s', result.requestsPerSecond);
        note(name, subject, 'CPU a connection', 'us', result.cpuMicroseconds);
        note(name, subject, '99th percentile', 'ms', result.p99Milliseconds);
        await lab.stopProxy();
      }
    }
  } finally {
    lab.remove();
  }
  const rows = [...samples].map(([key, values]): BenchRow => {
    const [name = '', subject = '', metric = '', unit = ''] = JSON.parse(key) as string[];
    return { bench: 'relay', case: name, subject, metric, unit, ...summarize(values) };
  });
  return { rows, missing };
}
