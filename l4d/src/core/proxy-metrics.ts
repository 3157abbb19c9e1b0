import type { MetricFamily } from '@l4d/announcer/core/metric-text.ts';
import type { ProxyStatus } from '@l4d/kit/proxy-api.ts';

type Sample = MetricFamily['samples'][number];

/** What the proxy and its workers count, as metrics; none while it does not answer. */
export function proxyMetrics(status: ProxyStatus | undefined): MetricFamily[] {
  if (status === undefined) return [];
  const { listeners, workers } = status;
  const one = (value: number): Sample[] => [{ labels: {}, value }];
  // Of one place, the worker that serves: the one before it may be draining beside it.
  const serving = workers.filter(({ state }) => state === 'serving');
  const byPlace = (value: (worker: ProxyStatus['workers'][number]) => number): Sample[] =>
    serving.map((worker) => ({ labels: { worker: String(worker.place) }, value: value(worker) }));
  const byVip = (value: (listener: ProxyStatus['listeners'][number]) => number): Sample[] =>
    listeners.map((listener) => ({ labels: { vip: listener.name }, value: value(listener) }));
  const byBackend = (value: (backend: ProxyStatus['listeners'][number]['backends'][number]) => number) =>
    listeners.flatMap(({ name, backends }) =>
      backends.map((backend): Sample => {
        const labels = { vip: name, backend: `${backend.address} port ${backend.port}` };
        return { labels, value: value(backend) };
      }),
    );
  const ofUdp = listeners.flatMap(({ name, datagrams }) =>
    datagrams === undefined ? [] : [{ name, datagrams }],
  );
  const byDirection = (from: 'received' | 'receivedBytes', to: 'sent' | 'sentBytes'): Sample[] =>
    ofUdp.flatMap(({ name, datagrams }) => [
      { labels: { vip: name, direction: 'from-clients' }, value: datagrams[from] },
      { labels: { vip: name, direction: 'to-clients' }, value: datagrams[to] },
    ]);
  return [
    gauge(
      'l4d_proxy_registered',
      'Whether connections are steered to workers',
      one(status.registered ? 1 : 0),
    ),
    gauge('l4d_proxy_workers_wanted', 'Workers wanted', one(status.wantedWorkers)),
    gauge('l4d_proxy_workers', 'Workers, by state', [
      { labels: { state: 'serving' }, value: serving.length },
      { labels: { state: 'draining' }, value: workers.length - serving.length },
    ]),
    counter('l4d_proxy_worker_deaths_total', 'Workers that died unasked', one(status.deaths)),
    gauge(
      'l4d_proxy_worker_connections',
      'Open connections of a worker',
      byPlace(({ activeConnections }) => activeConnections),
    ),
    counter(
      'l4d_proxy_worker_requests_total',
      'Requests of a worker since it was started',
      byPlace(({ requests }) => requests),
    ),
    gauge(
      'l4d_proxy_active_connections',
      'Open connections of clients',
      byVip(({ activeConnections }) => activeConnections),
    ),
    counter(
      'l4d_proxy_connections_total',
      'Connections let in',
      byVip(({ connections }) => connections),
    ),
    counter(
      'l4d_proxy_denied_total',
      'Connections refused by the access list',
      byVip(({ denied }) => denied),
    ),
    counter(
      'l4d_proxy_unserved_total',
      'Connections of modes beside http for which there was no route, or no backend',
      byVip(({ unserved }) => unserved),
    ),
    counter(
      'l4d_proxy_kernel_relays_total',
      'Tunnels that were left to the kernel',
      byVip(({ kernelRelays }) => kernelRelays),
    ),
    counter(
      'l4d_proxy_kernel_relays_refused_total',
      'Those that the kernel could not take, which stayed in the proxy',
      byVip(({ kernelRelaysRefused }) => kernelRelaysRefused),
    ),
    counter(
      'l4d_proxy_kernel_relays_over_limit_total',
      'Tunnels in the kernel that were reset because more waited than relayBytes',
      byVip(({ kernelRelaysOverLimit }) => kernelRelaysOverLimit),
    ),
    counter(
      'l4d_proxy_retries_total',
      'Further tries of requests and connections that a backend had failed',
      byVip(({ retries }) => retries),
    ),
    counter(
      'l4d_proxy_retries_refused_total',
      'Those that were not tried again for want of budget',
      byVip(({ retriesRefused }) => retriesRefused),
    ),
    counter(
      'l4d_proxy_source_refused_total',
      "Times that a backend was passed over because it cannot be spoken to from the client's address, by reason",
      listeners.flatMap(({ name, sourceRefused = {} }) =>
        Object.entries(sourceRefused).map(([reason, value]) => ({ labels: { vip: name, reason }, value })),
      ),
    ),
    counter(
      'l4d_proxy_unknown_connections_total',
      'Connections for an address and port without a listener',
      one(status.unknownConnections),
    ),
    counter(
      'l4d_proxy_requests_total',
      'Requests',
      byVip(({ requests }) => requests),
    ),
    counter(
      'l4d_proxy_responses_total',
      'Answers, by class of status',
      listeners.flatMap(({ name, responses }) =>
        Object.entries(responses).map(([kind, value]) => ({ labels: { vip: name, class: kind }, value })),
      ),
    ),
    counter(
      'l4d_proxy_datagrams_total',
      'Datagrams of UDP clients, from them and to them',
      byDirection('received', 'sent'),
    ),
    counter(
      'l4d_proxy_datagram_bytes_total',
      'Payload of those datagrams',
      byDirection('receivedBytes', 'sentBytes'),
    ),
    counter(
      'l4d_proxy_datagrams_dropped_total',
      'Datagrams that went no further, by reason',
      ofUdp.flatMap(({ name, datagrams }) =>
        Object.entries(datagrams.dropped).map(([reason, value]) => ({
          labels: { vip: name, reason },
          value,
        })),
      ),
    ),
    counter(
      'l4d_proxy_sessions_repicked_total',
      'UDP sessions that got another backend because nobody was there',
      ofUdp.map(({ name, datagrams }) => ({ labels: { vip: name }, value: datagrams.repicked })),
    ),
    counter(
      'l4d_proxy_sessions_evicted_total',
      'UDP sessions that ended for new ones',
      ofUdp.map(({ name, datagrams }) => ({ labels: { vip: name }, value: datagrams.evicted })),
    ),
    counter(
      'l4d_proxy_backend_requests_total',
      'Times that the backend was chosen',
      byBackend(({ requests }) => requests),
    ),
    counter(
      'l4d_proxy_backend_errors_total',
      'Times that it could not be reached, broke off, or answered wrongly or too late',
      byBackend(({ errors }) => errors),
    ),
  ];
}

function gauge(name: string, help: string, samples: readonly Sample[]): MetricFamily {
  return { name, help, type: 'gauge', samples };
}

function counter(name: string, help: string, samples: readonly Sample[]): MetricFamily {
  return { name, help, type: 'counter', samples };
}
