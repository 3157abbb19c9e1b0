/**
 * The state machine of one peer (RFC 4271 section 8), as a pure function of state and event.
 *
 * RFC 4271 section 8.2.1 has one machine a connection; here both connections of a peer, ours and the
 * peer's, are in one state, so that collision (section 6.8) is decided inside. Standards: RFC 4271
 * sections 6 and 8, 6608 (subcodes), 9687 (send hold timer). Damping is exponential back-off of the
 * connect-retry timer; DampPeerOscillations and
 * DelayOpen as options (RFC 4271 section 8.1.1). RFC 4724 and 8538: what a restart changes.
 */
import { Seconds } from '@l4d/kit/duration.ts';
import type { BfdVerdict } from './bfd/session-config.ts';
import { ceaseSubcode, errorCode, fsmSubcode } from './codec/iana.ts';
import type { ReceivedMessage } from './codec/message.ts';
import { describeNotification, type NotificationMessage, notification } from './codec/notification.ts';
import type { OpenMessage } from './codec/open.ts';
import {
  addConnection,
  armHold,
  armKeepalive,
  cease,
  type Draft,
  drop,
  isConnected,
  isHeld,
  jittered,
  localError,
  report,
  reset,
  send,
  setTimer,
  update,
} from './fsm-draft.ts';
import type {
  Connection,
  ConnectionTimer,
  PeerEvent,
  PeerSettings,
  PeerState,
  Phase,
  Step,
} from './fsm-types.ts';
import { acceptOpen, familyName, makeOpen, type Negotiated } from './negotiation.ts';

/** RFC 4271 section 8.2.2: "sets the HoldTimer to a large value ... 4 minutes is suggested". */
export const openHoldTime = Seconds(240);

/** The same for a peer that nobody named: whoever connects and says nothing must not keep others out. */
export const dynamicOpenHoldTime = Seconds(10);

/** How long a TCP connection may take to come up; a wrong TCP MD5 password shows as this alone. */
export const connectTimeout = Seconds(5);

/** Bound of the back-off between attempts, unless connectRetry itself is longer. */
export const maxConnectRetry = Seconds(15);

/** RFC 9687 section 3.2: the greater of eight minutes and twice the negotiated hold time. */
export const minimumSendHoldTime = Seconds(480);

/** A peer that has not been started. */
export function initialPeerState(settings: PeerSettings): PeerState {
  return {
    settings,
    enabled: false,
    connections: [],
    retryArmed: false,
    failures: 0,
    nextConnectionId: 1,
    flaps: 0,
    bfd: 'down',
    restarted: true,
    idleHolding: false,
    damped: 0,
    extendedOpen: false,
  };
}

/** The state that operators know: that of the connection which has come farthest. */
export function peerPhase(state: PeerState): Phase {
  const order: readonly Phase[] = ['Established', 'OpenConfirm', 'OpenSent', 'Connect'];
  const reached = order.find((phase) => state.connections.some((connection) => connection.phase === phase));
  // RFC 4271 section 8.2.2: Active waits for a connection, Idle refuses them.
  return reached ?? (state.enabled && !state.idleHolding && !isHeld(state) ? 'Active' : 'Idle');
}

/** The one step function: no clock, no socket, no randomness. */
export function step(state: PeerState, event: PeerEvent): Step {
  const draft: Draft = { state, effects: [], jitter: event.jitter };
  handle(draft, event);
  if (event.kind !== 'stop') damp(draft, state);
  scheduleRetry(draft);
  return { state: draft.state, effects: draft.effects };
}

