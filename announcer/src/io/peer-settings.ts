/** From the desired state's texts to what state machine, sockets and routes of a peer need. */

import { networkInterfaces } from 'node:os';
import { Milliseconds } from '@l4d/kit/duration.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { DesiredLocal, DesiredPeer } from '../core/api.ts';
import { connectRetry, holdTimeSeconds, restartTimeSeconds } from '../core/desired-peer.ts';
import { dynamicOpenHoldTime, minimumSendHoldTime } from '../core/fsm.ts';
import type { PeerSettings } from '../core/fsm-types.ts';
import type { Negotiated } from '../core/negotiation.ts';
import type { SessionView } from '../core/out-routes.ts';
import { isLinkLocal, parseScopedAddress, toAddress } from '../core/peer-address.ts';
import { toPeerPolicy } from '../core/route-policy.ts';
import type { TcpAoKey } from '../core/security.ts';
import type { TcpOptions } from './tcp.ts';

/** Settings of the state machine. */
export function peerSettings(local: DesiredLocal, peer: DesiredPeer): PeerSettings {
  return {
    localAs: local.as,
    routerId: routerIdNumber(local.routerId),
    peerAs: peer.as === 'internal' ? local.as : peer.as,
    holdTimeSeconds: holdTimeSeconds(peer),
    families: peer.families,
    mode: peer.mode,
    connectRetry: connectRetry(peer),
    bfdStrict: peer.bfd?.strict ?? false,
    ...(peer.fromRange ? { openWait: dynamicOpenHoldTime } : {}),
    ...sessionOptions(peer),
  };
}

/** Options that are there only when they are on. */
function sessionOptions(peer: DesiredPeer): Partial<PeerSettings> {
  const restartTime = restartTimeSeconds(peer);
  return {
    ...(restartTime === undefined ? {} : { restartTimeSeconds: restartTime }),
    ...(restartTime === undefined || peer.longLivedGracefulRestartMs === undefined
      ? {}
      : { longLivedSeconds: Math.ceil(peer.longLivedGracefulRestartMs / 1000) }),
    ...(peer.extendedMessages ? { extendedMessages: true } : {}),
    ...(peer.enhancedRouteRefresh ? { enhancedRouteRefresh: true } : {}),
    ...(peer.extendedOptionalParameters ? { extendedOptionalParameters: true } : {}),
    ...(wantsExtendedNextHop(peer) ? { extendedNextHop: true } : {}),
    ...(peer.addPath ? { addPath: true } : {}),
    ...(peer.role === undefined ? {} : { role: peer.role, roleStrict: peer.roleStrict ?? false }),
    ...(peer.delayOpenMs ? { delayOpen: Milliseconds(peer.delayOpenMs) } : {}),
    ...(peer.idleHoldMs ? { idleHold: Milliseconds(peer.idleHoldMs) } : {}),
  };
}

/** A link-local session has no IPv4 next hop of its own: RFC 8950 is asked for unless it is declared off. */
function wantsExtendedNextHop(peer: DesiredPeer): boolean {
  const address = toAddress(peer.address);
  return peer.extendedNextHop ?? (address !== undefined && isLinkLocal(address));
}

/** How routes look on a session whose own end has the address `localAddress`. */
export function sessionView(
  local: DesiredLocal,
  peer: DesiredPeer,
  negotiated: Negotiated,
  localAddress: string | undefined,
  shuttingDown = false,
): SessionView {
  const own = parseScopedAddress(localAddress ?? '');
  const ownAddress = own.ok ? own.value.address : undefined;
  const nextHop4 = toAddress(peer.nextHop4) ?? (ownAddress?.family === 4 ? ownAddress : undefined);
  const isLocal = ownAddress !== undefined && isLinkLocal(ownAddress);
  const global =
    isLocal && peer.nextHop6 === undefined ? globalAddressOf(own.ok ? own.value.zone : '') : undefined;
  const peerAddress = toAddress(peer.address);
  const nextHop6 = toAddress(peer.nextHop6) ?? global ?? (ownAddress?.family === 6 ? ownAddress : undefined);
  return {
    localAs: local.as,
    internal: negotiated.internal,
    fourOctetAs: negotiated.fourOctetAs,
    families: negotiated.families,
    ...(peerAddress === undefined ? {} : { peerAddress }),
    ...(nextHop4 === undefined ? {} : { nextHop4 }),
    ...(nextHop6 === undefined ? {} : { nextHop6 }),
    ...(global === undefined || ownAddress === undefined ? {} : { linkLocal: ownAddress }),
    ...(negotiated.extendedNextHop ? { extendedNextHop: true } : {}),
    ...(negotiated.addPath === undefined ? {} : { pathFamilies: negotiated.addPath }),
    ...(peer.role === undefined ? {} : { role: peer.role }),
    ...(peer.policy === undefined ? {} : { policy: toPeerPolicy(peer.policy) }),
    ...(shuttingDown ? { shuttingDown } : {}),
  };
}

/** The first global IPv6 address of an interface; undefined where there is none. */
function globalAddressOf(zone: string | undefined): IpAddress | undefined {
  const found = networkInterfaces()[zone ?? '']?.find(
    ({ family, scopeid, internal }) => family === 'IPv6' && scopeid === 0 && !internal,
  );
  return toAddress(found?.address);
}

function routerIdNumber(text: string): number {
  const address = toAddress(text);
  return address === undefined
    ? 0
    : new DataView(address.bytes.buffer, address.bytes.byteOffset).getUint32(0);
}

/** How the peer's TCP connections are made. */
export function tcpOptions(local: DesiredLocal, peer: DesiredPeer): TcpOptions {
  const address = toAddress(peer.address);
  if (address === undefined) throw new TypeError(`"${peer.address}" is not an address`);
  const localAddress = toAddress(peer.localAddress);
  const scoped = parseScopedAddress(peer.address);
  const zone = scoped.ok ? scoped.value.zone : undefined;
  const tcpAo = tcpAoKey(peer);
  const isInternal = peer.as === 'internal' || local.as === peer.as;
  return {
    address,
    ...(zone === undefined ? {} : { zone }),
    port: peer.port,
    ttl: peer.ttlSecurityHops === undefined ? (peer.ttl ?? (isInternal || peer.bfd?.multihop ? 64 : 1)) : 255,
    // RFC 5082 section 3: sent with 255, and received with no less than 255 less the hops between.
    ...(peer.ttlSecurityHops === undefined ? {} : { minimumTtl: 256 - peer.ttlSecurityHops }),
    ...(peer.password === undefined ? {} : { password: peer.password }),
    ...(tcpAo === undefined ? {} : { tcpAo }),
    // What the peer does not acknowledge for a hold time is lost to it; the hold timer says the same for us. Without a
    // hold time the kernel would go on for a quarter of an hour.
    userTimeoutMs: peer.holdTimeMs === 0 ? minimumSendHoldTime : peer.holdTimeMs,
    ...(localAddress === undefined ? {} : { localAddress }),
  };
}

/** The TCP-AO key of a peer whose secrets are known. */
export function tcpAoKey({ tcpAo }: Pick<DesiredPeer, 'tcpAo'>): TcpAoKey | undefined {
  if (tcpAo?.key === undefined) return undefined;
  const { key, sendId, receiveId, algorithm } = tcpAo;
  return { key, sendId, receiveId, algorithm };
}
