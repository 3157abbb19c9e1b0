import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { withdrawGrace } from './withdraw-grace.ts';

/** How far the end of a VIP's forwarding has come; times are clock milliseconds. */
export interface VipEnding {
  /** When it was no longer wanted. */
  readonly since: number;
  /** When the announcer had taken the withdraw; undefined before. */
  readonly withdrawnAt: number | undefined;
}

/** What is to be done about an ending. */
export interface EndingStep {
  readonly ending: VipEnding;
  /** Whether the forwarding ends now. */
  readonly isOver: boolean;
  /** When to look again; undefined when it is over. */
  readonly lookAfter: Duration | undefined;
}

/**
 * An announcer that does not take a withdraw for so long is dead or cut off: its sessions end by the
 * hold time, or it is in the operator's hands. Forwarding does not go on for ever for its sake.
 */
export const withdrawPatience = Seconds(90);

/**
 * Forwarding ends `withdrawGrace` after the withdraw was taken: routers take tens of milliseconds to
 * act on it. `isTaken`: the announcer has taken the withdraw, or there is none to take it.
 */
export function stepEnding(ending: VipEnding, isTaken: boolean, now: number): EndingStep {
  const gaveUp = now - ending.since >= withdrawPatience;
  const withdrawnAt = ending.withdrawnAt ?? (isTaken ? now : undefined);
  const next = { ...ending, withdrawnAt };
  if (withdrawnAt === undefined) {
    return { ending: next, isOver: gaveUp, lookAfter: gaveUp ? undefined : Seconds(1) };
  }
  const left = withdrawnAt + withdrawGrace - now;
  // A timer may fire a little early by the clock that is asked here.
  return { ending: next, isOver: left <= 0, lookAfter: left <= 0 ? undefined : Milliseconds(left + 5) };
}