function handle(draft: Draft, event: PeerEvent): void {
  switch (event.kind) {
    case 'start':
      if (draft.state.enabled) return;
      draft.state = { ...draft.state, enabled: true, failures: 0 };
      if (draft.state.settings.mode !== 'passive') openConnection(draft);
      return;
    case 'stop':
      stop(draft, event.notification, event.keepRoutes ?? false);
      return;
    case 'idle-hold-expired':
      draft.state = { ...draft.state, idleHolding: false };
      if (draft.state.enabled && draft.state.settings.mode !== 'passive') openConnection(draft);
      return;
    case 'connect-retry-expired':
      draft.state = { ...draft.state, retryArmed: false };
      if (draft.state.enabled && !isConnected(draft.state)) openConnection(draft);
      return;
    case 'tcp-accepted':
      accept(draft);
      return;
    case 'bfd':
      onBfd(draft, event.verdict, event.why);
      return;
  }
  const connection = draft.state.connections.find(({ id }) => id === event.connection);
  // A connection that this machine has given up: whatever it still says is of no interest.
  if (connection === undefined) return;
  switch (event.kind) {
    case 'tcp-connected':
      if (connection.phase !== 'Connect') return;
      draft.effects.push({ kind: 'clear-timer', timer: 'connect-timeout', connection: connection.id });
      delayOpen(draft, connection);
      return;
    case 'tcp-closed':
      drop(draft, connection);
      report(draft, localError(event.reason));
      return;
    case 'malformed':
      reset(draft, connection, event.notification);
      // Before our OPEN nothing is sent, yet the operator hears of it.
      if (connection.phase === 'Connect') report(draft, localError(describeNotification(event.notification)));
      return;
    case 'send-blocked':
      setTimer(
        draft,
        connection,
        'send-hold',
        Math.max(minimumSendHoldTime, 2000 * (connection.negotiated?.holdTimeSeconds ?? 0)),
      );
      return;
    case 'send-progress':
      draft.effects.push({ kind: 'clear-timer', timer: 'send-hold', connection: connection.id });
      return;
    case 'timer-expired':
      onTimer(draft, connection, event.timer);
      return;
    case 'message':
      onMessage(draft, connection, event.message);
      return;
  }
}

function openConnection(draft: Draft): void {
  if (isHeld(draft.state)) return;
  if (draft.state.connections.some(({ direction }) => direction === 'outgoing')) return;
  const connection = addConnection(draft, 'outgoing', 'Connect');
  draft.effects.push({ kind: 'connect', connection: connection.id });
  setTimer(draft, connection, 'connect-timeout', connectTimeout);
}

function accept(draft: Draft): void {
  const { settings, enabled, idleHolding, connections } = draft.state;
  // RFC 4271 section 8.2.2, Idle: "BGP FSM refuses all incoming BGP connections for this peer".
  if (!enabled || idleHolding || settings.mode === 'active' || isHeld(draft.state)) {
    draft.effects.push({ kind: 'refuse' });
    return;
  }
  // RFC 4271 section 6.8: a collision with a connection in Established closes the newly created one. So does
  // one with an incoming connection in OpenConfirm: the peer cannot have two that are both alive.
  // RFC 4724 section 4.2: with graceful restart, a new connection beside one in Established tells that the peer has
  // restarted: the old one is dropped without a NOTIFICATION.
  const abandoned = connections.find(
    ({ phase, negotiated }) => phase === 'Established' && negotiated?.gracefulRestart !== undefined,
  );
  if (abandoned !== undefined) {
    draft.effects.push({ kind: 'close', connection: abandoned.id });
    drop(draft, abandoned);
    report(draft, localError('the peer has restarted: it opened a new connection'));
  }
  const settled = draft.state.connections.some(
    ({ phase, direction }) =>
      phase === 'Established' || (phase === 'OpenConfirm' && direction === 'incoming'),
  );
  if (settled) {
    draft.effects.push({ kind: 'refuse' });
    return;
  }
  // A second incoming connection before the first said anything: a peer that restarted knows only the newer.
  for (const older of draft.state.connections.filter(({ direction }) => direction === 'incoming')) {
    reset(draft, older, cease(ceaseSubcode.connectionCollision), undefined, true);
  }
  const connection = addConnection(draft, 'incoming', 'Connect');
  draft.effects.push({ kind: 'adopt', connection: connection.id });
  delayOpen(draft, connection);
}

/** RFC 4271 section 8.2.2: with DelayOpen the peer's OPEN is waited for in Connect, with the DelayOpenTimer. */
function delayOpen(draft: Draft, connection: Connection): void {
  const { delayOpen: delay } = draft.state.settings;
  if (delay === undefined || delay === 0) {
    sendOpen(draft, connection);
    return;
  }
  update(draft, { ...connection, delaying: true });
  setTimer(draft, connection, 'delay-open', delay);
}

