/** From the words of an operator to those of the announcer's API. */
import { formatIpAddress, type IpAddress, type IpFamily } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { DesiredInput } from '../api.ts';
import { formatPeerAddress, isLinkLocal } from '../peer-address.ts';
import type { DynamicPeers } from './dynamic-peer.ts';
import type { Peer } from './peer.ts';
import type { PeerBfd } from './peer-bfd.ts';
import type { Policy } from './route-attributes.ts';

/** Next hops of this host, by family; undefined where it has no address of that family. */
export interface NextHops {
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
}

type PeerInput = DesiredInput['peers'][number];

type InterfacePeerInput = NonNullable<DesiredInput['interfacePeers']>[number];
type DynamicPeersInput = NonNullable<DesiredInput['dynamicPeers']>[number];

/** Declared neighbours as `PUT /v1/desired` takes them. `nextHops` are those of the host, where a neighbour has none of its own. */
export function peersInput(
  peers: readonly Peer[],
  dynamicPeers: readonly DynamicPeers[],
  nextHops: NextHops,
): Pick<DesiredInput, 'peers' | 'interfacePeers' | 'dynamicPeers'> {
  const named: PeerInput[] = [];
  const unnumbered: InterfacePeerInput[] = [];
  for (const peer of peers) {
    const { port, mode } = peer;
    const isLocal = peer.address === undefined || isLinkLocal(peer.address);
    // Of a link of its own the host's next hops say nothing.
    const common = {
      port,
      mode,
      ...commonInput(peer, peer.address?.family ?? 6, isLocal ? noNextHops : nextHops),
    };
    if (peer.address !== undefined) named.push({ address: formatPeerAddress(peer.address), ...common });
    else if (peer.interface !== undefined) unnumbered.push({ interface: peer.interface, ...common });
  }
  const ranges = dynamicPeers.map(
    (peer): DynamicPeersInput => ({
      range: formatIpPrefix(peer.range),
      limit: peer.limit,
      template: commonInput(peer, peer.range.address.family, nextHops),
    }),
  );
  return {
    peers: named,
    ...(unnumbered.length === 0 ? {} : { interfacePeers: unnumbered }),
    ...(ranges.length === 0 ? {} : { dynamicPeers: ranges }),
  };
}

const noNextHops: NextHops = { ipv4: undefined, ipv6: undefined };

/** All of a neighbour but where it is and who opens the session. */
type CommonPeer = Omit<Peer, 'address' | 'interface' | 'port' | 'mode'>;

function commonInput(peer: CommonPeer, family: IpFamily, nextHops: NextHops): DynamicPeersInput['template'] {
  return {
    as: peer.as,
    holdTimeMs: peer.holdTime,
    connectRetryMs: peer.connectRetry,
    families: [...peer.families],
    ...(peer.localAddress === undefined ? {} : { localAddress: formatIpAddress(peer.localAddress) }),
    ...peerNextHops(peer, family, nextHops),
    ...peerOptions(peer),
  };
}

/** Without a next hop the announcer takes its own address on the session. */
function peerNextHops(
  peer: CommonPeer,
  family: IpFamily,
  host: NextHops,
): Pick<PeerInput, 'nextHop4' | 'nextHop6'> {
  const given = (own: IpAddress | undefined, usual: string | undefined) =>
    own === undefined ? usual : formatIpAddress(own);
  const own = peer.nextHopSelf === true ? family : undefined;
  const nextHop4 = own === 4 ? undefined : given(peer.nextHops?.ipv4, host.ipv4);
  const nextHop6 = own === 6 ? undefined : given(peer.nextHops?.ipv6, host.ipv6);
  return {
    ...(nextHop4 === undefined ? {} : { nextHop4 }),
    ...(nextHop6 === undefined ? {} : { nextHop6 }),
  };
}

/** Options by the announcer's names; what is not declared is left out. */
function peerOptions(peer: CommonPeer): Partial<DynamicPeersInput['template']> {
  const { restartTime, longLivedGracefulRestart, gracefulShutdown, delayOpen, idleHold, policy, bfd } = peer;
  const { password, ttlSecurityHops, promise, role, roleStrict, maxPrefixesReceived } = peer;
  const { extendedMessages, enhancedRouteRefresh, extendedNextHop } = peer;
  const { passwordFile, tcpAo, ttl, extendedOptionalParameters, addPath } = peer;
  const named = { password, ttlSecurityHops, promise, role, roleStrict, maxPrefixesReceived };
  const options: Partial<DynamicPeersInput['template']> = {
    ...named,
    passwordFile,
    tcpAo,
    ttl,
    extendedOptionalParameters,
    addPath,
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
