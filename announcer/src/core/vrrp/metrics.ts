import type { MetricFamily } from '../metric-text.ts';
import type { VirtualRouterStatus, VrrpStatus } from './status.ts';

/** What the virtual routers count, as metrics. */
export function vrrpMetrics({ routers }: Pick<VrrpStatus, 'routers'>): MetricFamily[] {
  const labelsOf = ({ group, vrid, family }: VirtualRouterStatus) => ({ group, vrid: String(vrid), family });
  const family = (
    name: string,
    type: MetricFamily['type'],
    help: string,
    value: (router: VirtualRouterStatus) => number,
  ): MetricFamily => ({
    name,
    help,
    type,
    samples: routers.map((router) => ({ labels: labelsOf(router), value: value(router) })),
  });
  return [
    family(
      'l4d_vrrp_active',
      'gauge',
      'Whether this host is Active and answers for the addresses',
      ({ owning }) => (owning ? 1 : 0),
    ),
    family(
      'l4d_vrrp_priority',
      'gauge',
      'Priority of this host, its health taken into account',
      (router) => router.priority,
    ),
    family('l4d_vrrp_transitions_total', 'counter', 'Changes of state', ({ transitions }) => transitions),
    family(
      'l4d_vrrp_advertisements_sent_total',
      'counter',
      'Advertisements sent',
      (router) => router.packetsSent,
    ),
    family(
      'l4d_vrrp_advertisements_received_total',
      'counter',
      'Advertisements received',
      (router) => router.packetsReceived,
    ),
    {
      name: 'l4d_vrrp_dropped_total',
      help: 'Advertisements dropped, by reason',
      type: 'counter',
      samples: routers.flatMap((router) =>
        Object.entries(router.dropped).map(([reason, value]) => ({
          labels: { ...labelsOf(router), reason },
          value,
        })),
      ),
    },
  ];
}
