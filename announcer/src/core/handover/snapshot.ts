/**
 * What an announcer knows, as data that goes to its successor: desired state, peers, sessions. Sockets go beside it,
 * as descriptors that it counts by index. Ages and remaining times are milliseconds at the moment of the freeze.
 */
import { z } from 'zod';
import type { DesiredInput, DesiredPeer } from '../api.ts';
import type { StatusError } from '../api-status.ts';
import type { BfdVerdict } from '../bfd/session-config.ts';
import { type ErrorCount, maxErrorCounts } from '../error-counts.ts';
import type { ConnectionTimer, PeerState } from '../fsm-types.ts';
import type { MessageCounters } from '../message-counts.ts';
import type { FamilyName, Negotiated } from '../negotiation.ts';
import type { ReceivedPath } from '../received-prefixes.ts';
import type { ToldGroup, ToldRoutes } from './told-routes.ts';

/** The state machine without its settings, which follow from the desired state. */
export type MachineSnapshot = Omit<PeerState, 'settings'>;

/** An open TCP connection of a peer. */
export interface ConnectionSnapshot {
  /** Of the state machine. */
  readonly id: number;
  /** Index of the descriptor. */
  readonly descriptor: number;
  /** Received and not yet a whole message; hexadecimal. */
  readonly unread: string;
  /** Accepted and not yet taken by the kernel; hexadecimal. */
  readonly unsent: string;
}

/** Timers of a peer by name; `connect-retry` and `idle-hold` are its own, of the connection 0. */
export type TimerName = ConnectionTimer | 'connect-retry' | 'idle-hold';

/** A timer that runs. */
export interface TimerSnapshot {
  readonly name: TimerName;
  readonly connection: number;
  readonly remainingMs: number;
}

/** The Established session of a peer. */
export interface SessionSnapshot {
  readonly connection: number;
  readonly told: ToldRoutes;
  /** Families whose routes are on their way, and what is said after them. */
  readonly owed: readonly (readonly [FamilyName, 'end-of-rib' | 'end-of-refresh'])[];
  readonly received: {
    readonly prefixes: readonly (readonly [key: number | string, path: ReceivedPath | null])[];
    readonly overflowed: boolean;
  };
  /** Families that were refreshed a moment ago. */
  readonly refreshed: readonly FamilyName[];
}

/** A peer. */
export interface PeerSnapshot {
  /** Its key among the peers. */
  readonly key: string;
  /** Of a peer that follows from no name: one that was found on an interface. */
  readonly found?: DesiredPeer;
  readonly machine: MachineSnapshot;
  readonly connections: readonly ConnectionSnapshot[];
  readonly timers: readonly TimerSnapshot[];
  readonly session?: SessionSnapshot;
  /** How long it has been in its phase. */
  readonly phaseAgeMs: number;
  readonly counters: MessageCounters;
  /** Errors by kind; none in what a predecessor without them has left. */
  readonly errors?: readonly ErrorCount[];
  readonly lastError?: StatusError;
}

/** An announcer. */
export interface AnnouncerSnapshot {
  readonly startedAt: string;
  readonly handovers: number;
  readonly revision: number;
  readonly deadMan: boolean;
  /** Count of changes of prefixes. */
  readonly changes: number;
  /** Since the owner's last sign of life; undefined: there never was one. */
  readonly heardAgeMs?: number;
  /** Of the request in force. */
  readonly fingerprint?: string;
  /** Without it the announcer has never been told anything. */
  readonly desired?: DesiredInput;
  /** Listening BGP sockets by their address. */
  readonly listeners: readonly { readonly host: string; readonly descriptor: number }[];
  /** Dynamic peers and the ranges that admitted them. */
  readonly dynamic: readonly (readonly [address: string, range: string])[];
  readonly peers: readonly PeerSnapshot[];
}

/** The announcer's connection with a process beside it. */
export interface EngineLinkSnapshot {
  readonly descriptor: number;
  /** Received and not yet a whole line. */
  readonly unread: string;
  /** Accepted and not yet taken by the kernel; hexadecimal. */
  readonly unsent: string;
}

/** The announcer's connection with its BFD process. */
export interface BfdLinkSnapshot extends EngineLinkSnapshot {
  readonly verdicts: readonly (readonly [peer: string, verdict: BfdVerdict])[];
}

/** The process of an announcer. */
export interface ProcessSnapshot {
  readonly announcer: AnnouncerSnapshot;
  /** Index of the listening socket of the API. */
  readonly api: number;
  /** There while it is connected. */
  readonly bfd?: BfdLinkSnapshot;
}

const count = z.number().int().min(0);
const milliseconds = z.number();
const family = z.enum(['ipv4', 'ipv6']);
const verdict = z.enum(['up', 'down', 'admin-down']);
const hex = z.string().regex(/^([0-9a-f]{2})*$/);

