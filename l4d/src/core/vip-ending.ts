/**
 * How a VIP that this host is to announce no more leaves, by intent: routers are told to prefer others
 * (GRACEFUL_SHUTDOWN, RFC 8326), then it is withdrawn, then what still arrives is forwarded until its packet
 * counter rests. Each wait is bounded. What fails is not ended this way: it is withdrawn at once.
 */
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';

/** Who wants it to leave. */
export type EndingCause = 'removed' | 'disabled' | 'host-draining' | 'stopping' | 'detached';

/** How long the steps take. */
export interface EndingLimits {
  /** GRACEFUL_SHUTDOWN stands so long; 0: withdrawn at once. */
  readonly gracefulShutdown: Duration;
  /** The counter has not moved for so long: nobody sends any more. */
  readonly quiet: Duration;
  /** Forwarding goes on no longer than this after the withdraw. */
  readonly atMost: Duration;
}

/** A count of packets, and when it was read. */
export interface CounterSample {
  readonly at: number;
  readonly packets: number;
}

/** How far an ending has come; times are clock milliseconds. */
export interface VipEnding {
  readonly cause: EndingCause;
  readonly limits: EndingLimits;
  /** When it was asked for. */
  readonly since: number;
  /** When GRACEFUL_SHUTDOWN had stood long enough, or could stand no longer; undefined while it stands. */
  readonly leftAt: number | undefined;
  /** When the announcer had taken the withdraw; undefined before. */
  readonly withdrawnAt: number | undefined;
  /** Samples of the packet counter since then: those of the last second, and the newest before it. */
  readonly samples: readonly CounterSample[];
  /** When the counter was last seen to have moved, or the withdraw was taken. */
  readonly movedAt: number;
  /** Set once nothing is waited for any more. */
  readonly over: { readonly at: number; readonly by: EndedBy } | undefined;
}

/** What ended it: a counter that rested, a bound, or an announcer that never took the withdraw. */
export type EndedBy = 'quiet' | 'bound' | 'no-announcer';

/**
 * An announcer that does not take a withdraw for so long is dead or cut off: its sessions end by the
 * hold time, or it is in the operator's hands. Forwarding does not go on for ever for its sake.
 */
export const withdrawPatience = Seconds(90);

/** How often the counter is read. */
export const sampleInterval = Milliseconds(200);

/** The brake does not wait for routers: a moment between the withdraw and the end of forwarding. */
export const brakeLimits: EndingLimits = {
  gracefulShutdown: Seconds(0),
  quiet: Seconds(1),
  atMost: Seconds(1),
};

/** The begin of an ending. `isAnnounced`: routers have it; without that there is nothing to hand over. */
export function beginEnding(
  cause: EndingCause,
  limits: EndingLimits,
  isAnnounced: boolean,
  now: number,
): VipEnding {
  const isGraceful = isAnnounced && limits.gracefulShutdown > 0;
  return {
    cause,
    limits,
    since: now,
    leftAt: isGraceful ? undefined : now,
    withdrawnAt: undefined,
    samples: [],
    movedAt: now,
    over: undefined,
  };
}

/** Another wish for a VIP that leaves already. What was over begins to watch the counter again: it now ends something. */
export function changeCause(
  ending: VipEnding,
  cause: EndingCause,
  limits: EndingLimits,
  now: number,
): VipEnding {
  if (ending.cause === cause && ending.limits === limits) return ending;
  const isBrake = cause === 'detached' && ending.cause !== 'detached';
  const next = { ...ending, cause, limits, leftAt: ending.leftAt ?? (isBrake ? now : undefined) };
  if (ending.cause === cause || ending.over === undefined) return next;
  return { ...next, withdrawnAt: now, samples: [], movedAt: now, over: undefined };
}

/**
 * Whether the VIP is still to be announced, with GRACEFUL_SHUTDOWN; asked before the announcer is told.
 * `canServe`: nothing has failed. `isHeld`: another announcer is waited for.
 */
export function stepGraceful(ending: VipEnding, canServe: boolean, isHeld: boolean, now: number): VipEnding {
  if (ending.leftAt !== undefined) return ending;
  if (canServe && (isHeld || now < ending.since + ending.limits.gracefulShutdown)) return ending;
  return { ...ending, leftAt: now };
}

/**
 * The next step after the announcer was told. `isTaken`: it has taken that, or there is none to take it.
 * `packets`: the VIP's counter; undefined where nothing counts.
 */
export function stepEnding(
  ending: VipEnding,
  isTaken: boolean,
  packets: number | undefined,
  now: number,
): VipEnding {
  if (ending.leftAt === undefined || ending.over !== undefined) return ending;
  if (ending.withdrawnAt === undefined) {
    if (isTaken) {
      const samples = packets === undefined ? [] : [{ at: now, packets }];
      return { ...ending, withdrawnAt: now, movedAt: now, samples };
    }
    return now - ending.leftAt >= withdrawPatience
      ? { ...ending, over: { at: now, by: 'no-announcer' } }
      : ending;
  }
  const sampled = packets === undefined ? ending : takeSample(ending, packets, now);
  if (now - sampled.movedAt >= sampled.limits.quiet) return { ...sampled, over: { at: now, by: 'quiet' } };
  if (now - ending.withdrawnAt >= sampled.limits.atMost) {
    return { ...sampled, over: { at: now, by: 'bound' } };
  }
  return sampled;
}

function takeSample(ending: VipEnding, packets: number, now: number): VipEnding {
  const before = ending.samples.at(-1);
  const moved = before !== undefined && before.packets !== packets;
  const samples = [...ending.samples, { at: now, packets }];
  // The newest one that is a second old or more is what the last second is counted from.
  const from = samples.findLastIndex(({ at }) => now - at >= 1000);
  return { ...ending, samples: samples.slice(Math.max(0, from)), movedAt: moved ? now : ending.movedAt };
}

/** When to look again; undefined when it is over. */
export function lookAfter(ending: VipEnding, now: number): Duration | undefined {
  if (ending.over !== undefined) return undefined;
  if (ending.leftAt === undefined) {
    // A timer may fire a little early by the clock that is asked here.
    const left = ending.since + ending.limits.gracefulShutdown - now;
    return Milliseconds(left > 0 ? left + 5 : 1000);
  }
  return ending.withdrawnAt === undefined ? Seconds(1) : sampleInterval;
}

/** Packets of the last second, as far as the counter has been watched. */
export function recentPackets({ samples }: VipEnding): number {
  const [first] = samples;
  const last = samples.at(-1);
  // Another program may have set the counter back.
  return first === undefined || last === undefined ? 0 : Math.max(0, last.packets - first.packets);
}

/** When forwarding ends at the latest; undefined before the withdraw was taken. */
export function forwardsUntil(ending: VipEnding): number | undefined {
  return ending.withdrawnAt === undefined ? undefined : ending.withdrawnAt + ending.limits.atMost;
}
