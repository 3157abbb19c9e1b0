import type { BenchResult } from './core/rows.ts';
import { run as runFrames } from './datapath-frames.ts';
import { run as runPackets } from './datapath-packets.ts';
import { run as runTcp } from './datapath-tcp.ts';

/** All that is measured of the data plane, one part after the other. Needs root. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  const parts = [await runPackets(progress), await runFrames(progress), await runTcp(progress)];
  return { rows: parts.flatMap(({ rows }) => rows), missing: parts.flatMap(({ missing }) => missing) };
}
