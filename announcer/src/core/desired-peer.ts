/** What follows from a peer as it is declared. */
import { Milliseconds } from '@l4d/kit/duration.ts';
import type { DesiredPeer } from './api.ts';
import { defaultRestartTimeSeconds } from './session-options.ts';

/** Hold time in the whole seconds of the wire. */
export function holdTimeSeconds(peer: DesiredPeer): number {
  return Math.ceil(peer.holdTimeMs / 1000);
}

/** The connect-retry time as a duration. */
export function connectRetry(peer: DesiredPeer) {
  return Milliseconds(peer.connectRetryMs);
}

/** What graceful restart promises the peer; undefined with `fast`. */
export function restartTimeSeconds(peer: DesiredPeer): number | undefined {
  if (peer.promise !== 'continuity') return undefined;
  return peer.restartTimeMs === undefined ? defaultRestartTimeSeconds : Math.ceil(peer.restartTimeMs / 1000);
}

/** What a peer is called: its interface, or its address as declared. */
export function peerName(peer: DesiredPeer): string {
  return peer.interface ?? peer.address;
}
