import type { OtherPath } from '@l4d/announcer/core/api-status.ts';
import { vipKeyText } from './desired/vip.ts';
import { vipCensus } from './desired/vip-census.ts';
import { changedVips } from './desired/vip-changes.ts';
import type { DesiredState } from './desired-state.ts';
import { withoutOtherPath } from './other-announcers.ts';

/** Names told of a long list. */
const maxNames = 5;

/**
 * Why a change is refused unless it is forced: it would take away more of this host's announcements than one change
 * should. The guard is that of the state in force: a change does not loosen it for itself. Draining the host is no
 * such change, for that is what it says; see drainWarnings.
 */
export function guardChange(before: DesiredState, after: DesiredState): string[] {
  const announced = isAnnouncing(before) ? vipCensus(before.vips).enabled : 0;
  if (announced === 0) return [];
  const lost = lostConnection(after);
  if (lost !== undefined) {
    return [`${lost}: none of the ${count(announced, 'VIP')} here would be announced any more`];
  }
  const { maxWithdrawShare, minVips } = before.host.guard;
  if (announced < minVips) return [];
  const { removed, added } = changedVips(before.vips, after.vips);
  const left = new Set(added.filter(({ enabled }) => enabled).map(vipKeyText));
  const gone = removed.filter((vip) => vip.enabled && !left.has(vipKeyText(vip)));
  if (gone.length * 100 <= maxWithdrawShare * announced) return [];
  const names = gone.slice(0, maxNames).map(({ name }) => name);
  const more = gone.length > maxNames ? `, and ${gone.length - maxNames} more` : '';
  return [
    `withdraws ${gone.length} of ${announced} VIPs (${names.join(', ')}${more}); ` +
      `host.guard.maxWithdrawShare allows ${maxWithdrawShare}% at a time`,
  ];
}

/** What an operator should know before a drain; `paths` are those of other hosts, as routers show them. */
export function drainWarnings(
  before: DesiredState,
  after: DesiredState,
  paths: readonly OtherPath[],
): string[] {
  if (before.host.draining || !after.host.draining) return [];
  const announced = isAnnouncing(before) ? before.vips.filter(({ enabled }) => enabled) : [];
  const aggregates = before.host.bgp?.aggregates ?? [];
  const lonely = withoutOtherPath(
    paths,
    announced.map(({ address }) => address),
    aggregates,
  );
  if (lonely.length === 0) return [];
  const held = after.host.guard.lastAnnouncer === 'hold';
  const then = held
    ? 'they stay announced with GRACEFUL_SHUTDOWN until one does, or the drain is forced'
    : 'where no other host announces them, they end';
  const names = lonely.slice(0, maxNames).join(', ');
  const more = lonely.length > maxNames ? `, and ${lonely.length - maxNames} more` : '';
  return [`no router shows another host's path to ${names}${more}: ${then}`];
}

/** Whether there is anybody to announce to: a named router, or whoever connects from a range. */
function hasPeers({ peers, dynamicPeers = [] }: DesiredState): boolean {
  return peers.length + dynamicPeers.length > 0;
}

function isAnnouncing(state: DesiredState): boolean {
  return state.host.bgp !== undefined && hasPeers(state) && !state.host.draining;
}

function lostConnection(after: DesiredState): string | undefined {
  if (after.host.bgp === undefined) return 'removes host.bgp';
  if (hasPeers(after)) return undefined;
  return 'removes the last BGP peer';
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
