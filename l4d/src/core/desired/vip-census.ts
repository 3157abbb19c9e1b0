/** What many things ask of all VIPs at once, counted along with what changes: asking costs the same however many there are. */
import { listOrigin } from '../list-changes.ts';
import { forwardModeOf, type Vip } from './vip.ts';
import { isForwarded } from './vip-classes.ts';

/** Numbers of a list of VIPs. */
export interface VipCensus {
  readonly enabled: number;
  /** VIPs with a backend that is reached by NAT. */
  readonly translated: number;
  /** VIPs that move with a group of host.vrrp. */
  readonly grouped: number;
  /** The longest idle timeout of a VIP with policy `forward`, in milliseconds; 0 without one. */
  readonly longestIdle: number;
  /** How many have it. */
  readonly withLongestIdle: number;
}

const none: VipCensus = { enabled: 0, translated: 0, grouped: 0, longestIdle: 0, withLongestIdle: 0 };

const known = new WeakMap<readonly Vip[], VipCensus>();

/** The census of a list. That of one that an edit made is told from that of the list before. */
export function vipCensus(vips: readonly Vip[]): VipCensus {
  const found = known.get(vips);
  if (found !== undefined) return found;
  const origin = listOrigin(vips);
  const before = origin === undefined ? undefined : known.get(origin.before);
  const census =
    (before === undefined || origin === undefined ? undefined : changed(before, origin.changes)) ??
    vips.reduce(plus, none);
  known.set(vips, census);
  return census;
}

/** Whether packets to some backend of a VIP are translated. */
export function isTranslated(vip: Vip): boolean {
  return isForwarded(vip) && vip.backends.some((backend) => forwardModeOf(vip, backend) === 'nat');
}

/** Undefined when the longest idle timeout has gone, and all have to be asked for the next. */
function changed(
  before: VipCensus,
  { removed, added }: { readonly removed: readonly Vip[]; readonly added: readonly Vip[] },
): VipCensus | undefined {
  const after = removed.reduce(minus, added.reduce(plus, before));
  return after.withLongestIdle > 0 || after.longestIdle === 0 ? after : undefined;
}

function plus(census: VipCensus, vip: Vip): VipCensus {
  const idle = isForwarded(vip) ? vip.idleTimeout : 0;
  const { longestIdle, withLongestIdle } = census;
  return {
    ...counted(census, vip, 1),
    longestIdle: Math.max(idle, longestIdle),
    withLongestIdle: idle > longestIdle ? 1 : withLongestIdle + (idle === longestIdle && idle > 0 ? 1 : 0),
  };
}

function minus(census: VipCensus, vip: Vip): VipCensus {
  const idle = isForwarded(vip) ? vip.idleTimeout : 0;
  const { longestIdle, withLongestIdle } = census;
  const isOne = idle > 0 && idle === longestIdle;
  return { ...counted(census, vip, -1), longestIdle, withLongestIdle: withLongestIdle - (isOne ? 1 : 0) };
}

function counted(census: VipCensus, vip: Vip, one: 1 | -1) {
  return {
    enabled: census.enabled + (vip.enabled ? one : 0),
    translated: census.translated + (isTranslated(vip) ? one : 0),
    grouped: census.grouped + (vip.vrrpGroup === undefined ? 0 : one),
  };
}
