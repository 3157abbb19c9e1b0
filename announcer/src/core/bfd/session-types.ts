import type { AuthDrop, AuthSettings } from './authentication.ts';
import type { BfdPacket, BfdSessionState, PacketDrop } from './packet.ts';

/** What the operator chooses for a session. Intervals are microseconds. */
export interface BfdSettings {
  /** What we would like to send at while Up. */
  readonly desiredMinTx: number;
  /** The fastest that we take; never 0 here. */
  readonly requiredMinRx: number;
  /** The fastest echo packets that we loop back; 0: none. */
  readonly requiredMinEchoRx: number;
  /** Detect Mult that we send, 1 to 255. */
  readonly multiplier: number;
  /** C bit of what we send. */
  readonly controlPlaneIndependent: boolean;
  readonly auth?: AuthSettings;
}

/** State of a session: the variables of RFC 5880 section 6.8.1, by their meaning. */
export interface BfdState {
  readonly settings: BfdSettings;
  readonly localDiscriminator: number;
  readonly session: BfdSessionState;
  /** bfd.LocalDiag. */
  readonly diagnostic: number;
  /** bfd.DesiredMinTxInterval: what our packets say. */
  readonly desiredMinTx: number;
  /** bfd.RequiredMinRxInterval: what our packets say. */
  readonly requiredMinRx: number;
  /** What is reckoned with: differs from the two above while a poll sequence runs (section 6.8.3). */
  readonly activeDesiredMinTx: number;
  readonly activeRequiredMinRx: number;
  /** `again`: parameters changed while one ran, so its F bit may answer older ones. */
  readonly poll: 'idle' | 'running' | 'again';
  readonly remote: RemoteView;
  /** bfd.XmitAuthSeq. */
  readonly sendSequence: number;
  /** bfd.RcvAuthSeq; undefined while bfd.AuthSeqKnown is 0. */
  readonly receivedSequence: number | undefined;
  /** When the last packet went out that was not an answer to a poll; undefined before the first. */
  readonly sentAt: number | undefined;
  /** What that packet said, P and F aside. */
  readonly sentContent: string | undefined;
  /** Interval for which the transmit timer runs; undefined: it does not. */
  readonly armedInterval: number | undefined;
}

/** What the other side has last said. */
export interface RemoteView {
  readonly session: BfdSessionState;
  /** 0 while not known. */
  readonly discriminator: number;
  readonly diagnostic: number;
  readonly desiredMinTx: number;
  /** bfd.RemoteMinRxInterval, 1 at the start. */
  readonly requiredMinRx: number;
  readonly requiredMinEchoRx: number;
  /** 0 before the first packet. */
  readonly multiplier: number;
  readonly demand: boolean;
  readonly controlPlaneIndependent: boolean;
}

/** Timers of a session. */
export type BfdTimer =
  | 'transmit'
  /** Detection Time since the last packet. */
  | 'detection'
  /** Another Detection Time without a packet: the sequence number is forgotten (section 6.8.1, AuthSeqKnown). */
  | 'forget-sequence';

/** What happens to a session. `now` is monotonic milliseconds, `jitter` a random number in [0, 1). */
export type BfdEvent = { readonly now: number; readonly jitter: number } & (
  | { readonly kind: 'enable' }
  /** Ends it for good or for a while: AdminDown. */
  | { readonly kind: 'disable' }
  | { readonly kind: 'reconfigure'; readonly settings: BfdSettings }
  /** `bytes` is the packet up to its Length, which its digest covers. */
  | { readonly kind: 'packet'; readonly packet: BfdPacket; readonly bytes: Uint8Array }
  | { readonly kind: 'timer'; readonly timer: BfdTimer }
);

/** Everything that a packet can be dropped for under a session. */
export type BfdDrop = PacketDrop | AuthDrop | 'admin-down' | 'wrong-ttl';

/** What the shell has to do, in this order. */
export type BfdEffect =
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** Starts or restarts a timer. */
  | { readonly kind: 'set-timer'; readonly timer: BfdTimer; readonly delayMs: number }
  | { readonly kind: 'clear-timer'; readonly timer: BfdTimer }
  | { readonly kind: 'changed'; readonly from: BfdSessionState; readonly to: BfdSessionState }
  | { readonly kind: 'drop'; readonly reason: BfdDrop };

/** Result of a step. */
export interface BfdStep {
  readonly state: BfdState;
  readonly effects: readonly BfdEffect[];
}
