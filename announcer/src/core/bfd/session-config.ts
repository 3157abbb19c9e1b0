/** A BFD session as the announcer asks for it and as it is shown: plain data that can go between processes. */
import type { AuthType } from './authentication.ts';
import { type BfdSessionState, diagnosticName } from './packet.ts';
import type { BfdSettings, BfdState } from './session-types.ts';
import { detectionTime, periodicInterval } from './timing.ts';

/** A wanted session. */
export interface BfdSessionConfig {
  /** Canonical text of the other side's address: its key. */
  readonly peer: string;
  readonly localAddress?: string;
  readonly multihop: boolean;
  /** Least TTL or hop limit of what is received; 255 for single hop (RFC 5881 section 5). */
  readonly minTtl: number;
  readonly txIntervalMs: number;
  readonly rxIntervalMs: number;
  readonly multiplier: number;
  /** How long it goes on without the announcer; 0: not at all. Above, it does not share fate: the C bit is set. */
  readonly outliveMs: number;
  readonly auth?: { readonly type: AuthType; readonly keyId: number; readonly key: string };
}

/**
 * What a session means to routing: `down` when connectivity is not (or no longer) proven, `admin-down` when the
 * other side has turned BFD off on purpose, which says nothing of the path (RFC 5882 section 3.2).
 */
export type BfdVerdict = 'up' | 'down' | 'admin-down';

/** A session as it is shown. */
export interface BfdStatus {
  readonly state: BfdSessionState;
  readonly diagnostic: string;
  readonly remoteState: BfdSessionState;
  readonly remoteDiagnostic: string;
  readonly localDiscriminator: number;
  /** 0 when not known. */
  readonly remoteDiscriminator: number;
  /** Interval of our periodic packets before jitter; 0: the other side wants none. */
  readonly txIntervalMs: number;
  /** Interval that the other side's packets are expected at; 0 before the first. */
  readonly rxIntervalMs: number;
  /** 0 before the first packet. */
  readonly detectionTimeMs: number;
  /** Detect Mult of the other side; 0 before the first packet. */
  readonly remoteMultiplier: number;
  /** C bit of the other side. */
  readonly remoteControlPlaneIndependent: boolean;
  /** Unix time in milliseconds; there while Up. */
  readonly upSince?: number;
  /** Changes of state since the session was made. */
  readonly transitions: number;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  /** Datagrams that were not taken, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Packets that the kernel did not take, by the error's name. */
  readonly sendErrors: Readonly<Record<string, number>>;
  /** Largest lateness of a timer of this process in the last minute or so, in milliseconds. */
  readonly timerLatenessMs: number;
  /** Why there are no packets, such as a port in use. */
  readonly problem?: string;
}

/** Settings of the state machine. */
export function bfdSettings(config: BfdSessionConfig): BfdSettings {
  const { auth } = config;
  return {
    desiredMinTx: config.txIntervalMs * 1000,
    requiredMinRx: config.rxIntervalMs * 1000,
    multiplier: config.multiplier,
    controlPlaneIndependent: config.outliveMs > 0,
    ...(auth === undefined ? {} : { auth: { ...auth, key: new TextEncoder().encode(auth.key) } }),
  };
}

/** The verdict after a step; `previous` is the one before it. */
export function bfdVerdict(state: BfdState, previous: BfdVerdict): BfdVerdict {
  if (state.session === 'Up') return 'up';
  // What we have turned off ourselves says nothing of the path either.
  if (state.session === 'AdminDown') return previous;
  if (state.remote.session === 'AdminDown') return 'admin-down';
  // Silence after AdminDown is what was to be expected: it is no failure until the session has been Up again.
  return previous === 'admin-down' ? 'admin-down' : 'down';
}

/** What of the status follows from the machine's state. */
export function describeState(
  state: BfdState,
): Omit<
  BfdStatus,
  'upSince' | 'transitions' | 'packetsSent' | 'packetsReceived' | 'dropped' | 'sendErrors' | 'timerLatenessMs'
> {
  const { remote } = state;
  const heard = remote.multiplier !== 0;
  return {
    state: state.session,
    diagnostic: diagnosticName(state.diagnostic),
    remoteState: remote.session,
    remoteDiagnostic: diagnosticName(remote.diagnostic),
    localDiscriminator: state.localDiscriminator,
    remoteDiscriminator: remote.discriminator,
    txIntervalMs: (periodicInterval(state) ?? 0) / 1000,
    rxIntervalMs: heard ? Math.max(state.activeRequiredMinRx, remote.desiredMinTx) / 1000 : 0,
    detectionTimeMs: (detectionTime(state) ?? 0) / 1000,
    remoteMultiplier: remote.multiplier,
    remoteControlPlaneIndependent: remote.controlPlaneIndependent,
  };
}
