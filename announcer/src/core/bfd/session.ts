/**
 * One BFD session (RFC 5880 section 6.8) as a pure function of state and event, to be held against the
 * procedures of sections 6.8.3 to 6.8.7 and 6.8.16. The active role; Demand mode is not asked for, echo packets are not sent
 * (those of the other side are looped back elsewhere: echo.ts).
 */
import { type Digest, isMeticulous, signPacket, unsignedSection, verifySection } from './authentication.ts';
import { type BfdPacket, type BfdSessionState, diagnostic, encodePacket } from './packet.ts';
import type { BfdEffect, BfdEvent, BfdSettings, BfdState, BfdStep, RemoteView } from './session-types.ts';
import { detectionTime, jitteredInterval, periodicInterval, slowInterval } from './timing.ts';

interface Draft {
  state: BfdState;
  readonly effects: BfdEffect[];
  readonly now: number;
  readonly jitter: number;
  readonly digest: Digest;
  /** A periodic packet went out: the transmit timer starts over. */
  restart: boolean;
}

/** Section 6.8.1: bfd.RemoteMinRxInterval "MUST be initialized to 1", the rest to what is not known. */
const unknownRemote: RemoteView = {
  session: 'Down',
  discriminator: 0,
  diagnostic: diagnostic.none,
  desiredMinTx: 0,
  requiredMinRx: 1,
  requiredMinEchoRx: 0,
  multiplier: 0,
  demand: false,
  controlPlaneIndependent: false,
};

/** A session that has not been enabled. `discriminator` is unique and not 0, `sequence` a random 32-bit number. */
export function initialBfdState(settings: BfdSettings, discriminator: number, sequence: number): BfdState {
  const desiredMinTx = slowStart(settings);
  return {
    settings,
    localDiscriminator: discriminator,
    session: 'AdminDown',
    diagnostic: diagnostic.none,
    desiredMinTx,
    requiredMinRx: settings.requiredMinRx,
    activeDesiredMinTx: desiredMinTx,
    activeRequiredMinRx: settings.requiredMinRx,
    poll: 'idle',
    remote: unknownRemote,
    sendSequence: sequence,
    receivedSequence: undefined,
    sentAt: undefined,
    sentContent: undefined,
    armedInterval: undefined,
  };
}

/** The one step function: no clock, no socket, no randomness. */
export function stepBfd(state: BfdState, event: BfdEvent, digest: Digest): BfdStep {
  const draft: Draft = { state, effects: [], now: event.now, jitter: event.jitter, digest, restart: false };
  switch (event.kind) {
    case 'enable':
      // Section 6.8.16: "If enabling session: Set bfd.SessionState to Down".
      if (state.session === 'AdminDown') enter(draft, 'Down', diagnostic.none);
      break;
    case 'disable':
      // Section 6.8.16: AdminDown, with a diagnostic.
      if (state.session !== 'AdminDown') enter(draft, 'AdminDown', diagnostic.administrativelyDown);
      break;
    case 'reconfigure':
      reconfigure(draft, event.settings);
      break;
    case 'packet':
      receive(draft, event.packet, event.bytes);
      break;
    case 'timer':
      switch (event.timer) {
        case 'transmit':
          draft.state = { ...draft.state, armedInterval: undefined };
          if (periodicInterval(draft.state) !== undefined) transmit(draft);
          break;
        case 'detection':
          expire(draft);
          break;
        case 'forget-sequence':
          draft.state = { ...draft.state, receivedSequence: undefined };
          break;
      }
      break;
  }
  settle(draft);
  return { state: draft.state, effects: draft.effects };
}

