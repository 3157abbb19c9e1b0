/**
 * HTTP/1.1 through one proxy core at 1 KiB: requests a second, processor time of the proxy a request, and the
 * 99th percentile under that load; nginx and HAProxy in turn in the same run.
 */
import { OperatorError } from '@l4d/kit/errors.ts';
import { type BenchResult, type BenchRow, type MissingPeer, summarize } from './core/rows.ts';
import { createProxyLab, type Load } from './io/proxy-lab.ts';
import { hasWrk, proxySubjects } from './io/proxy-subjects.ts';

const rounds = 3;
/** Before what is measured: code is compiled, pools are filled. */
const warmUp: Load = { connections: 64, seconds: 2, newConnections: false };
const cases: readonly (Load & { readonly name: string })[] = [
  { name: 'keep-alive, 64 connections', connections: 64, seconds: 5, newConnections: false },
  { name: 'a connection a request, 64 at a time', connections: 64, seconds: 5, newConnections: true },
];

/** Runs all cases, the proxies in turn. Needs root, two cores, wrk and nginx. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  if (!hasWrk()) throw new OperatorError('wrk is not installed (Debian package wrk)', 69);
  const missing: MissingPeer[] = proxySubjects.flatMap(({ subject, missing: reason }) =>
    reason === undefined ? [] : [{ subject, reason }],
  );
  const samples = new Map<string, number[]>();
  const lab = await createProxyLab();
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const subject of proxySubjects.filter((one) => one.missing === undefined)) {
        progress(`round ${round} of ${rounds}: ${subject.subject}`);
        const proxy = await subject.start(lab);
        lab.run(proxy, warmUp);
        for (const one of cases) {
          const result = lab.run(proxy, one);
          for (const [metric, unit, value] of [
            ['requests', '/s', result.requestsPerSecond],
            ['CPU a request', 'us', result.cpuMicroseconds],
            ['99th percentile', 'ms', result.p99Milliseconds],
          ] as const) {
            const key = JSON.stringify([one.name, subject.subject, metric, unit]);
            samples.set(key, [...(samples.get(key) ?? []), value]);
          }
        }
        await lab.stopProxy();
      }
    }
  } finally {
    lab.remove();
  }
  const rows = [...samples].map(([key, values]): BenchRow => {
    const [name = '', subject = '', metric = '', unit = ''] = JSON.parse(key) as string[];
    return { bench: 'l7', case: name, subject, metric, unit, ...summarize(values) };
  });
  return { rows, missing };
}
