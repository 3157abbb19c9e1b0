import { metricText } from '@l4d/announcer/core/metric-text.ts';
import { proxyStatusSchema } from '@l4d/kit/proxy-api.ts';
import { expect, it } from 'vitest';
import { proxyMetrics } from './proxy-metrics.ts';

const worker = { startedAt: '2026-01-01T00:00:00Z', activeConnections: 3, connections: 10, requests: 70 };

it('tells workers by place, a draining one apart, and VIPs over all workers', () => {
  const text = metricText(
    proxyMetrics(
      proxyStatusSchema.parse({
        ...{ pid: 1, startedAt: worker.startedAt, revision: 1, registered: true, unknownConnections: 5 },
        ...{ wantedWorkers: 2, deaths: 1 },
        workers: [
          { ...worker, place: 0, pid: 2, state: 'draining' },
          { ...worker, place: 0, pid: 4, state: 'serving', requests: 5 },
          { ...worker, place: 1, pid: 3, state: 'serving' },
        ],
        listeners: [
          {
            ...{ name: 'web', address: '203.0.113.1', port: 80, activeConnections: 6, connections: 20 },
            ...{
              denied: 2,
              unserved: 7,
              kernelRelays: 3,
              kernelRelaysRefused: 2,
              kernelRelaysOverLimit: 1,
              retries: 5,
              retriesRefused: 4,
              sourceRefused: { subnet: 4 },
              requests: 140,
              responses: { '2xx': 139, '5xx': 1 },
            },
            backends: [{ address: '10.0.0.1', port: 8080, requests: 141, errors: 1 }],
          },
        ],
      }),
    ),
  );
  for (const line of [
    'l4d_proxy_registered 1',
    'l4d_proxy_workers_wanted 2',
    'l4d_proxy_workers{state="draining"} 1',
    'l4d_proxy_worker_deaths_total 1',
    'l4d_proxy_worker_requests_total{worker="0"} 5',
    'l4d_proxy_worker_connections{worker="1"} 3',
    'l4d_proxy_requests_total{vip="web"} 140',
    'l4d_proxy_unserved_total{vip="web"} 7',
    'l4d_proxy_kernel_relays_total{vip="web"} 3',
    'l4d_proxy_kernel_relays_refused_total{vip="web"} 2',
    'l4d_proxy_kernel_relays_over_limit_total{vip="web"} 1',
    'l4d_proxy_retries_total{vip="web"} 5',
    'l4d_proxy_retries_refused_total{vip="web"} 4',
    'l4d_proxy_source_refused_total{vip="web",reason="subnet"} 4',
    'l4d_proxy_unknown_connections_total 5',
    'l4d_proxy_responses_total{vip="web",class="5xx"} 1',
    'l4d_proxy_backend_errors_total{vip="web",backend="10.0.0.1 port 8080"} 1',
  ])
    expect(text.split('\n')).toContain(line);
  expect(proxyMetrics(undefined)).toEqual([]);
});