/** Section 6.8.6, from the place where the session has been found. */
function receive(draft: Draft, packet: BfdPacket, bytes: Uint8Array): void {
  const { settings, receivedSequence } = draft.state;
  const problem = verifySection(
    bytes,
    packet.auth,
    packet.multiplier,
    settings.auth,
    receivedSequence,
    draft.digest,
  );
  if (problem !== undefined) {
    draft.effects.push({ kind: 'drop', reason: problem });
    return;
  }
  const sequence =
    packet.auth === undefined || packet.auth.type === 'simple' ? undefined : packet.auth.sequence;
  draft.state = {
    ...draft.state,
    receivedSequence: sequence,
    remote: {
      session: packet.state,
      // It may change: a neighbour that restarted has a new one.
      discriminator: packet.myDiscriminator,
      diagnostic: packet.diagnostic,
      desiredMinTx: packet.desiredMinTx,
      requiredMinRx: packet.requiredMinRx,
      requiredMinEchoRx: packet.requiredMinEchoRx,
      multiplier: packet.multiplier,
      demand: packet.demand,
      controlPlaneIndependent: packet.controlPlaneIndependent,
    },
  };
  // "If a Poll Sequence is being transmitted by the local system and the Final (F) bit in the received packet
  // is set, the Poll Sequence MUST be terminated."
  if (packet.final) endPoll(draft);
  // "If bfd.SessionState is AdminDown, discard the packet."
  if (draft.state.session === 'AdminDown') {
    draft.effects.push({ kind: 'drop', reason: 'admin-down' });
    return;
  }
  switch (draft.state.session) {
    case 'Down':
      if (packet.state === 'Down') enter(draft, 'Init', diagnostic.none);
      else if (packet.state === 'Init') enter(draft, 'Up', diagnostic.none);
      break;
    case 'Init':
      if (packet.state === 'AdminDown') enter(draft, 'Down', diagnostic.neighborSignaledDown);
      else if (packet.state === 'Init' || packet.state === 'Up') enter(draft, 'Up', diagnostic.none);
      break;
    case 'Up':
      if (packet.state === 'AdminDown' || packet.state === 'Down') {
        enter(draft, 'Down', diagnostic.neighborSignaledDown);
      }
      break;
  }
  // "If the Poll (P) bit is set, send a BFD Control packet to the remote system with the Poll (P) bit clear,
  // and the Final (F) bit set": at once, whatever the timers say.
  if (packet.poll) transmit(draft, true);
  const detection = detectionTime(draft.state);
  if (detection !== undefined) {
    draft.effects.push({ kind: 'set-timer', timer: 'detection', delayMs: detection / 1000 });
    if (settings.auth !== undefined) draft.effects.push({ kind: 'clear-timer', timer: 'forget-sequence' });
  }
}

/**
 * Section 6.8.4: a Detection Time without a packet. In Init or Up "the session has gone down"; in any state
 * bfd.RemoteDiscr "MUST be set to zero" (section 6.8.1).
 */
function expire(draft: Draft): void {
  const detection = detectionTime(draft.state);
  const { session } = draft.state;
  draft.state = { ...draft.state, remote: unknownRemote, poll: 'idle' };
  if (session === 'Init' || session === 'Up') enter(draft, 'Down', diagnostic.detectionTimeExpired);
  // Section 6.8.1, bfd.AuthSeqKnown: cleared "after no packets have been received on this session for at
  // least twice the Detection Time".
  if (draft.state.settings.auth !== undefined && detection !== undefined) {
    draft.effects.push({ kind: 'set-timer', timer: 'forget-sequence', delayMs: detection / 1000 });
  }
}

function enter(draft: Draft, to: BfdSessionState, code: number): void {
  const from = draft.state.session;
  draft.state = { ...draft.state, session: to, diagnostic: code };
  if (to === 'AdminDown') {
    draft.state = { ...draft.state, poll: 'idle' };
    draft.effects.push({ kind: 'clear-timer', timer: 'detection' });
  }
  const { settings } = draft.state;
  setIntervals(draft, to === 'Up' ? settings.desiredMinTx : slowStart(settings), settings.requiredMinRx);
  draft.effects.push({ kind: 'changed', from, to });
}

function reconfigure(draft: Draft, settings: BfdSettings): void {
  draft.state = { ...draft.state, settings };
  if (settings.auth === undefined) draft.state = { ...draft.state, receivedSequence: undefined };
  const up = draft.state.session === 'Up';
  setIntervals(draft, up ? settings.desiredMinTx : slowStart(settings), settings.requiredMinRx);
}

/** Section 6.8.3: a change of either interval starts a poll sequence, and some changes wait for its end. */
function setIntervals(draft: Draft, desiredMinTx: number, requiredMinRx: number): void {
  const { state } = draft;
  const changed = state.desiredMinTx !== desiredMinTx || state.requiredMinRx !== requiredMinRx;
  const up = state.session === 'Up';
  // "If bfd.DesiredMinTxInterval is increased and bfd.SessionState is Up, the actual transmission interval used
  // MUST NOT change until the Poll Sequence described above has terminated."
  const txWaits = up && desiredMinTx > state.activeDesiredMinTx;
  // "If bfd.RequiredMinRxInterval is reduced and bfd.SessionState is Up, the previous value ... MUST be used when
  // calculating the Detection Time ... until the Poll Sequence described above has terminated."
  const rxWaits = up && requiredMinRx < state.activeRequiredMinRx;
  const canPoll = state.session !== 'AdminDown' && state.remote.discriminator !== 0;
  const poll = !canPoll ? 'idle' : !changed ? state.poll : state.poll === 'idle' ? 'running' : 'again';
  draft.state = {
    ...state,
    desiredMinTx,
    requiredMinRx,
    activeDesiredMinTx: txWaits ? state.activeDesiredMinTx : desiredMinTx,
    activeRequiredMinRx: rxWaits ? state.activeRequiredMinRx : requiredMinRx,
    poll,
  };
}

