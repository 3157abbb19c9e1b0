/**
 * Real connections by way of the balancer, all offloads off: new connections a second, and bulk in both directions;
 * plain forwarding and nftables DNAT in turn in the same network.
 */
import { OperatorError } from '@l4d/kit/errors.ts';
import { type BenchResult, type BenchRow, summarize } from './core/rows.ts';
import { hasWrk } from './io/proxy-subjects.ts';
import { createTcpLab, tcpSubjects } from './io/tcp-lab.ts';

const rounds = 3;

/** Runs all subjects, in turn. Needs root, nginx, wrk, iperf3 and nftables. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  if (!hasWrk()) throw new OperatorError('wrk is not installed (Debian package wrk)', 69);
  const samples = new Map<string, number[]>();
  const lab = await createTcpLab();
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const subject of tcpSubjects) {
        progress(`TCP, round ${round} of ${rounds}: ${subject.subject}`);
        const measured = await lab.measure(subject);
        for (const [name, unit, value] of [
          ['new connections', '/s', measured.connectionsPerSecond],
          ['bulk to the backend', 'Gbit/s', measured.upload / 1e9],
          ['bulk to the client', 'Gbit/s', measured.download / 1e9],
        ] as const) {
          const key = JSON.stringify([name, subject.subject, unit]);
          samples.set(key, [...(samples.get(key) ?? []), value]);
        }
      }
    }
  } finally {
    lab.remove();
  }
  const rows = [...samples].map(([key, values]): BenchRow => {
    const [name = '', subject = '', unit = ''] = JSON.parse(key) as string[];
    const row = { case: 'TCP, no offloads', subject, metric: name, unit };
    return { bench: 'datapath', ...row, ...summarize(values) };
  });
  return { rows, missing: [] };
}
