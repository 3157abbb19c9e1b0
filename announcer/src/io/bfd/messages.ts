import type {
  BfdProcessStatus,
  BfdSessionConfig,
  BfdStatus,
  BfdVerdict,
} from '../../core/bfd/session-config.ts';
import type { BfdTrailEntry } from '../../core/bfd/trail.ts';

/** From the announcer to the engine's process: a line of JSON each. */
export type BfdRequest =
  | { readonly kind: 'configure'; readonly sessions: readonly BfdSessionConfig[] }
  /** AdminDown to all; answered by `stopped`. */
  | { readonly kind: 'shutdown' };

/** From the engine's process to the announcer: a line of JSON each. */
export type BfdReport =
  | { readonly kind: 'verdict'; readonly peer: string; readonly verdict: BfdVerdict; readonly why: string }
  | { readonly kind: 'status'; readonly sessions: Readonly<Record<string, BfdStatus>> }
  /** For the flight record. */
  | { readonly kind: 'trail'; readonly peer: string; readonly entries: readonly BfdTrailEntry[] }
  /** Once the announcer is connected, and by a process that has taken the sessions of another. */
  | ({ readonly kind: 'serving' } & BfdProcessStatus)
  /** A successor has not got the sessions. */
  | { readonly kind: 'kept'; readonly reason: string }
  | { readonly kind: 'stopped' };

/** How often the status is reported, in milliseconds. */
export const statusPeriodMs = 250;
