/** From the desired state's texts to what state machine, sockets and routes of a peer need. */

import { Milliseconds } from '@l4d/kit/duration.ts';
import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import {
  connectRetry,
  type Desired,
  type DesiredPeer,
  holdTimeSeconds,
  restartTimeSeconds,
  toAddress,
} from '../core/api.ts';
import type { PeerSettings } from '../core/fsm-types.ts';
import type { Negotiated } from '../core/negotiation.ts';
import type { SessionView } from '../core/out-routes.ts';
import { toPeerPolicy } from '../core/route-policy.ts';
import type { TcpOptions } from './tcp.ts';

/** Settings of the state machine. */
export function peerSettings(local: Desired['local'], peer: DesiredPeer): PeerSettings {
  return {
    localAs: local.as,
    routerId: routerIdNumber(local.routerId),
    peerAs: peer.as,
    holdTimeSeconds: holdTimeSeconds(peer),
    families: peer.families,
    mode: peer.mode,
    connectRetry: connectRetry(peer),
    bfdStrict: peer.bfd?.strict ?? false,
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
    ...(peer.extendedNextHop ? { extendedNextHop: true } : {}),
    ...(peer.addPath ? { addPath: true } : {}),
    ...(peer.role === undefined ? {} : { role: peer.role, roleStrict: peer.roleStrict ?? false }),
    ...(peer.delayOpenMs ? { delayOpen: Milliseconds(peer.delayOpenMs) } : {}),
    ...(peer.idleHoldMs ? { idleHold: Milliseconds(peer.idleHoldMs) } : {}),
  };
}

/** How routes look on a session whose own end has the address `localAddress`. */
export function sessionView(
  local: Desired['local'],
  peer: DesiredPeer,
  negotiated: Negotiated,
  localAddress: string | undefined,
  shuttingDown = false,
): SessionView {
  const own = parseIpAddress(localAddress ?? '');
  const ownAddress = own.ok ? own.value : undefined;
  const nextHop4 = toAddress(peer.nextHop4) ?? (ownAddress?.family === 4 ? ownAddress : undefined);
  const nextHop6 = toAddress(peer.nextHop6) ?? (ownAddress?.family === 6 ? ownAddress : undefined);
  return {
    localAs: local.as,
    internal: negotiated.internal,
    fourOctetAs: negotiated.fourOctetAs,
    families: negotiated.families,
    ...(nextHop4 === undefined ? {} : { nextHop4 }),
    ...(nextHop6 === undefined ? {} : { nextHop6 }),
    ...(negotiated.extendedNextHop ? { extendedNextHop: true } : {}),
    ...(negotiated.addPath === undefined ? {} : { pathFamilies: negotiated.addPath }),
    ...(peer.role === undefined ? {} : { role: peer.role }),
    ...(peer.policy === undefined ? {} : { policy: toPeerPolicy(peer.policy) }),
    ...(shuttingDown ? { shuttingDown } : {}),
  };
}

function routerIdNumber(text: string): number {
  const address = toAddress(text);
  return address === undefined
    ? 0
    : new DataView(address.bytes.buffer, address.bytes.byteOffset).getUint32(0);
}

/** How the peer's TCP connections are made. */
export function tcpOptions(local: Desired['local'], peer: DesiredPeer): TcpOptions {
  const address = toAddress(peer.address);
  if (address === undefined) throw new TypeError(`"${peer.address}" is not an address`);
  const localAddress = toAddress(peer.localAddress);
  return {
    address,
    port: peer.port,
    ttl: peer.ttlSecurityHops === undefined ? (peer.ttl ?? (local.as === peer.as ? 64 : 1)) : 255,
    // RFC 5082 section 3: sent with 255, and received with no less than 255 less the hops between.
    ...(peer.ttlSecurityHops === undefined ? {} : { minimumTtl: 256 - peer.ttlSecurityHops }),
    ...(peer.password === undefined ? {} : { password: peer.password }),
    ...(peer.tcpAo === undefined ? {} : { tcpAo: peer.tcpAo }),
    // What the peer does not acknowledge for a hold time is lost to it; the hold timer says the same for us.
    userTimeoutMs: peer.holdTimeMs,
    ...(localAddress === undefined ? {} : { localAddress }),
  };
}
