import type { Duration } from '@l4d/kit/duration.ts';
import type { BfdVerdict } from './bfd/session-config.ts';
import type { BgpMessage, ReceivedMessage } from './codec/message.ts';
import type { NotificationMessage } from './codec/notification.ts';
import type { ReceivedUpdate } from './codec/update.ts';
import type { FamilyName, Negotiated, SessionSettings } from './negotiation.ts';

/** State names of RFC 4271 section 8.2.2. */
export type Phase = 'Idle' | 'Connect' | 'Active' | 'OpenSent' | 'OpenConfirm' | 'Established';

/** Who opens the TCP connection: we, the peer, or whoever comes first. */
export type ConnectMode = 'active' | 'passive' | 'both';

/** Everything about a peer that its state machine depends on. */
export interface PeerSettings extends SessionSettings {
  readonly mode: ConnectMode;
  /** Pause before the second attempt; doubles with every failure up to maxConnectRetry. */
  readonly connectRetry: Duration;
  /** No connection before BFD has proven the path. */
  readonly bfdStrict?: boolean;
  /** How long the peer's OPEN is waited for after ours was sent; default openHoldTime. */
  readonly openWait?: Duration;
  /** How long the peer's OPEN is waited for before ours is sent (DelayOpenTime). */
  readonly delayOpen?: Duration;
  /** Idle time after a session has failed (DampPeerOscillations), doubled by each further failure. */
  readonly idleHold?: Duration;
}

/** One TCP connection with the peer. At most one each way exists at a time (RFC 4271 section 8.2.1). */
export interface Connection {
  readonly id: number;
  readonly direction: 'outgoing' | 'incoming';
  readonly phase: 'Connect' | 'OpenSent' | 'OpenConfirm' | 'Established';
  /** The connection is up and our OPEN waits for the peer's (DelayOpen). */
  readonly delaying?: true;
  /** There from OpenConfirm on. */
  readonly negotiated?: Negotiated;
}

/** State of one peer: both halves of a connection collision are in it. */
export interface PeerState {
  readonly settings: PeerSettings;
  readonly enabled: boolean;
  readonly connections: readonly Connection[];
  /** Whether the connect-retry timer runs. */
  readonly retryArmed: boolean;
  /** Failures since the last session that proved itself. */
  readonly failures: number;
  readonly nextConnectionId: number;
  /** Sessions that ended after they had been Established. */
  readonly flaps: number;
  /** What BFD says of the path; `down` also where it is not used. */
  readonly bfd: BfdVerdict;
  /** No session yet since the start of the process: what RFC 4724 calls restarted. */
  readonly restarted: boolean;
  /** Idle by damping until the idle-hold timer expires. */
  readonly idleHolding: boolean;
  /** Failed sessions that count for damping. */
  readonly damped: number;
  /** The peer's last OPEN had the form of RFC 9072: it can read that, and ours goes in it as well. */
  readonly extendedOpen: boolean;
}

/** Timers of a connection; `connect-retry` is the peer's own. */
export type ConnectionTimer = 'delay-open' | 'connect-timeout' | 'hold' | 'keepalive' | 'send-hold';

/** What happens to a peer. `jitter` is a random number in [0, 1) that the shell draws. */
export type PeerEvent = { readonly jitter: number } & (
  | { readonly kind: 'start' }
  /** `notification` goes to the peer on every connection. */
  | {
      readonly kind: 'stop';
      readonly notification: NotificationMessage;
      /** Closes without a word where graceful restart is negotiated: the peer keeps the routes. */
      readonly keepRoutes?: boolean;
    }
  | { readonly kind: 'idle-hold-expired' }
  | { readonly kind: 'connect-retry-expired' }
  /** BFD has another verdict than before. */
  | { readonly kind: 'bfd'; readonly verdict: BfdVerdict; readonly why: string }
  | { readonly kind: 'timer-expired'; readonly timer: ConnectionTimer; readonly connection: number }
  | { readonly kind: 'tcp-connected'; readonly connection: number }
  /** Could not connect, or was closed or reset by the other side. */
  | { readonly kind: 'tcp-closed'; readonly connection: number; readonly reason: string }
  /** The peer has connected to our listener; answered by the effect `adopt` or `refuse`. */
  | { readonly kind: 'tcp-accepted' }
  | { readonly kind: 'message'; readonly connection: number; readonly message: ReceivedMessage }
  /** Bytes that are no message, or a message that resets the session. */
  | { readonly kind: 'malformed'; readonly connection: number; readonly notification: NotificationMessage }
  /** The peer no longer takes what we write, or takes it again. */
  | { readonly kind: 'send-blocked'; readonly connection: number }
  | { readonly kind: 'send-progress'; readonly connection: number }
);

/** An event before the shell has drawn its number. */
export type UntimedPeerEvent = PeerEvent extends infer Event
  ? Event extends PeerEvent
    ? Omit<Event, 'jitter'>
    : never
  : never;

/** What the shell has to do, in this order. */
export type PeerEffect =
  | { readonly kind: 'connect'; readonly connection: number }
  | { readonly kind: 'adopt'; readonly connection: number }
  | { readonly kind: 'refuse' }
  | { readonly kind: 'send'; readonly connection: number; readonly message: BgpMessage }
  /** Close once everything is sent; ends all timers of the connection. */
  | { readonly kind: 'close'; readonly connection: number }
  | { readonly kind: 'set-connect-retry'; readonly delay: Duration }
  | { readonly kind: 'clear-connect-retry' }
  | { readonly kind: 'set-idle-hold'; readonly delay: Duration }
  | { readonly kind: 'clear-idle-hold' }
  | {
      readonly kind: 'set-timer';
      readonly timer: ConnectionTimer;
      readonly connection: number;
      readonly delay: Duration;
    }
  | { readonly kind: 'clear-timer'; readonly timer: ConnectionTimer; readonly connection: number }
  | { readonly kind: 'established'; readonly connection: number; readonly negotiated: Negotiated }
  | { readonly kind: 'down'; readonly connection: number }
  /** The peer wants all routes of a family again (RFC 2918). */
  | { readonly kind: 'resend'; readonly connection: number; readonly family: FamilyName }
  /** The peer has announced or withdrawn prefixes, none of which is imported. */
  | { readonly kind: 'routes-received'; readonly connection: number; readonly update: ReceivedUpdate }
  | { readonly kind: 'error'; readonly error: PeerError };

/** Why a connection or an attempt ended. */
export interface PeerError {
  /** `local`: not a NOTIFICATION; code and subcode are 0 but for a malformed UPDATE (RFC 7606). */
  readonly direction: 'sent' | 'received' | 'local';
  readonly code: number;
  readonly subcode: number;
  readonly text: string;
}

/** Result of a step. */
export interface Step {
  readonly state: PeerState;
  readonly effects: readonly PeerEffect[];
}
