/**
 * TCP and UDP through one proxy core that looks at nothing: questions on one connection, bulk each way, a connection a request, datagrams of lasting
 * sessions, and a session a datagram; HAProxy (with and without splicing; it has no UDP) and nginx in turn in the same run.
 */
import { OperatorError } from '@l4d/kit/errors.ts';
import { type BenchResult, type BenchRow, type MissingPeer, summarize } from './core/rows.ts';
import { type Selection, selected } from './core/selection.ts';
import {
  answerPort,
  backendPort,
  bulkPort,
  createProxyLab,
  type DatagramLoad,
  echoPort,
  type Load,
  type ProxyLab,
} from './io/proxy-lab.ts';
import { hasWrk, installed } from './io/proxy-subjects.ts';
import { type RelaySubject, relaySubjects } from './io/relay-subjects.ts';

const usualRounds = 3;
const bulkSeconds = 5;
const questions = 20_000;
const talk = 'a question and its answer, one connection';
const short = 'a connection a request, 64 at a time';
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

type Note = (name: string, metric: string, unit: string, value: number) => void;

/** Runs the cases, the proxies in turn. Needs root, two cores, wrk, iperf3 and nginx. */
export async function run(progress: (line: string) => void, selection: Selection): Promise<BenchResult> {
  if (!hasWrk()) throw new OperatorError('wrk is not installed (Debian package wrk)', 69);
  if (!installed('iperf3')) throw new OperatorError('iperf3 is not installed (Debian package iperf3)', 69);
  const subjects = selected(relaySubjects, ({ subject }) => subject, selection.subjects);
  const missing: MissingPeer[] = subjects.flatMap(({ subject, missing: reason }) =>
    reason === undefined ? [] : [{ subject, reason }],
  );
  const samples = new Map<string, number[]>();
  const lab = await createProxyLab();
  const rounds = selection.rounds ?? usualRounds;
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const one of subjects.filter((subject) => subject.missing === undefined)) {
        progress(`round ${round} of ${rounds}: ${one.subject}`);
        await measure(lab, one, selection, (name, metric, unit, value) => {
          const key = JSON.stringify([name, one.subject, metric, unit]);
          samples.set(key, [...(samples.get(key) ?? []), value]);
        });
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

async function measure(
  lab: ProxyLab,
  subject: RelaySubject,
  selection: Selection,
  note: Note,
): Promise<void> {
  const { start, startDatagrams } = subject;
  const isWanted = (name: string) => selected([name], String, selection.cases).length > 0;
  for (const { name, load } of startDatagrams === undefined ? [] : datagramCases) {
    if (!isWanted(name)) continue;
    const proxy = await startDatagrams?.(lab, echoPort, load.newSessions);
    if (proxy === undefined) continue;
    lab.datagrams(proxy, { ...load, seconds: 0.5 });
    const result = lab.datagrams(proxy, { ...load, seconds: selection.seconds ?? load.seconds });
    note(name, 'answers', '/s', result.answersPerSecond);
    note(name, 'CPU an answer', 'us', result.cpuMicroseconds);
    note(name, '99th percentile', 'ms', result.p99Milliseconds);
    await lab.stopProxy();
  }
  if (isWanted(talk)) {
    const proxy = await start(lab, answerPort);
    const answers = lab.questions(proxy, questions);
    note(talk, 'median', 'us', answers.medianMicroseconds);
    note(talk, '99th percentile', 'us', answers.p99Microseconds);
    note(talk, 'CPU', 'us', answers.cpuMicroseconds);
    await lab.stopProxy();
  }
  const directions = (['upload', 'download'] as const).filter((one) => isWanted(`bulk, ${one}`));
  if (directions.length > 0) {
    const proxy = await start(lab, bulkPort);
    lab.bulk(proxy, 1, 'upload');
    for (const direction of directions) {
      const result = lab.bulk(proxy, selection.seconds ?? bulkSeconds, direction);
      note(`bulk, ${direction}`, 'rate', 'Gbit/s', result.gigabitsPerSecond);
      note(`bulk, ${direction}`, 'CPU', 's/GB', result.cpuSecondsPerGigabyte);
    }
    await lab.stopProxy();
  }
  if (isWanted(short)) {
    const proxy = await start(lab, backendPort);
    await lab.run(proxy, warmUp);
    const result = await lab.run(proxy, {
      ...connections,
      seconds: selection.seconds ?? connections.seconds,
    });
    note(short, 'connections', '/s', result.requestsPerSecond);
    note(short, 'CPU a connection', 'us', result.cpuMicroseconds);
    note(short, '99th percentile', 'ms', result.p99Milliseconds);
    await lab.stopProxy();
  }
}
