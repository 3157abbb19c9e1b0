import type { ChangesAnswer } from '@l4d/announcer/core/latency.ts';
import { routePrefix } from '../core/announced-routes.ts';
import type { ControlPort } from '../core/control-port.ts';
import { vipKeyText } from '../core/desired/vip.ts';
import { proxyHostMetrics } from '../core/proxy-host-metrics.ts';
import { proxyMetrics } from '../core/proxy-metrics.ts';
import { tlsMetrics } from '../core/tls-metrics.ts';
import { verdictLatency } from '../core/verdict-latency.ts';
import { vipMetrics } from '../core/vip-metrics.ts';
import { hostStatus, type StatusParts, showVips } from './fabric-status.ts';
import { hostMetrics } from './metrics.ts';

/** What `/metrics` is made of. */
export interface MetricsParts extends StatusParts {
  /** When a check last changed its verdict, by VIP: epoch milliseconds. */
  readonly verdictTimes: ReadonlyMap<string, number>;
  readonly askAnnouncer: ControlPort['askAnnouncer'];
}

/** `GET /metrics`: between its parts whatever else waits has its turn. */
export async function* metricsText(parts: MetricsParts): AsyncGenerator<string> {
  const answer = await parts.askAnnouncer('GET', '/v1/changes');
  const changes = answer?.status === 200 ? (answer.body as ChangesAnswer) : { changes: [] };
  const { vips, host } = parts.desired();
  const latest = changes.changes.length === 0 ? [] : vips;
  const verdicts = latest.flatMap((vip) => {
    const atMs = parts.verdictTimes.get(vipKeyText(vip));
    const prefix = routePrefix(vip.address, host.bgp?.aggregates ?? []);
    return atMs === undefined ? [] : [{ vip: vip.name, prefix, atMs }];
  });
  const proxy = parts.proxy();
  yield await hostMetrics(hostStatus(parts), [
    ...verdictLatency(verdicts, changes),
    ...tlsMetrics(proxy?.listeners ?? []),
    ...proxyMetrics(proxy),
    ...proxyHostMetrics(parts.proxyHosts.view()),
  ]);
  const show = showVips(parts);
  const { forwarding } = parts.dataPlane;
  const text = vipMetrics({
    vips,
    shown(vip) {
      const view = parts.fabric.view(vip);
      if (view === undefined) return undefined;
      const { announced, verdict } = show(view);
      return { announced, code: verdict.code };
    },
    up: (vip) => (parts.fabric.view(vip)?.conditions ?? []).map(({ shown }) => shown === 'up'),
    returnPath: (vip, backend) =>
      parts.checker.status(parts.facts.checkKeyOf(vip, backend))?.history.at(-1)?.returnPath,
    activeFlows: (vip, backend) => forwarding.activeFlows(vipKeyText(vip), backend.address),
    counters: forwarding.counters(),
  });
  for (const part of text) {
    yield part;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
