/**
 * What the process of BFD knows, as data that goes to its successor. Sockets go beside it, as descriptors that it
 * counts by index. Ages and remaining times are milliseconds at the moment of the freeze.
 */
import { err, ok, type Result } from '@l4d/kit/result.ts';
import type { BfdSessionConfig, BfdVerdict } from '../bfd/session-config.ts';
import type { BfdState, BfdTimer, RemoteView } from '../bfd/session-types.ts';
import type { TrailSnapshot } from '../bfd/trail.ts';
import { type Shape, type ShapeOf, shaped } from './shape.ts';

/** The state machine without its settings, which follow from the session's configuration. */
export type BfdMachineSnapshot = Omit<
  BfdState,
  'settings' | 'sentAt' | 'receivedSequence' | 'sentContent' | 'armedInterval'
> & {
  readonly sentAgeMs?: number;
  readonly receivedSequence?: number;
  readonly sentContent?: string;
  readonly armedInterval?: number;
};

/** What is counted and remembered of a session beside its state machine. Times are Unix milliseconds. */
export interface BfdRecord {
  verdict: BfdVerdict;
  upSince?: number;
  changedAt?: number;
  flaps: number;
  transitions: number;
  packetsSent: number;
  packetsReceived: number;
  echoesReturned: number;
  readonly dropped: Record<string, number>;
  readonly sendErrors: Record<string, number>;
}

/** A session. */
export interface BfdSessionSnapshot {
  readonly config: BfdSessionConfig;
  readonly machine: BfdMachineSnapshot;
  readonly timers: readonly { readonly name: BfdTimer; readonly remainingMs: number }[];
  readonly record: BfdRecord;
  readonly trail: TrailSnapshot;
  /** The socket that it sends by; absent while it has none. */
  readonly sender?: { readonly descriptor: number; readonly sourcePort: number };
}

/** All sessions and what they share. */
export interface BfdEngineSnapshot {
  readonly sessions: readonly BfdSessionSnapshot[];
  /** Those that say AdminDown for a while more. */
  readonly leaving: readonly { readonly session: BfdSessionSnapshot; readonly remainingMs: number }[];
  /** Receiving sockets by family and port; `flood`: its filter is in force. */
  readonly receivers: readonly {
    readonly key: string;
    readonly descriptor: number;
    readonly flood: boolean;
  }[];
  /** Datagrams of no session, by socket and reason. */
  readonly unassigned: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly reflectors: readonly {
    readonly family: number;
    readonly packets: number;
    readonly silencer?: number;
  }[];
}

/** The process. */
export interface BfdProcessSnapshot {
  readonly handovers: number;
  /** The connection with the announcer; octets that were not whole yet or not taken by the kernel yet. */
  readonly link: { readonly descriptor: number; readonly unread: string; readonly unsent: string };
  readonly verdicts: readonly { readonly peer: string; readonly verdict: BfdVerdict }[];
  readonly engine: BfdEngineSnapshot;
}

/** The format that is written. It changes when a reader of the one before would misread it. */
export const bfdHandoverFormat = 1;

const states = new Set(['AdminDown', 'Down', 'Init', 'Up']);
const verdict = new Set(['up', 'down', 'admin-down']);
const counts = { '*': 'number' } as const;

const config: ShapeOf<BfdSessionConfig> = {
  peer: 'string',
  'localAddress?': 'string',
  multihop: 'boolean',
  minTtl: 'number',
  txIntervalMs: 'number',
  rxIntervalMs: 'number',
  multiplier: 'number',
  echo: 'boolean',
  outliveMs: 'number',
  'auth?': { type: 'string', keyId: 'number', key: 'string' },
};

const remote: ShapeOf<RemoteView> = {
  session: states,
  discriminator: 'number',
  diagnostic: 'number',
  desiredMinTx: 'number',
  requiredMinRx: 'number',
  requiredMinEchoRx: 'number',
  multiplier: 'number',
  demand: 'boolean',
  controlPlaneIndependent: 'boolean',
};

