import type { DesiredPeer } from '../core/api.ts';
import type { PeerStatus } from '../core/api-status.ts';
import type { BfdStatus } from '../core/bfd/session-config.ts';
import { peerName } from '../core/desired-peer.ts';
import type { Phase } from '../core/fsm-types.ts';
import { totalMessages } from '../core/message-counts.ts';
import { describeNegotiated, formatRouterId } from '../core/negotiation.ts';
import type { ChangeTimings } from './change-timing.ts';
import type { PeerErrors } from './peer-errors.ts';
import type { PeerRecording } from './peer-recording.ts';
import type { PeerSession } from './peer-session.ts';

/** What a peer's status is read from. */
export interface PeerFacts {
  readonly config: DesiredPeer;
  /** While Established. */
  readonly session: PeerSession | undefined;
  readonly phase: Phase;
  /** Milliseconds since it has been in it. */
  readonly phaseAgeMs: number;
  readonly flaps: number;
  readonly counters: PeerRecording['counters'];
  readonly errors: PeerErrors;
  readonly latency: Pick<ChangeTimings, 'written' | 'acked'>;
  readonly bfd: BfdStatus | undefined;
}

/** What is shown of a peer. */
export function describePeer(facts: PeerFacts): PeerStatus {
  const { config, session, counters, latency, bfd } = facts;
  const lastError = facts.errors.last();
  return {
    address: peerName(config),
    ...(config.interface === undefined ? {} : { neighbour: config.address }),
    as: session?.negotiated.remoteAs ?? config.as,
    state: facts.phase,
    sinceMs: Math.round(facts.phaseAgeMs),
    ...(session === undefined ? {} : { remoteRouterId: formatRouterId(session.negotiated.remoteRouterId) }),
    holdTimeMs: session === undefined ? config.holdTimeMs : session.negotiated.holdTimeSeconds * 1000,
    messagesReceived: totalMessages(counters.received),
    messagesSent: totalMessages(counters.sent),
    messages: counters,
    errors: facts.errors.counts(),
    ...(session === undefined
      ? {}
      : { session: { ...session.wire.ends(), queuedBytes: session.wire.queuedBytes() } }),
    prefixesReceived: session?.received.keys.size ?? 0,
    ...(session?.received.overflowed ? { prefixesReceivedTruncated: true as const } : {}),
    ...(session === undefined ? {} : { negotiated: describeNegotiated(session.negotiated) }),
    prefixesAdvertised: session?.rib.advertised.size ?? 0,
    flaps: facts.flaps,
    latency: { written: latency.written, acked: latency.acked },
    ...(lastError === undefined ? {} : { lastError }),
    ...(bfd === undefined ? {} : { bfd }),
  };
}
