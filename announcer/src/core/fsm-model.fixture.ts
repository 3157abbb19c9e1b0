/**
 * What RFC 4271 section 8.2.2 says of one connection, written down a second time and apart from the machine: which
 * state an event leads to, which NOTIFICATION it brings, which timers run in a state.
 */
import type { ReceivedMessage } from './codec/message.ts';
import type { Connection, ConnectionTimer, PeerEvent, PeerSettings } from './fsm-types.ts';

/** Where a connection may be: `up` is Connect with TCP up, waiting for the DelayOpenTimer. */
export type ModelPhase = 'Connect' | 'up' | 'OpenSent' | 'OpenConfirm' | 'Established' | 'gone';

/** What must come of an event: the phase after it, and the code and subcode of a NOTIFICATION sent. */
export interface Outcome {
  readonly phase: ModelPhase;
  readonly notifies?: readonly [number, number];
}

/** The model's name of a connection's phase. */
export function phaseOf(connection: Connection | undefined): ModelPhase {
  if (connection === undefined) return 'gone';
  return connection.delaying ? 'up' : connection.phase;
}

/** What is wrong with an OPEN of the walk, as code and subcode. */
function refusalOf(settings: PeerSettings, message: ReceivedMessage): readonly [number, number] | undefined {
  if (message.type !== 'open') return undefined;
  // RFC 4271 section 6.2: Bad Peer AS. The walk's AS numbers fit in two octets.
  return message.myAs === settings.peerAs ? undefined : [2, 2];
}

/** RFC 6608: the subcode of an unexpected message in each state. */
const unexpected = { OpenSent: [5, 1], OpenConfirm: [5, 2], Established: [5, 3] } as const;

const told = { OpenSent: true, OpenConfirm: true, Established: true, Connect: false, up: false, gone: false };

/** What an event does to the connection that it is about; collision aside. */
export function outcomeOf(settings: PeerSettings, phase: ModelPhase, event: PeerEvent): Outcome {
  if (phase === 'gone') return { phase: 'gone' };
  const ended = (code: number, subcode: number): Outcome =>
    told[phase] ? { phase: 'gone', notifies: [code, subcode] } : { phase: 'gone' };
  switch (event.kind) {
    case 'tcp-connected':
      // Events 16 and 17; with DelayOpen the state stays.
      if (phase !== 'Connect') return { phase };
      return { phase: settings.delayOpen === undefined ? 'OpenSent' : 'up' };
    case 'tcp-closed':
      return { phase: 'gone' };
    case 'malformed':
      return ended(event.notification.code, event.notification.subcode);
    case 'timer-expired':
      return afterTimer(phase, event.timer, ended);
    case 'message':
      return afterMessage(settings, phase, event.message, ended);
    default:
      return { phase };
  }
}

type Ended = (code: number, subcode: number) => Outcome;

function afterTimer(phase: ModelPhase, timer: ConnectionTimer, ended: Ended): Outcome {
  switch (timer) {
    case 'connect-timeout':
      return { phase: phase === 'Connect' ? 'gone' : phase };
    case 'delay-open':
      return { phase: phase === 'up' ? 'OpenSent' : phase };
    case 'hold':
      return ended(4, 0);
    case 'send-hold':
      return ended(8, 0);
    case 'keepalive':
      return { phase };
  }
}

function afterMessage(
  settings: PeerSettings,
  phase: ModelPhase,
  message: ReceivedMessage,
  ended: Ended,
): Outcome {
  if (message.type === 'notification') return { phase: 'gone' };
  switch (phase) {
    case 'up': {
      // Event 20; "any other event (Events 8, 10-11, 13, 19, 23, 25-28)" drops the connection.
      if (message.type !== 'open') return { phase: 'gone' };
      const refusal = refusalOf(settings, message);
      return refusal === undefined ? { phase: 'OpenConfirm' } : { phase: 'gone', notifies: refusal };
    }
    case 'OpenSent': {
      if (message.type !== 'open') return ended(...unexpected.OpenSent);
      const refusal = refusalOf(settings, message);
      return refusal === undefined ? { phase: 'OpenConfirm' } : ended(...refusal);
    }
    case 'OpenConfirm':
      return message.type === 'keepalive' ? { phase: 'Established' } : ended(...unexpected.OpenConfirm);
    case 'Established':
      return message.type === 'open' ? ended(...unexpected.Established) : { phase };
    default:
      return { phase };
  }
}

/** Timers that run in a state, beside the send hold timer; with a hold time of 0 neither of two. */
export function timersOf(phase: ModelPhase, holdTimeSeconds: number): ConnectionTimer[] {
  switch (phase) {
    case 'Connect':
      return ['connect-timeout'];
    case 'up':
      return ['delay-open'];
    case 'OpenSent':
      return ['hold'];
    case 'OpenConfirm':
    case 'Established':
      return holdTimeSeconds === 0 ? [] : ['hold', 'keepalive'];
    case 'gone':
      return [];
  }
}

/** RFC 4271 section 6.8: the direction of the connection that stays. RFC 6286 section 2.3: AS between equal ids. */
export function survivor(settings: PeerSettings, peerRouterId: number): Connection['direction'] {
  if (settings.routerId !== peerRouterId) return settings.routerId > peerRouterId ? 'outgoing' : 'incoming';
  return settings.localAs > Number(settings.peerAs) ? 'outgoing' : 'incoming';
}