const machine: ShapeOf<BfdMachineSnapshot> = {
  localDiscriminator: 'number',
  session: states,
  diagnostic: 'number',
  desiredMinTx: 'number',
  requiredMinRx: 'number',
  activeDesiredMinTx: 'number',
  activeRequiredMinRx: 'number',
  poll: new Set(['idle', 'running', 'again']),
  remote,
  sendSequence: 'number',
  'receivedSequence?': 'number',
  'sentAgeMs?': 'number',
  'sentContent?': 'string',
  'armedInterval?': 'number',
};

const record: ShapeOf<BfdRecord> = {
  verdict,
  'upSince?': 'number',
  'changedAt?': 'number',
  flaps: 'number',
  transitions: 'number',
  packetsSent: 'number',
  packetsReceived: 'number',
  echoesReturned: 'number',
  dropped: counts,
  sendErrors: counts,
};

const timerNames = {
  transmit: true,
  detection: true,
  'forget-sequence': true,
} satisfies Record<BfdTimer, true>;

const session: ShapeOf<BfdSessionSnapshot> = {
  config,
  machine,
  timers: [{ name: new Set(Object.keys(timerNames)), remainingMs: 'number' }],
  record,
  trail: {
    recent: [{ atMs: 'number', direction: new Set(['sent', 'received']), hex: 'string' }],
    following: 'number',
  } satisfies ShapeOf<TrailSnapshot>,
  'sender?': { descriptor: 'number', sourcePort: 'number' },
};

const engine: ShapeOf<BfdEngineSnapshot> = {
  sessions: [session],
  leaving: [{ session, remainingMs: 'number' }],
  receivers: [{ key: 'string', descriptor: 'number', flood: 'boolean' }],
  unassigned: { '*': counts },
  reflectors: [{ family: 'number', packets: 'number', 'silencer?': 'number' }],
};

const processShape: ShapeOf<BfdProcessSnapshot> = {
  handovers: 'number',
  link: { descriptor: 'number', unread: 'string', unsent: 'string' },
  verdicts: [{ peer: 'string', verdict }],
  engine,
};

/** The snapshot as text. */
export function encodeBfdSnapshot(state: BfdProcessSnapshot): string {
  return JSON.stringify({ format: bfdHandoverFormat, state });
}

/** The snapshot of a text with so many descriptors beside it; the reason why not. */
export function decodeBfdSnapshot(text: string, descriptors: number): Result<BfdProcessSnapshot, string> {
  let envelope: { readonly format?: unknown; readonly state?: unknown };
  try {
    envelope = JSON.parse(text) as typeof envelope;
  } catch {
    return err('the state of BFD is not JSON');
  }
  if (envelope?.format !== bfdHandoverFormat) {
    return err(`the state of BFD is of format ${envelope?.format}, this version reads ${bfdHandoverFormat}`);
  }
  const problem = shaped(envelope.state, processShape as Shape, 'state');
  if (problem !== undefined) return err(`the state of BFD is not what it should be: ${problem}`);
  const state = envelope.state as BfdProcessSnapshot;
  const missing = descriptorsOf(state).find((index) => !(index >= 0 && index < descriptors));
  return missing === undefined ? ok(state) : err(`the socket ${missing} is missing`);
}

function descriptorsOf({ link, engine: { sessions, leaving, receivers, reflectors } }: BfdProcessSnapshot) {
  const all = [...sessions, ...leaving.map((one) => one.session)];
  return [
    link.descriptor,
    ...all.flatMap(({ sender }) => sender?.descriptor ?? []),
    ...receivers.map(({ descriptor }) => descriptor),
    ...reflectors.flatMap(({ packets, silencer }) => [
      packets,
      ...(silencer === undefined ? [] : [silencer]),
    ]),
  ];
}