/** RFC 4271 section 8.2.2: on TcpConnectionConfirmed, send OPEN, large hold timer, OpenSent. */
function sendOpen(draft: Draft, connection: Connection): void {
  const { delaying, ...rest } = connection;
  update(draft, { ...rest, phase: 'OpenSent' });
  const { settings, restarted, extendedOpen } = draft.state;
  const open = makeOpen(settings, restarted);
  // FRR with extended-optional-parameters takes no other form, against RFC 9072 section 2.
  send(draft, connection, extendedOpen ? { ...open, extendedLength: true } : open);
  setTimer(draft, connection, 'hold', settings.openWait ?? openHoldTime);
}

function onTimer(draft: Draft, connection: Connection, timer: ConnectionTimer): void {
  switch (timer) {
    case 'delay-open':
      if (connection.delaying) sendOpen(draft, connection);
      return;
    case 'connect-timeout':
      if (connection.phase !== 'Connect' || connection.delaying) return;
      draft.effects.push({ kind: 'close', connection: connection.id });
      drop(draft, connection);
      report(draft, localError('the TCP connection did not come up in time'));
      return;
    case 'hold':
      // RFC 4271 section 6.5: "then the NOTIFICATION message with the Hold Timer Expired Error Code is sent".
      reset(draft, connection, notification(errorCode.holdTimerExpired, 0));
      return;
    case 'send-hold':
      // RFC 9687 section 3.1.
      reset(draft, connection, notification(errorCode.sendHoldTimerExpired, 0));
      return;
    case 'keepalive':
      if (connection.phase !== 'OpenConfirm' && connection.phase !== 'Established') return;
      send(draft, connection, { type: 'keepalive' });
      armKeepalive(draft, connection);
      // A session that lived for a keepalive interval is a success: the back-off starts over.
      if (connection.phase === 'Established') draft.state = { ...draft.state, failures: 0, damped: 0 };
      return;
  }
}

function onMessage(draft: Draft, connection: Connection, message: ReceivedMessage): void {
  if (message.type === 'notification') {
    draft.effects.push({ kind: 'close', connection: connection.id });
    drop(draft, connection);
    // RFC 4271 section 6.8: the other connection stands, nothing is wrong.
    const isCollision =
      message.code === errorCode.cease && message.subcode === ceaseSubcode.connectionCollision;
    if (isCollision && draft.state.connections.some(({ phase }) => phase !== 'Connect')) return;
    report(draft, {
      direction: 'received',
      code: message.code,
      subcode: message.subcode,
      text: describeNotification(message),
    });
    return;
  }
  switch (connection.phase) {
    case 'Connect':
      // RFC 4271 section 8.2.2: OPEN while the DelayOpenTimer runs: ours is sent, then as in OpenSent.
      if (!connection.delaying) return;
      if (message.type !== 'open') {
        // RFC 4271 section 8.2.2: "any other event (Events 8, 10-11, 13, 19, 23, 25-28)" drops the connection.
        draft.effects.push({ kind: 'close', connection: connection.id });
        drop(draft, connection);
        report(draft, localError(`${message.type.toUpperCase()} before OPEN`));
        return;
      }
      draft.effects.push({ kind: 'clear-timer', timer: 'delay-open', connection: connection.id });
      sendOpen(draft, connection);
      onOpen(draft, current(draft, connection), message);
      return;
    case 'OpenSent':
      if (message.type === 'open') {
        onOpen(draft, connection, message);
        return;
      }
      // RFC 6608 section 3: the unexpected message's type is the data.
      unexpected(draft, connection, fsmSubcode.inOpenSent, message);
      return;
    case 'OpenConfirm':
      if (message.type === 'keepalive') {
        establish(draft, connection);
        return;
      }
      unexpected(draft, connection, fsmSubcode.inOpenConfirm, message);
      return;
    case 'Established':
      switch (message.type) {
        case 'keepalive':
          armHold(draft, connection);
          return;
        case 'update':
          draft.effects.push({ kind: 'routes-received', connection: connection.id, update: message });
          armHold(draft, connection);
          return;
        case 'route-refresh': {
          const family = familyName(message);
          // RFC 2918 section 4: for a family that was not announced "the speaker shall ignore such a message".
          // RFC 7313 section 5: subtypes other than 0 tell of a refresh that we have never asked for.
          if (message.subtype !== 0 || family === undefined) return;
          if (!connection.negotiated?.families.includes(family)) return;
          draft.effects.push({ kind: 'resend', connection: connection.id, family });
          return;
        }
        case 'open':
          unexpected(draft, connection, fsmSubcode.inEstablished, message);
          return;
      }
  }
}