function endPoll(draft: Draft): void {
  switch (draft.state.poll) {
    case 'idle':
      return;
    case 'again':
      // The answer may be to the older values: one more round tells.
      draft.state = { ...draft.state, poll: 'running' };
      return;
    case 'running':
      draft.state = {
        ...draft.state,
        poll: 'idle',
        activeDesiredMinTx: draft.state.desiredMinTx,
        activeRequiredMinRx: draft.state.requiredMinRx,
      };
  }
}

/** After every step: news goes out at once, and the transmit timer runs for the interval in force. */
function settle(draft: Draft): void {
  const news = draft.state.sentContent !== contentOf(draft.state);
  const silent = draft.state.session === 'AdminDown' && draft.state.sentAt === undefined;
  // Section 6.8.7: a packet "SHOULD be transmitted during the interval between periodic Control packet
  // transmissions when the contents of that packet would differ from that in the previously transmitted packet
  // (other than the Poll and Final bits)".
  if (news && !silent) transmit(draft);
  const { state } = draft;
  const interval = silent ? undefined : periodicInterval(state);
  if (interval === state.armedInterval && !draft.restart) return;
  draft.state = { ...state, armedInterval: interval };
  if (interval === undefined) {
    if (state.armedInterval !== undefined) draft.effects.push({ kind: 'clear-timer', timer: 'transmit' });
    return;
  }
  // Section 6.8.3: a shorter interval is honoured at once; "If this interval has already passed since the last
  // transmission ... the local system MUST send the next periodic BFD Control packet as soon as practicable."
  const delay = jitteredInterval(interval, state.settings.multiplier, draft.jitter) / 1000;
  const elapsed = draft.now - (state.sentAt ?? draft.now);
  draft.effects.push({ kind: 'set-timer', timer: 'transmit', delayMs: Math.max(0, delay - elapsed) });
}

/** Sends what section 6.8.7 prescribes; `final` answers a poll. */
function transmit(draft: Draft, final = false): void {
  const { state } = draft;
  const { settings } = state;
  const content = contentOf(state);
  const { auth } = settings;
  // Section 6.7.3: a meticulous number is incremented with each packet; others may be, here with what is said.
  const increments = auth !== undefined && (isMeticulous(auth.type) || content !== state.sentContent);
  const sendSequence = increments ? (state.sendSequence + 1) >>> 0 : state.sendSequence;
  const bytes = encodePacket({
    diagnostic: state.diagnostic,
    state: state.session,
    // Section 6.5: never both.
    poll: state.poll !== 'idle' && !final,
    final,
    controlPlaneIndependent: settings.controlPlaneIndependent,
    demand: false,
    multiplier: settings.multiplier,
    myDiscriminator: state.localDiscriminator,
    yourDiscriminator: state.remote.discriminator,
    desiredMinTx: state.desiredMinTx,
    requiredMinRx: state.requiredMinRx,
    requiredMinEchoRx: settings.requiredMinEchoRx,
    ...(auth === undefined ? {} : { auth: unsignedSection(auth, sendSequence) }),
  });
  if (auth !== undefined) signPacket(bytes, auth, draft.digest);
  draft.effects.push({ kind: 'send', bytes });
  draft.state = { ...state, sendSequence, sentContent: content };
  // An answer to a poll is outside the schedule, which goes on as it was.
  if (final) return;
  draft.state = { ...draft.state, sentAt: draft.now };
  draft.restart = true;
}

function contentOf(state: BfdState): string {
  const { settings } = state;
  return [
    state.session,
    state.diagnostic,
    state.remote.discriminator,
    state.desiredMinTx,
    state.requiredMinRx,
    settings.requiredMinEchoRx,
    settings.multiplier,
    settings.controlPlaneIndependent,
  ].join(' ');
}

function slowStart(settings: BfdSettings): number {
  return Math.max(slowInterval, settings.desiredMinTx);
}
