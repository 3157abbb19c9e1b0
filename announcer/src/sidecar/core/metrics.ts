import type { MetricFamily } from '../../core/metric-text.ts';
import type { SidecarStatus } from './status.ts';

const conditions = ['up', 'unknown', 'down', 'maintenance', 'stopping'] as const;

/** What a sidecar counts of its services, beside the announcer's own metrics. */
export function sidecarMetrics({ services }: SidecarStatus): MetricFamily[] {
  return [
    {
      name: 'l4d_sidecar_service_condition',
      help: '1 for the condition that the service is in',
      type: 'gauge',
      samples: services.flatMap(({ name, condition }) =>
        conditions.map((one) => ({
          labels: { service: name, condition: one },
          value: one === condition ? 1 : 0,
        })),
      ),
    },
    {
      name: 'l4d_sidecar_check_up',
      help: 'Whether the verdict of the check is good',
      type: 'gauge',
      samples: services.flatMap(({ name, checks }) =>
        checks.map(({ type, verdict }, index) => ({
          labels: { service: name, check: String(index), type },
          value: verdict === 'up' ? 1 : 0,
        })),
      ),
    },
    {
      name: 'l4d_sidecar_vip_routers',
      help: 'Routers that have been told of the VIP',
      type: 'gauge',
      samples: services.flatMap(({ name, vips }) =>
        vips.map(({ prefix, advertisedTo }) => ({
          labels: { service: name, prefix },
          value: advertisedTo.length,
        })),
      ),
    },
    {
      name: 'l4d_sidecar_address_error',
      help: 'Whether an address of the service cannot be set on lo, or taken off',
      type: 'gauge',
      samples: services.map(({ name, addressError }) => ({
        labels: { service: name },
        value: addressError === undefined ? 0 : 1,
      })),
    },
  ];
}
