/** From the verdict of a health check to what routers have been told because of it. */
import type { ChangesAnswer } from '@l4d/announcer/core/latency.ts';
import type { MetricFamily, MetricSample } from '@l4d/announcer/core/metric-text.ts';

/** A change so long after a verdict is of another cause. */
const relatedMs = 10_000;

/** The last verdict that concerned a VIP. */
export interface VipVerdictTime {
  readonly vip: string;
  /** The prefix that its address is announced by. */
  readonly prefix: string;
  /** Unix time in milliseconds. */
  readonly atMs: number;
}

/** Last values by VIP and peer; a VIP whose last verdict has changed no route has none. */
export function verdictLatency(
  verdicts: readonly VipVerdictTime[],
  { changes }: ChangesAnswer,
): MetricFamily[] {
  const written: MetricSample[] = [];
  const acked: MetricSample[] = [];
  const peers = new Set(changes.map(({ peer }) => peer));
  for (const { vip, prefix, atMs } of verdicts) {
    for (const peer of peers) {
      // The first change after the verdict; both clocks are the machine's, so 1 ms is for rounding alone.
      const change = changes.find(
        (one) =>
          one.peer === peer &&
          one.prefixes.includes(prefix) &&
          one.askedAtMs >= atMs - 1 &&
          one.askedAtMs - atMs < relatedMs,
      );
      if (change === undefined) continue;
      const labels = { vip, peer };
      written.push({ labels, value: seconds(change.writtenAtMs - atMs) });
      if (change.ackedAtMs !== undefined) acked.push({ labels, value: seconds(change.ackedAtMs - atMs) });
    }
  }
  return [
    {
      name: 'l4d_vip_verdict_to_update_seconds',
      help: 'From the last health verdict that changed a route to its UPDATE written',
      type: 'gauge',
      samples: written,
    },
    {
      name: 'l4d_vip_verdict_to_ack_seconds',
      help: "The same to the acknowledgement of the router's TCP",
      type: 'gauge',
      samples: acked,
    },
  ];
}

function seconds(milliseconds: number): number {
  return Math.max(0, milliseconds) / 1000;
}
