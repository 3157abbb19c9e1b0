/**
 * TCP through one proxy core that looks at nothing: bulk each way, and a connection a request; HAProxy (with and
 * without splicing) and nginx in turn in the same run.
 */
import { OperatorError } from '@l4d/kit/errors.ts';
import { type BenchResult, type BenchRow, type MissingPeer, summarize } from './core/rows.ts';
import { backendPort, bulkPort, createProxyLab, type Load } from './io/proxy-lab.ts';
import { hasWrk, installed } from './io/proxy-subjects.ts';
import { relaySubjects } from './io/relay-subjects.ts';

const rounds = 3;
const bulkSeconds = 5;
const warmUp: Load = { connections: 64, seconds: 1, newConnections: true };
const connections: Load = { connections: 64, seconds: 5, newConnections: true };

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
      for (const { subject, start } of relaySubjects.filter((one) => one.missing === undefined)) {
        progress(`round ${round} of ${rounds}: ${subject}`);
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
