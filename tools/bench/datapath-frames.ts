/**
 * Frames a second through one core, by way of veth's XDP: generator and balancer share the core, so the floor (swap
 * MAC addresses and send back) tells what is left for a balancer. Plain forwarding by the kernel and nftables DNAT in
 * the same run.
 */
import { type BenchResult, type BenchRow, summarize } from './core/rows.ts';
import { createLiveLab, type LiveSubject } from './io/live-lab.ts';
import { kernelSubjects, liveSubjects } from './io/live-subjects.ts';

const rounds = 3;

/** Runs all subjects, in turn. Needs root, two cores, nftables. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  const subjects: readonly LiveSubject[] = [...liveSubjects, ...kernelSubjects];
  const samples = subjects.map((): number[] => []);
  const lab = createLiveLab();
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const [index, subject] of subjects.entries()) {
        progress(`live frames, round ${round} of ${rounds}: ${subject.subject}, ${subject.name}`);
        samples[index]?.push(lab.measure(subject) / 1e6);
      }
    }
  } finally {
    lab.remove();
  }
  const rows = subjects.map(
    ({ name, subject }, index): BenchRow => ({
      bench: 'datapath',
      case: `live frames: ${name}`,
      subject,
      metric: 'frames of 64 bytes through one core',
      unit: 'Mpps',
      ...summarize(samples[index] ?? []),
    }),
  );
  return { rows, missing: [] };
}
