import type { Host } from '../desired/host.ts';
import type { Vip } from '../desired/vip.ts';
import { vipCensus } from '../desired/vip-census.ts';

/** How fast flows may come into the flow table. */
export interface FlowSettings {
  /** Of all CPUs together, for each address family and both in sum; 0: as fast as they come. */
  readonly insertsPerSecond: number;
  /** So many may come at once after a rest. */
  readonly burst: number;
}

/** A flow that sends a packet every so often survives a flood: seconds. Keep-alives of TCP stacks come every 60 to 75. */
const longestRest = 60;

/** Below it a table of a few flows would take none. */
const leastInserts = 100;

/**
 * The rate at which the table of `host` turns over in a minute, or in the longest idle time of its VIPs when that is
 * shorter: a flood of new flows then evicts nothing that sends more often. A quarter of the table may come at once.
 */
export function flowSettings(
  host: Pick<Host, 'capacity' | 'flowInserts'>,
  vips: readonly Vip[],
): FlowSettings {
  const { flows } = host.capacity;
  const rest = Math.min(longestRest, Math.max(1, vipCensus(vips).longestIdle / 1000));
  const auto = Math.max(leastInserts, Math.floor(flows / rest));
  return { insertsPerSecond: host.flowInserts ?? auto, burst: Math.floor(flows / 4) };
}
