/** From the words of an operator to those of the announcer's API. */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { DesiredInput } from '../api.ts';
import type { Peer } from './peer.ts';
import type { PeerBfd } from './peer-bfd.ts';
import type { Policy } from './route-attributes.ts';

/** Next hops of this host, by family; undefined where it has no address of that family. */
export interface NextHops {
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
}

type PeerInput = DesiredInput['peers'][number];

/** A declared neighbour as `PUT /v1/desired` takes it. `nextHops` are those of the host, where the neighbour has none of its own. */
export function peerInput(peer: Peer, nextHops: NextHops): PeerInput {
  return {
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
  };
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
  const { restartTime, longLivedGracefulRestart, gracefulShutdown, delayOpen, idleHold, policy, bfd } = peer;
  const { password, ttlSecurityHops, promise, role, roleStrict, maxPrefixesReceived } = peer;
  const { extendedMessages, enhancedRouteRefresh, extendedNextHop } = peer;
  const named = { password, ttlSecurityHops, promise, role, roleStrict, maxPrefixesReceived };
  const options: Partial<PeerInput> = {
    ...named,
    extendedMessages,
    enhancedRouteRefresh,
    extendedNextHop,
    restartTimeMs: restartTime,
    longLivedGracefulRestartMs: longLivedGracefulRestart,
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