function onOpen(draft: Draft, connection: Connection, open: OpenMessage): void {
  const { settings } = draft.state;
  draft.state = { ...draft.state, extendedOpen: open.extendedLength };
  const accepted = acceptOpen(settings, open);
  if (!accepted.ok) {
    reset(draft, connection, accepted.error.notification, accepted.error.text);
    return;
  }
  const negotiated = accepted.value;
  // Beside one in Established there is none: it has closed the others, and new ones are refused.
  const other = draft.state.connections.find(
    ({ id, phase }) => id !== connection.id && phase === 'OpenConfirm',
  );
  if (other !== undefined) {
    const loser = collisionLoser(settings, negotiated, connection, other);
    reset(draft, loser, cease(ceaseSubcode.connectionCollision), undefined, true);
    if (loser.id === connection.id) return;
  }
  const confirmed: Connection = { ...connection, phase: 'OpenConfirm', negotiated };
  update(draft, confirmed);
  send(draft, connection, { type: 'keepalive' });
  armHold(draft, confirmed);
  armKeepalive(draft, confirmed);
}

/**
 * RFC 4271 section 6.8: the connection that the side with the higher BGP Identifier has opened stays;
 * RFC 6286 section 2.3: the higher AS number decides between equal identifiers.
 */
function collisionLoser(
  settings: PeerSettings,
  negotiated: Negotiated,
  newer: Connection,
  older: Connection,
): Connection {
  const difference = settings.routerId - negotiated.remoteRouterId || settings.localAs - negotiated.remoteAs;
  const keep = difference > 0 ? 'outgoing' : 'incoming';
  return newer.direction === keep ? older : newer;
}

function establish(draft: Draft, connection: Connection): void {
  const { negotiated } = connection;
  if (negotiated === undefined) return;
  // What is still being opened beside it is of no use any more.
  for (const other of draft.state.connections.filter(({ id }) => id !== connection.id)) {
    reset(draft, other, cease(ceaseSubcode.connectionCollision), undefined, true);
  }
  const established: Connection = { ...connection, phase: 'Established' };
  update(draft, established);
  if (draft.state.retryArmed) {
    draft.effects.push({ kind: 'clear-connect-retry' });
    draft.state = { ...draft.state, retryArmed: false };
  }
  draft.state = { ...draft.state, restarted: false };
  // Without keepalives there is no later moment at which the session could prove itself.
  if (negotiated.holdTimeSeconds === 0) draft.state = { ...draft.state, failures: 0 };
  armHold(draft, established);
  draft.effects.push({ kind: 'established', connection: connection.id, negotiated });
}

/** Whether a connection's OPEN has gone out meanwhile. */
function current(draft: Draft, { id }: Connection): Connection {
  const found = draft.state.connections.find((connection) => connection.id === id);
  if (found === undefined) throw new TypeError(`no connection ${id}`);
  return found;
}

function stop(draft: Draft, message: NotificationMessage, keepRoutes: boolean): void {
  draft.state = { ...draft.state, enabled: false };
  for (const connection of draft.state.connections) {
    const restart = connection.negotiated?.gracefulRestart;
    if (keepRoutes && restart !== undefined) {
      draft.effects.push({ kind: 'close', connection: connection.id });
      drop(draft, connection);
    } else {
      reset(draft, connection, restart?.notification ? hardened(message) : message);
    }
  }
  if (draft.state.idleHolding) {
    draft.effects.push({ kind: 'clear-idle-hold' });
    draft.state = { ...draft.state, idleHolding: false };
  }
  if (!draft.state.retryArmed) return;
  draft.effects.push({ kind: 'clear-connect-retry' });
  draft.state = { ...draft.state, retryArmed: false };
}

