import { formatDuration } from '@l4d/kit/duration.ts';
import type { EndingView } from './status.ts';
import { type EndingCause, forwardsUntil, recentPackets, type VipEnding } from './vip-ending.ts';

/** An ending for people and programs. `wallTimeOf` makes epoch milliseconds of clock milliseconds. */
export function endingView(ending: VipEnding, wallTimeOf: (clockMs: number) => number): EndingView {
  const until = forwardsUntil(ending);
  const shared = {
    cause: ending.cause,
    sinceMs: Math.round(wallTimeOf(ending.since)),
    text: describe(ending, wallTimeOf),
  };
  if (ending.over !== undefined) return { ...shared, step: 'over', endedBy: ending.over.by };
  if (ending.leftAt === undefined) return { ...shared, step: 'graceful-shutdown' };
  if (until === undefined) return { ...shared, step: 'withdrawing' };
  return {
    ...shared,
    step: 'withdrawn',
    packetsLastSecond: recentPackets(ending),
    forwardsUntilMs: Math.round(wallTimeOf(until)),
  };
}

function describe(ending: VipEnding, wallTimeOf: (clockMs: number) => number): string {
  const { leftAt, withdrawnAt, over, limits, cause } = ending;
  if (over !== undefined) return `withdrawn, ${overText(ending, over)}`;
  if (leftAt === undefined) {
    const until = wallTimeOf(ending.since + limits.gracefulShutdown);
    return `announced with GRACEFUL_SHUTDOWN until ${timeOfDay(until)}`;
  }
  if (withdrawnAt === undefined) return 'being withdrawn: the announcer has not taken it yet, forwards';
  const until = timeOfDay(wallTimeOf(withdrawnAt + limits.atMost));
  const what = endsForwarding(cause) ? 'forwards until quiet or' : 'watched until quiet or';
  return `withdrawn, ${packetsText(recentPackets(ending))} in the last second, ${what} ${until}`;
}

function overText({ cause, limits }: VipEnding, { by }: NonNullable<VipEnding['over']>): string {
  const then = endsForwarding(cause) ? 'forwarding has ended' : 'forwards what may still arrive';
  if (by === 'quiet') return `quiet for ${formatDuration(limits.quiet)}, ${then}`;
  if (by === 'bound') return `packets still came after ${formatDuration(limits.atMost)}, ${then}`;
  return `no announcer has taken the withdraw, ${then}`;
}

/** Whether forwarding ends with it: a VIP that stays declared is forwarded as long as it is. */
export function endsForwarding(cause: EndingCause): boolean {
  return cause === 'removed' || cause === 'stopping' || cause === 'detached';
}

function packetsText(count: number): string {
  return count === 1 ? '1 packet' : `${count} packets`;
}

/** HH:MM:SS in UTC. */
function timeOfDay(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(11, 19)} UTC`;
}
