/**
 * Three replicas behind an ECMP router, and one of them fails: requests lost, and milliseconds until the router's
 * kernel no longer sends there. Beside it, in the same run, ExaBGP's own health check with the same timing.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { type BenchResult, type BenchRow, type MissingPeer, summarize } from './core/rows.ts';
import { createReplicaLab, type ReplicaLab, replicaPort, replicas, replicaVip } from './io/replica-lab.ts';
import { type RunningSidecar, type SidecarSubject, sidecarSubjects } from './io/sidecar-subjects.ts';

const rounds = 3;
/** Requests a second, each on a connection of its own. */
const requestRate = 100;
const settleMs = 60_000;

interface Failure {
  readonly name: string;
  begin(lab: ReplicaLab, sidecar: RunningSidecar): void;
  end(lab: ReplicaLab, sidecar: RunningSidecar): void;
}

/** What happens to the first replica. */
const victim = 1;
const failures: readonly Failure[] = [
  {
    name: 'service killed (SIGKILL)',
    begin: (lab) => lab.signalService(victim, 'SIGKILL'),
    end: (lab) => lab.startService(victim),
  },
  {
    name: 'service stopped (SIGTERM)',
    begin: (lab) => lab.signalService(victim, 'SIGTERM'),
    end: (lab) => lab.startService(victim),
  },
  {
    name: 'service frozen (SIGSTOP)',
    begin: (lab) => lab.signalService(victim, 'SIGSTOP'),
    end: (lab) => lab.signalService(victim, 'SIGCONT'),
  },
  {
    name: 'maintenance',
    begin: (_, sidecar) => sidecar.maintenance(true),
    end: (_, sidecar) => sidecar.maintenance(false),
  },
  {
    name: 'host silent (its packets are lost)',
    begin: (lab) => lab.cut(victim),
    end: (lab) => lab.mend(victim),
  },
];

/** Runs all failures, the kinds of sidecar in turn. Needs root, FRR and nginx. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  const samples = new Map<string, number[]>();
  const missing: MissingPeer[] = sidecarSubjects.flatMap(({ subject, missing: reason }) =>
    reason === undefined ? [] : [{ subject, reason }],
  );
  for (let round = 1; round <= rounds; round++) {
    for (const subject of sidecarSubjects.filter((one) => one.missing === undefined)) {
      progress(`round ${round} of ${rounds}: ${subject.subject}`);
      await measure(subject, (name, metric, unit, value) => {
        const key = JSON.stringify([name, subject.subject, metric, unit]);
        samples.set(key, [...(samples.get(key) ?? []), value]);
      });
    }
  }
  const rows = [...samples].map(([key, values]): BenchRow => {
    const [name = '', subject = '', metric = '', unit = ''] = JSON.parse(key) as string[];
    return { bench: 'sidecar', case: name, subject, metric, unit, ...summarize(values) };
  });
  return { rows, missing };
}

type Note = (name: string, metric: string, unit: string, value: number) => void;

async function measure(subject: SidecarSubject, note: Note): Promise<void> {
  const lab = createReplicaLab();
  try {
    const running = replicas.map((replica) => subject.start(lab, replica));
    const [sidecar] = running;
    if (sidecar === undefined) return;
    await until('all replicas are routed', () => lab.routed().length === replicas.length);
    for (const failure of failures) {
      const client = startClient(lab);
      await sleep(1000);
      const from = performance.now();
      failure.begin(lab, sidecar);
      await until(`${failure.name}: it is withdrawn`, () => !lab.routed().includes(victim));
      note(failure.name, 'withdrawn', 'ms', performance.now() - from);
      await sleep(1500);
      note(failure.name, 'requests lost', '', await client.stop());
      failure.end(lab, sidecar);
      await until(`${failure.name}: it is back`, () => lab.routed().length === replicas.length);
    }
  } finally {
    lab.remove();
  }
}

async function until(name: string, check: () => boolean): Promise<void> {
  const start = performance.now();
  while (!check()) {
    if (performance.now() - start > settleMs)
      throw new OperatorError(`not within ${settleMs} ms: ${name}`, 1);
    await sleep(5);
  }
}

/** Asks the service at a steady rate; `stop` gives how many requests had no good answer within a second. */
function startClient(lab: ReplicaLab): { stop(): Promise<number> } {
  const script = `
    let lost = 0;
    const ask = () => {
      const request = require('node:http').get({ host: '${replicaVip}', port: ${replicaPort}, agent: false }, (answer) => {
        answer.resume();
        answer.on('end', () => clearTimeout(timer));
      });
      const timer = setTimeout(() => request.destroy(new Error('late')), 1000);
      request.on('error', () => { lost += 1; clearTimeout(timer); });
    };
    const asking = setInterval(ask, ${1000 / requestRate});
    process.stdin.on('end', () => {
      clearInterval(asking);
      setTimeout(() => process.stdout.write(String(lost), () => process.exit(0)), 1100);
    }).resume();`;
  const child = lab.startIn('client', process.execPath, '-e', script);
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return {
    async stop() {
      const ended = once(child, 'exit');
      child.stdin?.end();
      await ended;
      return Number(text);
    },
  };
}
