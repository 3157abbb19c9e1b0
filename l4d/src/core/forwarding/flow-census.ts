/** What a pass over the flow table finds. */

/** One address family's part. */
export interface FamilyCensus {
  /** Entries, also of flows that are over. */
  readonly entries: number;
  /** Entries of flows that were idle for longer than their VIP allows, or whose VIP is gone. */
  readonly expired: number;
  /** The longest that an entry has been idle, milliseconds. When the table is full, who is idle for so long is pushed out. */
  readonly longestIdleMs: number;
}

/** What the last pass over the flow table has found. */
export interface FlowTableCensus {
  readonly ipv4: FamilyCensus;
  readonly ipv6: FamilyCensus;
  /**
   * Entries that the table has dropped for others since the daemon started: what came in less what is there. A pass is
   * no snapshot: it may be off by the flows that came in during one.
   */
  readonly evicted: number;
  /** How long the pass took. */
  readonly tookMs: number;
}

/** An entry, as far as it is counted. */
export interface CountedFlow {
  readonly vipId: number;
  readonly backend: number;
  /** Of the backend when the flow was stored: its number may be another one's by now. */
  readonly generation: number;
  readonly lastTick: number;
  readonly isClosed: boolean;
}

/** What is known of a VIP by its number in the kernel. */
export interface CountedVip {
  readonly idleTicks: number;
  /** Generations of its backends by index, where their loads are compared. */
  readonly compared?: ReadonlyMap<number, number>;
}

/** The data plane's tick is 2^30 ns (FLOW_TICK_SHIFT of bpf/include/l4d.h). */
export const tickMilliseconds = 2 ** 30 / 1e6;

/** Counts entries of one family; `loads` gets the live flows of backends whose loads are compared, by index. */
export function createCensus(
  vips: ReadonlyMap<number, CountedVip>,
  now: number,
  loads: Map<number, number>,
): { add(flow: CountedFlow): void; result(): FamilyCensus } {
  let [entries, expired, longest] = [0, 0, 0];
  return {
    add({ vipId, backend, generation, lastTick, isClosed }) {
      // Ticks go round after 146 years; a packet may have come since `now` was read.
      const idle = Math.max(0, (now - lastTick) | 0);
      const vip = vips.get(vipId);
      entries += 1;
      if (idle > longest) longest = idle;
      if (vip === undefined || idle > vip.idleTicks) expired += 1;
      else if (!isClosed && vip.compared?.get(backend) === generation)
        loads.set(backend, (loads.get(backend) ?? 0) + 1);
    },
    result: () => ({ entries, expired, longestIdleMs: Math.round(longest * tickMilliseconds) }),
  };
}
