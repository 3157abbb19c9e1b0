import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Peer } from './desired/peer.ts';
import type { PeerBfd } from './desired/peer-bfd.ts';
import type { Policy } from './desired/route-attributes.ts';
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
      ...peerNextHops(peer, nextHops),
      ...peerOptions(peer),
    })),
    prefixes: withAttributes(state.vips, prefixes),
  };
}

type PrefixInput = DesiredInput['prefixes'][number];
type PeerInput = DesiredInput['peers'][number];

/** VIPs that share an address agree on how it is announced: the first that says it says it for all. */
function withAttributes(vips: readonly Vip[], prefixes: readonly string[]): PrefixInput[] {
  const attributes = new Map<string, Omit<PrefixInput, 'prefix'>>();
  for (const { address, announce } of vips) {
    if (announce !== undefined) attributes.set(formatIpPrefix(hostPrefix(address)), announce);
  }
  return prefixes.map((prefix) => ({ prefix, ...attributes.get(prefix) }));
}

/** Without a next hop the announcer takes its own address on the session. */
function peerNextHops(peer: Peer, host: NextHops): Pick<PeerInput, 'nextHop4' | 'nextHop6'> {
  const given = (own: IpAddress | undefined, usual: string | undefined) =>
    own === undefined ? usual : formatIpAddress(own);
  const own = peer.nextHopSelf === true ? peer.address.family : undefined;
  const nextHop4 = own === 4 ? undefined : given(peer.nextHops?.ipv4, host.ipv4);
  const nextHop6 = own === 6 ? undefined : given(peer.nextHops?.ipv6, host.ipv6);
  return {
    ...(nextHop4 === undefined ? {} : { nextHop4 }),
    ...(nextHop6 === undefined ? {} : { nextHop6 }),
  };
}

/** Options by the announcer's names; what is not declared is left out. */
function peerOptions(peer: Peer): Partial<PeerInput> {
  const { restartTime, gracefulShutdown, delayOpen, idleHold, policy, bfd } = peer;
  const { password, ttlSecurityHops, promise, role, roleStrict, maxPrefixesReceived } = peer;
  const { extendedMessages, enhancedRouteRefresh, extendedNextHop } = peer;
  const named = { password, ttlSecurityHops, promise, role, roleStrict, maxPrefixesReceived };
  const options: Partial<PeerInput> = {
    ...named,
    extendedMessages,
    enhancedRouteRefresh,
    extendedNextHop,
    restartTimeMs: restartTime,
    gracefulShutdownMs: gracefulShutdown,
    delayOpenMs: delayOpen,
    idleHoldMs: idleHold,
    policy: policy === undefined ? undefined : announcerPolicy(policy),
    bfd: bfd === undefined ? undefined : announcerBfd(bfd),
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function announcerBfd({ txInterval, rxInterval, ...rest }: PeerBfd): NonNullable<PeerInput['bfd']> {
  return { txIntervalMs: txInterval, rxIntervalMs: rxInterval, ...rest };
}

function announcerPolicy({ allow, deny, ...attributes }: Policy): NonNullable<PeerInput['policy']> {
  return {
    ...attributes,
    ...(allow === undefined ? {} : { allow: allow.map(formatIpPrefix) }),
    ...(deny === undefined ? {} : { deny: deny.map(formatIpPrefix) }),
  };
}
