import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Vip } from './desired/vip.ts';
import type { DesiredState } from './desired-state.ts';

/** Next hops of this host, by family; undefined where it has no address of that family. */
export interface NextHops {
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
}

/** Owner name and dead-man time with which the daemon speaks to its announcer. */
const owner = 'l4d';
const deadManMs = 300_000;

/**
 * The host prefixes of VIPs that are announced. VIPs that share an address share its fate: it is
 * announced while any of them is.
 */
export function announcedPrefixes(announced: readonly Vip[]): string[] {
  return [...new Set(announced.map((vip) => formatIpPrefix(hostPrefix(vip.address))))].sort();
}

/** The body of the announcer's `PUT /v1/desired`; undefined when BGP is not declared. */
export function announcerDesired(
  state: DesiredState,
  prefixes: readonly string[],
  nextHops: NextHops,
): DesiredInput | undefined {
  const { bgp } = state.host;
  if (bgp === undefined) return undefined;
  return {
    owner,
    deadManMs,
    local: {
      as: bgp.as,
      routerId: formatIpAddress(bgp.routerId),
      listen: bgp.listen ? { port: bgp.listenPort } : false,
    },
    peers: state.peers.map((peer) => ({
      address: formatIpAddress(peer.address),
      port: peer.port,
      as: peer.as,
      holdTimeMs: peer.holdTime,
      connectRetryMs: peer.connectRetry,
      mode: peer.mode,
      families: [...peer.families],
      ...(peer.localAddress === undefined ? {} : { localAddress: formatIpAddress(peer.localAddress) }),
      ...(nextHops.ipv4 === undefined ? {} : { nextHop4: nextHops.ipv4 }),
      ...(nextHops.ipv6 === undefined ? {} : { nextHop6: nextHops.ipv6 }),
    })),
    prefixes: prefixes.map((prefix) => ({ prefix })),
  };
}
