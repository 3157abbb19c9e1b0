import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { duplicates } from '@l4d/kit/schema/duplicates.ts';
import { type PathProblem, problemAt } from '@l4d/kit/schema/problem.ts';
import type { HostProxy } from './host-proxy.ts';
import type { Vip } from './vip.ts';

/** Hosts that share connections are told apart by their addresses, none of which is a VIP; one takes new connections. */
export function checkProxyHosts({ hosts = [] }: HostProxy, vips: readonly Vip[]): PathProblem[] {
  const at = ['host', 'proxy', 'hosts'];
  const vipTexts = new Set(vips.map(({ address }) => formatIpAddress(address)));
  return [
    ...duplicates(
      hosts,
      ({ address }) => formatIpAddress(address),
      ({ address }, first) =>
        problemAt(
          ['host', 'proxy', ...first.at],
          `${formatIpAddress(address)} is already hosts[${first.index}]`,
        ),
      'hosts',
    ),
    ...hosts.flatMap(({ address }, index) =>
      vipTexts.has(formatIpAddress(address))
        ? [
            problemAt(
              [...at, index, 'address'],
              `${formatIpAddress(address)} is a VIP (allowed: the hosts' own addresses)`,
            ),
          ]
        : [],
    ),
    ...(hosts.length > 0 && hosts.every(({ state }) => state === 'draining')
      ? [problemAt(at, 'are all draining (allowed: at least one that is active or joining)')]
      : []),
  ];
}
