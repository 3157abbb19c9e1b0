import type { Announce } from '@l4d/announcer/core/config/route-attributes.ts';
import type { PrefixInput } from '@l4d/announcer/core/prefix-list.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import type { Aggregate } from './desired/aggregate.ts';
import type { Vip } from './desired/vip.ts';

/** A VIP that leaves: still announced, so that routers find another way before it is withdrawn. */
export interface LeavingAddress {
  readonly address: IpAddress;
  readonly announce: Announce | undefined;
}

/** What is announced, and how attributes of addresses are found. */
export interface AnnouncedParts {
  /** All that are declared: VIPs that share an address agree on attributes, the first that says them says them for all. */
  readonly declared: readonly Vip[];
  readonly announced: readonly Vip[];
  readonly leaving: readonly LeavingAddress[];
  readonly aggregates: readonly Aggregate[];
}

/** GRACEFUL_SHUTDOWN (RFC 8326 section 3). */
export const gracefulShutdownCommunity = '65535:0';

/**
 * The routes to announce, sorted by prefix: the /32 or /128 of each VIP, but for those within an aggregate that
 * stands for them, and the aggregates with a VIP in them. VIPs that share a prefix share its fate: it is announced
 * while any of them is, and as leaving when all of them leave.
 */
export function announcedRoutes({ declared, announced, leaving, aggregates }: AnnouncedParts): PrefixInput[] {
  const routes = new Map<string, { announce: Announce | undefined; isLeaving: boolean }>();
  const add = (address: IpAddress, own: Announce | undefined, isLeaving: boolean) => {
    const covering = aggregates.find(({ prefix }) => prefixContains(prefix, address));
    if (covering !== undefined) put(formatIpPrefix(covering.prefix), covering.announce, isLeaving);
    if (covering?.summaryOnly !== true) put(formatIpPrefix(hostPrefix(address)), own, isLeaving);
  };
  const put = (text: string, announce: Announce | undefined, isLeaving: boolean) => {
    const known = routes.get(text);
    if (known === undefined) routes.set(text, { announce, isLeaving });
    else {
      known.isLeaving &&= isLeaving;
      known.announce ??= announce;
    }
  };
  for (const { address } of announced) add(address, undefined, false);
  for (const { address, announce } of leaving) add(address, announce, true);
  for (const { address, announce } of declared) {
    if (announce === undefined) continue;
    const known = routes.get(formatIpPrefix(hostPrefix(address)));
    if (known !== undefined) known.announce ??= announce;
  }
  return [...routes.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([prefix, { announce, isLeaving }]) => ({
      prefix,
      ...announce,
      ...(isLeaving ? leavingAttributes(announce) : {}),
    }));
}

/** RFC 8326 section 4.1: the community for all, and the least LOCAL_PREF for routers of our own AS. */
function leavingAttributes(announce: Announce | undefined): Pick<PrefixInput, 'communities' | 'localPref'> {
  return { communities: [...(announce?.communities ?? []), gracefulShutdownCommunity], localPref: 0 };
}

/** The prefix that brings traffic of an address here: its own, or one that stands for it. */
export function routePrefix(address: IpAddress, aggregates: readonly Aggregate[]): string {
  const covering = aggregates.find(
    ({ prefix, summaryOnly }) => summaryOnly && prefixContains(prefix, address),
  );
  return formatIpPrefix(covering?.prefix ?? hostPrefix(address));
}

/** Whether a route is announced as leaving. */
export function isLeavingRoute({ communities }: PrefixInput): boolean {
  return communities?.includes(gracefulShutdownCommunity) ?? false;
}
