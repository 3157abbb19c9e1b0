import type { DesiredPeer } from '../core/api.ts';
import { bfdSession } from '../core/bfd/bfd-option.ts';
import type { BfdStatus } from '../core/bfd/session-config.ts';
import { restartTimeSeconds } from '../core/desired-peer.ts';
import { canonicalAddress } from '../core/peer-address.ts';
import type { BfdListener, BfdService, BfdWatch } from './bfd/service.ts';
import type { PeerRecording } from './peer-recording.ts';

/** A peer's BFD session, while its configuration wants one. */
export interface PeerBfd {
  /** Wants, changes or lets go the session, as configured. */
  follow(config: DesiredPeer): void;
  release(): void;
  /** Forgets it without letting go: a successor wants it. */
  forget(): void;
  status(): BfdStatus | undefined;
}

/** Without a session; without `service` there never is one. */
export function createPeerBfd(
  service: BfdService | undefined,
  onVerdict: BfdListener,
  onTrail: PeerRecording['bfd'],
): PeerBfd {
  let watch: BfdWatch | undefined;
  const release = () => {
    watch?.release();
    watch = undefined;
  };
  return {
    follow(config) {
      if (config.bfd === undefined) return release();
      const own = config.localAddress === undefined ? undefined : canonicalAddress(config.localAddress);
      // As long as the routers keep the routes of a dead announcer (RFC 5882 section 4.3).
      const outliveMs = 1000 * (restartTimeSeconds(config) ?? 0);
      const wanted = bfdSession(canonicalAddress(config.address), own, config.bfd, outliveMs);
      watch?.reconfigure(wanted);
      watch ??= service?.watch(wanted, onVerdict, onTrail);
    },
    release,
    forget() {
      watch = undefined;
    },
    status: () => watch?.status(),
  };
}
