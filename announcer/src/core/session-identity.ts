import type { Desired, DesiredPeer } from './api.ts';

/** What of the local side is in every OPEN: another one ends all sessions. */
export function localKey({ local }: Desired): string {
  return `${local?.as} ${local?.routerId}`;
}

/** What of a peer cannot change under a running session; a password may change, but not come or go. */
export function sessionKey(peer: DesiredPeer): string {
  const {
    connectRetryMs,
    nextHop4,
    nextHop6,
    bfd,
    policy,
    gracefulShutdownMs,
    maxPrefixesReceived,
    password,
    passwordFile,
    ...rest
  } = peer;
  return JSON.stringify([password !== undefined, ...Object.entries(rest).sort()]);
}
