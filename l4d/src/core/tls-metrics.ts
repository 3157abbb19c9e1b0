import type { MetricFamily } from '@l4d/announcer/core/metric-text.ts';
import type { VipTlsStatus } from './tls-view.ts';

/** Metrics of the TLS of l7 VIPs. */
export function tlsMetrics(
  vips: readonly { readonly name: string; readonly tls?: VipTlsStatus | undefined }[],
): readonly MetricFamily[] {
  const withTls = vips.flatMap(({ name, tls }) => (tls === undefined ? [] : [{ vip: name, tls }]));
  if (withTls.length === 0) return [];
  const each = <Value>(pick: (tls: VipTlsStatus) => Readonly<Record<string, Value>>, label: string) =>
    withTls.flatMap(({ vip, tls }) =>
      Object.entries(pick(tls)).map(([key, value]) => ({ labels: { vip, [label]: key }, value })),
    );
  const one = (pick: (tls: VipTlsStatus) => number) =>
    withTls.map(({ vip, tls }) => ({ labels: { vip }, value: pick(tls) }));
  const seconds = (time: string) => Date.parse(time) / 1000;
  return [
    {
      name: 'l4d_tls_certificate_not_after_seconds',
      help: 'End of the certificate in force, Unix time',
      type: 'gauge',
      samples: each(
        ({ certificates }) =>
          Object.fromEntries(certificates.map(({ path, notAfter }) => [path, seconds(notAfter)])),
        'certificate',
      ),
    },
    {
      name: 'l4d_tls_ocsp_next_update_seconds',
      help: 'Until when the OCSP response beside the certificate is good, Unix time',
      type: 'gauge',
      samples: each(
        ({ certificates }) =>
          Object.fromEntries(
            certificates.flatMap(({ path, ocspNextUpdate }) =>
              ocspNextUpdate === undefined ? [] : [[path, seconds(ocspNextUpdate)]],
            ),
          ),
        'certificate',
      ),
    },
    {
      name: 'l4d_tls_files_refused',
      help: 'Whether the files as they are now are not in force',
      type: 'gauge',
      samples: one(({ problem }) => (problem === undefined ? 0 : 1)),
    },
    {
      name: 'l4d_tls_reloads_total',
      help: 'Changes of files that were taken',
      type: 'counter',
      samples: one(({ reloads }) => reloads),
    },
    {
      name: 'l4d_tls_failed_reloads_total',
      help: 'Changes of files that were refused',
      type: 'counter',
      samples: one(({ failedReloads }) => failedReloads),
    },
    {
      name: 'l4d_tls_handshakes_total',
      help: 'Handshakes that were done',
      type: 'counter',
      samples: each(({ handshakes }) => handshakes, 'version'),
    },
    {
      name: 'l4d_tls_resumed_total',
      help: 'Handshakes that resumed a session',
      type: 'counter',
      samples: one(({ resumed }) => resumed),
    },
    {
      name: 'l4d_tls_handshake_failures_total',
      help: 'Handshakes that failed',
      type: 'counter',
      samples: each(({ failures }) => failures, 'reason'),
    },
  ];
}
