import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { viaNamePattern } from '@l4d/kit/proxy-api.ts';
import { proxyProtocols } from '@l4d/kit/proxy-protocol.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { choice, durationText, flag, ipPrefixText, list, text } from '@l4d/kit/schema/scalars.ts';
import { vipSourceFields } from './vip-source.ts';

/** How the proxy learns of an l7 VIP's clients, and how it tells backends; fields of a VIP. */
export const vipClientFields = {
  /** l7 only: proxies in front whose word about their clients counts. */
  trustedProxies: list(ipPrefixText, 'prefixes').exactOptional(),
  /** l7 only: their connections begin with a PROXY header. */
  acceptProxyProtocol: flag().exactOptional(),
  /** l7 only: backends get a Forwarded field (RFC 7239) beside X-Forwarded-For. */
  forwardedHeader: flag().exactOptional(),
  /** l7 only, mode http: backends get a Via field (RFC 9110 section 7.6.3) with this name. */
  via: text(
    'a name for Via',
    viaNamePattern,
    '1 to 64 letters, digits, dots, hyphens and underscores, such as edge-1',
  ).exactOptional(),
  /** l7 only, mode http: how long a connection may be without a request; `15s` by default. */
  keepAliveTimeout: durationText(Milliseconds(100), Seconds(86_400)).exactOptional(),
  /** l7 only: connections to backends begin with a PROXY header of this version. */
  proxyProtocol: choice('a version of the PROXY protocol', proxyProtocols).exactOptional(),
  ...vipSourceFields,
};

/** Names of those fields. */
export const vipClientFieldNames = [
  'trustedProxies',
  'acceptProxyProtocol',
  'forwardedHeader',
  'via',
  'keepAliveTimeout',
  'proxyProtocol',
  'source',
  'sourceProbes',
] as const;

/** Rules over those fields of an l7 VIP. */
export function checkVipClients(
  vip: {
    readonly mode?: string;
    readonly trustedProxies?: readonly unknown[];
    readonly acceptProxyProtocol?: boolean;
    readonly forwardedHeader?: boolean;
    readonly via?: string;
    readonly keepAliveTimeout?: number;
    readonly proxyProtocol?: string;
  },
  at: readonly PathSegment[],
): PathProblem[] {
  const { mode = 'http', acceptProxyProtocol = false } = vip;
  const problems: PathProblem[] = [];
  if (mode !== 'http' && vip.forwardedHeader === true) {
    problems.push(
      problemAt(
        [...at, 'forwardedHeader'],
        `is allowed for mode http only: there are no requests in mode ${mode}`,
        'proxyProtocol tells backends of clients in modes tcp and tls-passthrough',
      ),
    );
  }
  if (mode !== 'http' && vip.via !== undefined) {
    problems.push(
      problemAt([...at, 'via'], `is allowed for mode http only: there are no requests in mode ${mode}`),
    );
  }
  if (mode !== 'http' && vip.keepAliveTimeout !== undefined) {
    problems.push(
      problemAt(
        [...at, 'keepAliveTimeout'],
        `is allowed for mode http only: there are no requests in mode ${mode}`,
        'idleTimeout says how long a relay may be silent',
      ),
    );
  }
  if (vip.proxyProtocol !== undefined && (mode === 'connect' || mode === 'socks')) {
    problems.push(
      problemAt(
        [...at, 'proxyProtocol'],
        `is not allowed for mode ${mode}: where its clients go does not expect a PROXY header`,
      ),
    );
  }
  if (mode !== 'http' && vip.trustedProxies !== undefined && !acceptProxyProtocol) {
    problems.push(
      problemAt(
        [...at, 'trustedProxies'],
        `there are no requests in mode ${mode} in which they could speak for clients (allowed: with acceptProxyProtocol)`,
      ),
    );
  }
  if (!acceptProxyProtocol || (vip.trustedProxies ?? []).length > 0) return problems;
  return [
    ...problems,
    problemAt(
      [...at, 'acceptProxyProtocol'],
      'is set, but trustedProxies is empty (allowed: with at least one prefix there)',
      'name the addresses of the proxies in front: anybody else could claim to be any client',
    ),
  ];
}
