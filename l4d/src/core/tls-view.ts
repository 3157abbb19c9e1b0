import type { ProxyStatus } from '@l4d/kit/proxy-api.ts';

/** TLS of a VIP as the proxy tells it: files, certificates, counts. */
export type VipTlsStatus = NonNullable<ProxyStatus['listeners'][number]['tls']>;

const dayMs = 86_400_000;
/** A certificate is told of so long before its end: whoever renews by itself has done it by then. */
export const expiryWarningDays = 14;

/** What an operator has to do about the TLS of a VIP, a sentence each. `nowMs` is epoch time. */
export function tlsWarnings(vip: string, tls: VipTlsStatus, nowMs: number): string[] {
  const ends = tls.certificates.flatMap(({ path, notAfter }) => {
    const left = Date.parse(notAfter) - nowMs;
    if (left > expiryWarningDays * dayMs) return [];
    return left <= 0
      ? [`VIP ${vip}: ${path} has expired on ${notAfter}`]
      : [`VIP ${vip}: ${path} expires in ${Math.floor(left / dayMs)} days, on ${notAfter}`];
  });
  const kept = tls.serving ? 'what was read before stays in force' : 'nothing is served';
  return [
    ...(tls.problem === undefined ? [] : [`VIP ${vip}: TLS files refused, ${kept}: ${tls.problem}`]),
    ...tls.warnings.map((warning) => `VIP ${vip}: ${warning}`),
    ...ends,
  ];
}
