/** What the state machine's transitions are made of: changes to a draft of state and effects. */
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { errorCode } from './codec/iana.ts';
import type { BgpMessage } from './codec/message.ts';
import { describeNotification, type NotificationMessage, notification } from './codec/notification.ts';
import type { Connection, ConnectionTimer, PeerEffect, PeerError, PeerState } from './fsm-types.ts';

/** A step in the making. */
export interface Draft {
  state: PeerState;
  readonly effects: PeerEffect[];
  readonly jitter: number;
}

/** Sends a NOTIFICATION where an OPEN has gone before it, closes, forgets the connection. */
export function reset(
  draft: Draft,
  connection: Connection,
  message: NotificationMessage,
  text = describeNotification(message),
  quiet = false,
): void {
  const told = connection.phase !== 'Connect';
  if (told) send(draft, connection, message);
  draft.effects.push({ kind: 'close', connection: connection.id });
  drop(draft, connection);
  if (told && !quiet) {
    report(draft, { direction: 'sent', code: message.code, subcode: message.subcode, text });
  }
}

/** Forgets a connection; a flap when it was Established. */
export function drop(draft: Draft, connection: Connection): void {
  const wasEstablished = connection.phase === 'Established';
  draft.state = {
    ...draft.state,
    connections: draft.state.connections.filter(({ id }) => id !== connection.id),
    flaps: draft.state.flaps + (wasEstablished ? 1 : 0),
  };
  if (wasEstablished) draft.effects.push({ kind: 'down', connection: connection.id });
}

/** RFC 4271 section 10: "jitter ... multiplying ... by a random factor ... from 0.75 to 1.0". */
export function jittered(milliseconds: number, jitter: number): Duration {
  return Milliseconds(Math.round(milliseconds * (0.75 + 0.25 * jitter)));
}

/** RFC 4271 section 8.2.2: a negotiated hold time of zero: HoldTimer and KeepaliveTimer are not started. */
export function armHold(draft: Draft, connection: Connection): void {
  const seconds = connection.negotiated?.holdTimeSeconds ?? 0;
  if (seconds > 0) setTimer(draft, connection, 'hold', Seconds(seconds));
  else draft.effects.push({ kind: 'clear-timer', timer: 'hold', connection: connection.id });
}

/** RFC 4271 section 4.4: KEEPALIVE messages "MUST NOT be sent more frequently than one per second". */
const minimumKeepaliveInterval = Seconds(1);

/** RFC 4271 section 4.4: "A reasonable maximum time between KEEPALIVE messages would be one third". */
export function armKeepalive(draft: Draft, connection: Connection): void {
  const seconds = connection.negotiated?.holdTimeSeconds ?? 0;
  if (seconds === 0) return;
  // The jitter would take a hold time of 3 s below it.
  const interval = Math.max(minimumKeepaliveInterval, jittered((seconds * 1000) / 3, draft.jitter));
  setTimer(draft, connection, 'keepalive', interval);
}

/** Starts or restarts a timer of a connection. */
export function setTimer(
  draft: Draft,
  connection: Connection,
  timer: ConnectionTimer,
  milliseconds: number,
): void {
  draft.effects.push({
    kind: 'set-timer',
    timer,
    connection: connection.id,
    delay: Milliseconds(milliseconds),
  });
}

/** Sends a message on a connection. */
export function send(draft: Draft, connection: Connection, message: BgpMessage): void {
  draft.effects.push({ kind: 'send', connection: connection.id, message });
}

/** Tells the shell what went wrong. */
export function report(draft: Draft, error: PeerError): void {
  draft.effects.push({ kind: 'error', error });
}

/** Adds a connection with the next id. */
export function addConnection(
  draft: Draft,
  direction: Connection['direction'],
  phase: Connection['phase'],
): Connection {
  const connection: Connection = { id: draft.state.nextConnectionId, direction, phase };
  draft.state = {
    ...draft.state,
    nextConnectionId: connection.id + 1,
    connections: [...draft.state.connections, connection],
  };
  return connection;
}

/** Puts a changed connection in the place of the old one. */
export function update(draft: Draft, changed: Connection): void {
  const connections = draft.state.connections.map((connection) =>
    connection.id === changed.id ? changed : connection,
  );
  draft.state = { ...draft.state, connections };
}

/** Whether a connection has got past its OPEN. */
export function isConnected(state: PeerState): boolean {
  return state.connections.some(({ phase }) => phase === 'OpenConfirm' || phase === 'Established');
}

/** Strict mode waits for BFD; that the peer has turned BFD off holds nothing up (RFC 5882 section 3.2). */
export function isHeld(state: PeerState): boolean {
  return state.settings.bfdStrict === true && state.bfd === 'down';
}

/** A Cease (RFC 4486). */
export function cease(subcode: number): NotificationMessage {
  return notification(errorCode.cease, subcode);
}

/** What went wrong without a NOTIFICATION. */
export function localError(text: string): PeerError {
  return { direction: 'local', code: 0, subcode: 0, text };
}
