/** What the announcer's API tells: of itself, of peers, of prefixes. */
import type { DesiredLocal, DesiredPeer } from './api.ts';
import type { BfdProcessStatus, BfdStatus } from './bfd/session-config.ts';
import type { ErrorCount } from './error-counts.ts';
import type { RecordedEnds } from './flight-recorder.ts';
import type { Phase } from './fsm-types.ts';
import type { LatencyHistogram } from './latency.ts';
import { type MessageCounters, noMessages } from './message-counts.ts';
import type { VrrpStatus } from './vrrp/status.ts';

/** The last thing that went wrong with a peer. */
export interface StatusError {
  /** Unix time in milliseconds. */
  readonly atMs: number;
  readonly direction: 'sent' | 'received' | 'local';
  readonly code: number;
  readonly subcode: number;
  readonly text: string;
}

/** A peer in `GET /v1/status`. */
export interface PeerStatus {
  /** As declared: of an unnumbered peer the interface. */
  readonly address: string;
  /** Of an unnumbered peer: who is there now, such as fe80::1%eth0. */
  readonly neighbour?: string;
  /** As declared; a number as soon as the peer has said it. */
  readonly as: DesiredPeer['as'];
  readonly state: Phase;
  /** Milliseconds that the peer has been in this state. */
  readonly sinceMs: number;
  readonly remoteRouterId?: string;
  /** Negotiated while Established, configured otherwise. */
  readonly holdTimeMs: number;
  readonly messagesReceived: number;
  readonly messagesSent: number;
  /** The same by type, since the peer was declared. */
  readonly messages: MessageCounters;
  /** What went wrong and how often, since this process declared the peer. */
  readonly errors: readonly ErrorCount[];
  /** The connection of the session, while Established. */
  readonly session?: Partial<RecordedEnds> & {
    /** Octets written that the kernel has not taken yet. */
    readonly queuedBytes: number;
  };
  /** Prefixes that the peer announces to us now; none is imported. */
  readonly prefixesReceived: number;
  /** There: prefixesReceived is the least that there are, more are not kept track of. */
  readonly prefixesReceivedTruncated?: true;
  /** Names of what both sides have agreed on, while Established. */
  readonly negotiated?: readonly string[];
  readonly prefixesAdvertised: number;
  /** Sessions that ended after they had been Established. */
  readonly flaps: number;
  /** From what was asked for to the UPDATE written, and acknowledged by the peer's TCP. */
  readonly latency?: { readonly written: LatencyHistogram; readonly acked: LatencyHistogram };
  readonly lastError?: StatusError;
  /** There with the option `bfd`, once its process has reported. */
  readonly bfd?: BfdStatus;
}

/** A peer that cannot even be tried, and why; `now` is Unix time in milliseconds. */
export function idlePeerStatus(
  address: string,
  { as, holdTimeMs }: Pick<DesiredPeer, 'as' | 'holdTimeMs'>,
  reason: string,
  now: number,
  sinceMs = 0,
): PeerStatus {
  return {
    address,
    as,
    state: 'Idle',
    sinceMs,
    holdTimeMs,
    messagesReceived: 0,
    messagesSent: 0,
    messages: noMessages(),
    errors: [],
    prefixesReceived: 0,
    prefixesAdvertised: 0,
    flaps: 0,
    lastError: { atMs: now, direction: 'local', code: 0, subcode: 0, text: reason },
  };
}

/** A prefix in `GET /v1/prefixes`. */
export interface PrefixStatus {
  readonly prefix: string;
  /** Addresses of the peers that have been told. */
  readonly advertisedTo: readonly string[];
  /** Peers with a session that cannot be told, and why. */
  readonly notAdvertisedTo: readonly { readonly peer: string; readonly reason: string }[];
}

/** Answer of `GET /v1/status`: costs the same however many prefixes there are. */
export interface AnnouncerSummary {
  readonly pid: number;
  /** RFC 3339; of the first of those who have handed their sessions on to one another. */
  readonly startedAt: string;
  /** How often sessions were handed on since then. */
  readonly handovers: number;
  /** Of the program. */
  readonly version: string;
  readonly revision: number;
  readonly owner: string | null;
  /** Milliseconds since the owner's last sign of life; null when there never was one. */
  readonly lastHeardMs: number | null;
  /** True once the dead-man time has passed: nothing is announced until the next PUT. */
  readonly deadMan: boolean;
  readonly local: DesiredLocal | null;
  /** Why nobody can connect to us, when listening failed. */
  readonly listenError?: string;
  /** Connections of addresses that are no peer, and in no range that has room, since the start of this process. */
  readonly connectionsRefused: number;
  readonly peers: readonly PeerStatus[];
  /** Prefixes of the desired state. */
  readonly prefixCount: number;
  /** Advances with every change of what `GET /v1/prefixes` tells. */
  readonly changes: number;
  /** There with BFD, once its process has told of itself. */
  readonly bfdProcess?: BfdProcessStatus;
  /** There with virtual routers, once their process has reported. */
  readonly vrrp?: VrrpStatus;
}

/** Answer of `GET /v1/status?prefixes=true`. */
export interface AnnouncerStatus extends AnnouncerSummary {
  readonly prefixes: readonly PrefixStatus[];
}

/** Answer of `GET /v1/prefixes`, with `?since=CHANGES` of those alone that have changed since. */
export interface PrefixesStatus {
  /** What to ask for the next time. */
  readonly changes: number;
  /** These are all; false: those that have changed. */
  readonly whole: boolean;
  readonly prefixes: readonly PrefixStatus[];
  /** Prefixes that are no longer there. */
  readonly gone: readonly string[];
}

/** Another speaker's path to a prefix that we announce, as a peer shows it: `GET /v1/other-paths`. */
export interface OtherPath {
  readonly prefix: string;
  readonly peer: string;
  readonly nextHop?: string;
  readonly asPath: readonly number[];
}
