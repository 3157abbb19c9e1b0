import type { BfdSessionConfig, BfdStatus, BfdVerdict } from '../../core/bfd/session-config.ts';

/** From the announcer to the engine's process. */
export type BfdRequest =
  | { readonly kind: 'configure'; readonly sessions: readonly BfdSessionConfig[] }
  /** AdminDown to all; answered by `stopped`. */
  | { readonly kind: 'shutdown' };

/** From the engine's process to the announcer. */
export type BfdReport =
  | { readonly kind: 'verdict'; readonly peer: string; readonly verdict: BfdVerdict; readonly why: string }
  | { readonly kind: 'status'; readonly sessions: Readonly<Record<string, BfdStatus>> }
  | { readonly kind: 'stopped' };

/** How often the status is reported, in milliseconds. */
export const statusPeriodMs = 250;
