/** A BFD session as the announcer asks for it and as it is shown: plain data that can go between processes. */
import type { AuthType } from './authentication.ts';
import { type BfdSessionState, diagnosticName } from './packet.ts';
import type { BfdSettings, BfdState } from './session-types.ts';
import { detectionTime, periodicInterval } from './timing.ts';

/** A wanted session. */
export interface BfdSessionConfig {
  /** Canonical text of the other side's address: its key. With its interface when it is link-local: `fe80::1%eth0`. */
  readonly peer: string;
  readonly localAddress?: string;
  readonly multihop: boolean;
  /** Least TTL or hop limit of what is received; 255 for single hop (RFC 5881 section 5). */
  readonly minTtl: number;
  readonly txIntervalMs: number;
  readonly rxIntervalMs: number;
  readonly multiplier: number;
  /** Loops back the other side's echo packets, as fast as `rxIntervalMs`. */
  readonly echo: boolean;
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
  /** What the other side said last: its wanted and its least interval, and that of echo packets (0: takes none). */
  readonly remoteTxIntervalMs: number;
  readonly remoteRxIntervalMs: number;
  readonly remoteEchoRxIntervalMs: number;
  /** The other side wants no periodic packets (D bit). */
  readonly remoteDemand: boolean;
  readonly multihop: boolean;
  /** Least TTL or hop limit of what is taken. */
  readonly minTtl: number;
  /** Type of authentication; there where it is used. */
  readonly auth?: AuthType;
  /** Unix time in milliseconds; there while Up. */
  readonly upSince?: number;
  /** Unix time in milliseconds of the last change of state; there after the first. */
  readonly changedAt?: number;
  /** How often it has been lost: from Up to anything else. */
  readonly flaps: number;
  /** Changes of state since the session was made. */
  readonly transitions: number;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  /** Echo packets of the other side that were looped back. */
  readonly echoesReturned: number;
  /** UDP port that our packets come from; 0 while there is no socket. */
  readonly sourcePort: number;
  /** Datagrams that were not taken, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Packets that the kernel did not take, by the error's name. */
  readonly sendErrors: Readonly<Record<string, number>>;
  /** Largest lateness of a timer of this process in the last minute or so, in milliseconds. */
  readonly timerLatenessMs: number;
  /** The socket that its packets arrive at, which sessions of a family share; absent while there is none. */
  readonly socket?: {
    /** Datagrams that no session is meant by, by reason. */
    readonly dropped: Readonly<Record<string, number>>;
    /** What the kernel has dropped: the filter against a flood, or the full queue. */
    readonly droppedInKernel: number;
    /** Whether there is a flood, and only what may mean a session is read and counted. */
    readonly flood: boolean;
  };
  /** Why there are no packets, such as a port in use. */
  readonly problem?: string;
}

/** The process that has the sessions. */
export interface BfdProcessStatus {
  readonly pid: number;
  /** Of the program. */
  readonly version: string;
  /** How it goes before common processes; `none`: without the right to it, and a busy machine may end sessions. */
  readonly precedence: 'deadline' | 'round-robin' | 'none';
  /** Whether its pages stay in memory. */
  readonly inMemory: boolean;
  /** How often the sessions were handed from one process to the next. */
  readonly handovers: number;
  /** Milliseconds for which no session was served in the last handover; absent before the first. */
  readonly frozenMs?: number;
}

/** Settings of the state machine. */
export function bfdSettings(config: BfdSessionConfig): BfdSettings {
  const { auth } = config;
  return {
    desiredMinTx: config.txIntervalMs * 1000,
    requiredMinRx: config.rxIntervalMs * 1000,
    requiredMinEchoRx: config.echo ? config.rxIntervalMs * 1000 : 0,
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
  | 'upSince'
  | 'changedAt'
  | 'flaps'
  | 'transitions'
  | 'packetsSent'
  | 'packetsReceived'
  | 'echoesReturned'
  | 'sourcePort'
  | 'multihop'
  | 'minTtl'
  | 'dropped'
  | 'sendErrors'
  | 'timerLatenessMs'
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
    remoteTxIntervalMs: remote.desiredMinTx / 1000,
    remoteRxIntervalMs: heard ? remote.requiredMinRx / 1000 : 0,
    remoteEchoRxIntervalMs: remote.requiredMinEchoRx / 1000,
    remoteDemand: remote.demand,
    ...(state.settings.auth === undefined ? {} : { auth: state.settings.auth.type }),
  };
}
