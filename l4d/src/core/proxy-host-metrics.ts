import type { MetricFamily } from '@l4d/announcer/core/metric-text.ts';
import type { ProxyHostView } from './status.ts';

/** The hosts that share connections of l7 VIPs, as metrics; none without any. */
export function proxyHostMetrics(hosts: readonly ProxyHostView[] = []): MetricFamily[] {
  if (hosts.length === 0) return [];
  const gauge = (name: string, help: string, value: (host: ProxyHostView) => number | undefined) => ({
    name,
    help,
    type: 'gauge' as const,
    samples: hosts.flatMap((host) => {
      const one = value(host);
      return one === undefined ? [] : [{ labels: { address: host.address }, value: one }];
    }),
  });
  return [
    gauge('l4d_proxy_host_up', 'Whether a host that shares proxied connections answers', ({ isLive }) =>
      isLive ? 1 : 0,
    ),
    gauge('l4d_proxy_host_share', 'Its share of new connections, 0 to 1', ({ share }) => share),
    gauge(
      'l4d_proxy_host_tunnel_mtu_bytes',
      'MTU of the tunnel to it, in another subnet',
      ({ tunnelMtu }) => tunnelMtu,
    ),
  ];
}
