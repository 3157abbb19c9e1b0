/**
 * HTTP/1.1 through one proxy core, plain and in TLS: requests a second at 1 KiB, processor time of the proxy a
 * request, and the 99th percentile under that load; handshakes, full and resumed; bulk. nginx and HAProxy in turn
 * in the same run: all are up, and in each case their turns follow one another at once, so that what else the machine
 * does meets them alike.
 */
import { resolve } from 'node:path';
import { OperatorError } from '@l4d/kit/errors.ts';
import { type BenchResult, type BenchRow, type MissingPeer, summarize } from './core/rows.ts';
import { type Selection, selected } from './core/selection.ts';
import { createProxyLab, type Load, type LoadResult, type RunningProxy } from './io/proxy-lab.ts';
import { hasWrk, ownSubject, proxyPeers } from './io/proxy-subjects.ts';

const usualRounds = 3;
/** Before what is measured: code is compiled, pools are filled. */
const warmUp: Load = { connections: 64, seconds: 2, newConnections: false, transport: 'plain' };
const many = { connections: 64, seconds: 5 } as const;
const few = { connections: 16, seconds: 5, newConnections: false, bulk: true } as const;
const cases: readonly (Load & { readonly name: string })[] = [
  { name: 'keep-alive, 64 connections', ...many, newConnections: false, transport: 'plain' },
  { name: 'a connection a request, 64 at a time', ...many, newConnections: true, transport: 'plain' },
  { name: 'bulk, answers of 1 MiB, 16 connections', ...few, transport: 'plain' },
  { name: 'TLS, keep-alive, 64 connections', ...many, newConnections: false, transport: 'tickets' },
  { name: 'TLS, a full handshake a request', ...many, newConnections: true, transport: 'no-tickets' },
  { name: 'TLS, a resumed handshake a request', ...many, newConnections: true, transport: 'tickets' },
  { name: 'TLS, bulk, answers of 1 MiB, 16 connections', ...few, transport: 'tickets' },
];

function metricsOf(
  { bulk, seconds }: Load,
  result: LoadResult,
): readonly (readonly [string, string, number])[] {
  if (bulk === true) {
    return [
      ['throughput', 'Gbit/s', (result.gigabytes * 8) / seconds],
      ['CPU a gigabyte', 's', result.cpuSeconds / result.gigabytes],
    ];
  }
  return [
    ['requests', '/s', result.requestsPerSecond],
    ['CPU a request', 'us', result.cpuMicroseconds],
    ['99th percentile', 'ms', result.p99Milliseconds],
  ];
}

/** Runs the cases, the proxies in turn. Needs root, two cores, wrk and nginx. */
export async function run(progress: (line: string) => void, selection: Selection): Promise<BenchResult> {
  if (!hasWrk()) throw new OperatorError('wrk is not installed (Debian package wrk)', 69);
  const own = [undefined, ...(selection.against === undefined ? [] : [resolve(selection.against)])];
  const subjects = selected(
    [...own.map((checkout) => ownSubject(checkout)), ...proxyPeers],
    (one) => one.subject,
    selection.subjects,
  );
  const wanted = selected(cases, (one) => one.name, selection.cases);
  const rounds = selection.rounds ?? usualRounds;
  const missing: MissingPeer[] = subjects.flatMap(({ subject, missing: reason }) =>
    reason === undefined ? [] : [{ subject, reason }],
  );
  const samples = new Map<string, number[]>();
  const lab = await createProxyLab();
  try {
    const running = new Map<string, RunningProxy>();
    for (const { subject, start } of subjects.filter((one) => one.missing === undefined)) {
      const proxy = await start(lab);
      running.set(subject, proxy);
      await lab.run(proxy, warmUp);
    }
    for (let round = 1; round <= rounds; round++) {
      progress(`round ${round} of ${rounds}`);
      for (const usual of wanted) {
        const one = { ...usual, seconds: selection.seconds ?? usual.seconds };
        for (const [subject, proxy] of running) {
          const port = (await proxy.portFor?.(one.transport ?? 'plain')) ?? proxy.port;
          const result = await lab.run({ ...proxy, port }, one);
          for (const [metric, unit, value] of metricsOf(one, result)) {
            const key = JSON.stringify([one.name, subject, metric, unit]);
            samples.set(key, [...(samples.get(key) ?? []), value]);
          }
        }
      }
    }
    await lab.stopProxy();
  } finally {
    lab.remove();
  }
  const rows = [...samples].map(([key, values]): BenchRow => {
    const [name = '', subject = '', metric = '', unit = ''] = JSON.parse(key) as string[];
    return { bench: 'l7', case: name, subject, metric, unit, ...summarize(values) };
  });
  return { rows, missing };
}