// `satisfies`: a field that is added to what a session has agreed on, or to the state machine, must come here too.
const negotiated = z.strictObject({
  holdTimeSeconds: count,
  fourOctetAs: z.boolean(),
  internal: z.boolean(),
  families: z.array(family),
  remoteRouterId: count,
  remoteAs: count,
  endOfRib: z.boolean().optional(),
  gracefulRestart: z
    .strictObject({
      notification: z.boolean(),
      peerRestartTimeSeconds: count,
      peerRestarted: z.boolean(),
      longLived: z.literal(true).optional(),
    } satisfies Record<keyof NonNullable<Negotiated['gracefulRestart']>, z.ZodType>)
    .optional(),
  extendedMessages: z.boolean().optional(),
  enhancedRouteRefresh: z.boolean().optional(),
  extendedNextHop: z.boolean().optional(),
  addPath: z.array(family).optional(),
} satisfies Record<keyof Negotiated, z.ZodType>);

const machine = z.strictObject({
  enabled: z.boolean(),
  connections: z.array(
    z.strictObject({
      id: count,
      direction: z.enum(['outgoing', 'incoming']),
      phase: z.enum(['Connect', 'OpenSent', 'OpenConfirm', 'Established']),
      delaying: z.literal(true).optional(),
      negotiated: negotiated.optional(),
    } satisfies Record<keyof PeerState['connections'][number], z.ZodType>),
  ),
  retryArmed: z.boolean(),
  failures: count,
  nextConnectionId: count,
  flaps: count,
  bfd: verdict,
  restarted: z.boolean(),
  idleHolding: z.boolean(),
  damped: count,
  extendedOpen: z.boolean(),
} satisfies Record<keyof MachineSnapshot, z.ZodType>);

const timerNames = {
  'delay-open': true,
  'connect-timeout': true,
  hold: true,
  keepalive: true,
  'send-hold': true,
  'connect-retry': true,
  'idle-hold': true,
} satisfies Record<TimerName, true>;

const counts = z.strictObject({
  open: count,
  update: count,
  notification: count,
  keepalive: count,
  routeRefresh: count,
  other: count,
} satisfies Record<keyof MessageCounters['sent'], z.ZodType>);

const receivedPath = z.strictObject({
  nextHop: z.string().optional(),
  asPath: z.array(count),
} satisfies Record<keyof ReceivedPath, z.ZodType>);

const session = z.strictObject({
  connection: count,
  told: z.strictObject({
    groups: z.array(
      z.strictObject({
        family: z.union([z.literal(4), z.literal(6)]),
        attributes: hex,
        nextHop: hex.optional(),
        runs: z.array(z.tuple([count, count])),
        keys: z.string(),
      } satisfies Record<keyof ToldGroup, z.ZodType>),
    ),
    refreshing: z.string(),
  }),
  owed: z.array(z.tuple([family, z.enum(['end-of-rib', 'end-of-refresh'])])),
  received: z.strictObject({
    prefixes: z.array(z.tuple([z.union([z.number(), z.string()]), receivedPath.nullable()])),
    overflowed: z.boolean(),
  }),
  refreshed: z.array(family),
} satisfies Record<keyof SessionSnapshot, z.ZodType>);

const peer = z.strictObject({
  key: z.string(),
  found: z.custom<DesiredPeer>((value) => typeof value === 'object' && value !== null).optional(),
  machine,
  connections: z.array(z.strictObject({ id: count, descriptor: count, unread: hex, unsent: hex })),
  timers: z.array(
    z.strictObject({
      name: z.enum(Object.keys(timerNames) as TimerName[]),
      connection: count,
      remainingMs: milliseconds,
    }),
  ),
  session: session.optional(),
  phaseAgeMs: milliseconds,
  counters: z.strictObject({ sent: counts, received: counts }),
  errors: z
    .array(
      z.strictObject({
        direction: z.enum(['sent', 'received', 'local']),
        code: count,
        subcode: count,
        count,
      } satisfies Record<keyof ErrorCount, z.ZodType>),
    )
    .max(maxErrorCounts + 3)
    .optional(),
  lastError: z
    .strictObject({
      atMs: z.number(),
      direction: z.enum(['sent', 'received', 'local']),
      code: count,
      subcode: count,
      text: z.string(),
    } satisfies Record<keyof StatusError, z.ZodType>)
    .optional(),
} satisfies Record<keyof PeerSnapshot, z.ZodType>);

// The desired state is checked as a request is, by whoever puts it in force.
const announcerSchema = z.strictObject({
  startedAt: z.string(),
  handovers: count,
  revision: count,
  deadMan: z.boolean(),
  changes: count,
  heardAgeMs: milliseconds.optional(),
  fingerprint: z.string().optional(),
  desired: z.custom<DesiredInput>((value) => typeof value === 'object' && value !== null).optional(),
  listeners: z.array(z.strictObject({ host: z.string(), descriptor: count })),
  dynamic: z.array(z.tuple([z.string(), z.string()])),
  peers: z.array(peer),
} satisfies Record<keyof AnnouncerSnapshot, z.ZodType>);

/** Schema of a ProcessSnapshot. */
export const processSnapshotSchema = z.strictObject({
  announcer: announcerSchema,
  api: count,
  bfd: z
    .strictObject({
      descriptor: count,
      unread: z.string(),
      unsent: hex,
      verdicts: z.array(z.tuple([z.string(), verdict])),
    } satisfies Record<keyof BfdLinkSnapshot, z.ZodType>)
    .optional(),
} satisfies Record<keyof ProcessSnapshot, z.ZodType>);
