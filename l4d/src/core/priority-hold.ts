import { Seconds } from '@l4d/kit/duration.ts';

/** How long a priority that fell stays down at least: a backend that comes and goes moves a group once, not each time. */
export const priorityHoldTime = Seconds(30);

/** The priority of a group, and what is remembered of it. */
export interface HeldPriority {
  /** What other hosts are told. */
  readonly told: number;
  /** What it would be by what is known now. */
  readonly wanted: number;
  /** When `wanted` last fell, in monotonic milliseconds. */
  readonly fellAt: number;
}

/** Falls at once, rises when it has not fallen for a while. */
export function heldPriority(before: HeldPriority | undefined, wanted: number, now: number): HeldPriority {
  if (before === undefined) return { told: wanted, wanted, fellAt: Number.NEGATIVE_INFINITY };
  const fellAt = wanted < before.wanted ? now : before.fellAt;
  const mayRise = now - fellAt >= priorityHoldTime;
  return { told: mayRise ? wanted : Math.min(wanted, before.told), wanted, fellAt };
}

/** Milliseconds until a held priority may rise; undefined when nothing is held. */
export function riseDelay({ told, wanted, fellAt }: HeldPriority, now: number): number | undefined {
  return told < wanted ? Math.max(0, fellAt + priorityHoldTime - now) : undefined;
}