/**
 * RFC 5882 section 4.2: a path that has failed ends the session at once, and RFC 9384 says so by Cease / BFD Down.
 * AdminDown is no failure. A path that has come up is tried without waiting for the retry timer.
 */
function onBfd(draft: Draft, verdict: BfdVerdict, why: string): void {
  draft.state = { ...draft.state, bfd: verdict };
  if (verdict === 'down') {
    const message = cease(ceaseSubcode.bfdDown);
    for (const connection of draft.state.connections) {
      // A dead path must end the routes also where a NOTIFICATION alone would leave them (RFC 8538 section 3).
      const sent = connection.negotiated?.gracefulRestart?.notification ? hardened(message) : message;
      reset(draft, connection, sent, `${describeNotification(message)}: ${why}`);
    }
    return;
  }
  const { state } = draft;
  if (!state.enabled || state.idleHolding || state.settings.mode === 'passive' || isConnected(state)) return;
  if (state.retryArmed) {
    draft.effects.push({ kind: 'clear-connect-retry' });
    draft.state = { ...state, retryArmed: false };
  }
  openConnection(draft);
}

/** RFC 4271 section 6.6: an event that the state does not expect; RFC 6608 section 3 gives the subcodes. */
function unexpected(draft: Draft, connection: Connection, subcode: number, message: ReceivedMessage): void {
  const type = { open: 1, update: 2, notification: 3, keepalive: 4, 'route-refresh': 5 }[message.type];
  reset(draft, connection, notification(errorCode.finiteStateMachine, subcode, Uint8Array.of(type)));
}

/** After every step: an enabled peer without a way forward tries again, later with each failure. */
function scheduleRetry(draft: Draft): void {
  const { state } = draft;
  if (!state.enabled || state.idleHolding || state.retryArmed || state.settings.mode === 'passive') return;
  if (isHeld(state)) return;
  if (isConnected(state) || state.connections.some(({ direction }) => direction === 'outgoing')) return;
  const bound = Math.max(maxConnectRetry, state.settings.connectRetry);
  const delay = Math.min(bound, state.settings.connectRetry * 2 ** Math.min(state.failures, 30));
  draft.state = { ...state, retryArmed: true, failures: state.failures + 1 };
  draft.effects.push({ kind: 'set-connect-retry', delay: jittered(delay, draft.jitter) });
}

/**
 * RFC 8538 section 3: where NOTIFICATIONs leave the routes alone, what must end them goes inside a Hard Reset.
 * A change of configuration is over in a moment: routes may stay.
 */
function hardened(message: NotificationMessage): NotificationMessage {
  if (message.code !== errorCode.cease || message.subcode === ceaseSubcode.otherConfigurationChange) {
    return message;
  }
  const data = Uint8Array.of(message.code, message.subcode, ...message.data);
  return notification(errorCode.cease, ceaseSubcode.hardReset, data);
}

/** Failures double the idle time up to 64 times it. */
const maxIdleDoublings = 6;

/**
 * DampPeerOscillations (RFC 4271 section 8.1.1): a session that has ended keeps the peer Idle for a while, longer
 * each time. A session that has outlived a keepalive interval starts anew.
 */
function damp(draft: Draft, before: PeerState): void {
  const { state } = draft;
  const { idleHold } = state.settings;
  if (!state.enabled || idleHold === undefined || idleHold === 0 || state.connections.length > 0) return;
  // An attempt that never got past TCP is not a session that oscillates.
  const ended = before.connections.some(({ phase }) => phase !== 'Connect');
  if (!ended || state.idleHolding) return;
  const damped = Math.min(state.damped, maxIdleDoublings);
  if (state.retryArmed) draft.effects.push({ kind: 'clear-connect-retry' });
  draft.state = { ...state, retryArmed: false, idleHolding: true, damped: damped + 1 };
  draft.effects.push({ kind: 'set-idle-hold', delay: jittered(idleHold * 2 ** damped, draft.jitter) });
}
