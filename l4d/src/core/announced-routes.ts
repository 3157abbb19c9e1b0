import type { Announce } from '@l4d/announcer/core/config/route-attributes.ts';
import type { PrefixInput } from '@l4d/announcer/core/prefix-list.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import type { Aggregate } from './desired/aggregate.ts';
import type { Vip } from './desired/vip.ts';
import { withListChanges } from './list-changes.ts';

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

/** What one VIP says about the routes of its address. */
export interface RouteClaim {
  readonly address: IpAddress;
  /** Attributes that it declares. */
  readonly announce: Announce | undefined;
  /** `none`: it has no part in whether there is a route, and its attributes count for those that share its address. */
  readonly state: 'announced' | 'leaving' | 'none';
}

/** Routes that follow from claims: a claim that changes costs the same however many there are. */
export interface RouteBook {
  /** Replaces what is claimed under a key; undefined takes it back. */
  claim(key: string, claim: RouteClaim | undefined): void;
  /** The covering prefixes; other ones than before are a new book for every claim. */
  setAggregates(aggregates: readonly Aggregate[]): void;
  /** Sorted by prefix; a route that has not changed is the same value as before, and so is the list. */
  routes(): readonly PrefixInput[];
}

/**
 * Routes: the /32 or /128 of each VIP, but for those within an aggregate that stands for them, and the aggregates with
 * a VIP in them. VIPs that share a prefix share its fate: it is announced while any of them is, and as leaving when
 * all of them leave.
 */
export function createRouteBook(): RouteBook {
  let aggregates: readonly Aggregate[] = [];
  const claims = new Map<string, RouteClaim>();
  const groups = new Map<string, RouteGroup>();
  const changed = new Set<string>();
  let list: readonly PrefixInput[] = [];

  function count(key: string, claim: RouteClaim, one: 1 | -1): void {
    const covering = aggregates.find(({ prefix }) => prefixContains(prefix, claim.address));
    if (covering !== undefined) {
      const group = groupOf(formatIpPrefix(covering.prefix));
      group.of = covering;
      if (claim.state !== 'none') group[claim.state] += one;
    }
    const group = groupOf(formatIpPrefix(hostPrefix(claim.address)));
    if (claim.state !== 'none' && covering?.summaryOnly !== true) group[claim.state] += one;
    if (claim.announce === undefined) return;
    const attributes = claim.state === 'leaving' ? group.ofLeaving : group.ofOthers;
    if (one === 1) attributes.set(key, claim.announce);
    else attributes.delete(key);
  }

  function groupOf(prefix: string): RouteGroup {
    changed.add(prefix);
    const known = groups.get(prefix);
    if (known !== undefined) return known;
    const group = { announced: 0, leaving: 0, of: undefined, ofLeaving: new Map(), ofOthers: new Map() };
    groups.set(prefix, group);
    return group;
  }

  function routeOf(prefix: string): PrefixInput | undefined {
    const group = groups.get(prefix);
    if (group === undefined) return undefined;
    const { announced, leaving, of, ofLeaving, ofOthers } = group;
    if (announced + leaving === 0) {
      if (ofLeaving.size + ofOthers.size === 0) groups.delete(prefix);
      return undefined;
    }
    const announce = of?.announce ?? firstOf(ofLeaving) ?? firstOf(ofOthers);
    return { prefix, ...announce, ...(announced === 0 ? leavingAttributes(announce) : {}) };
  }

  return {
    claim(key, claim) {
      const before = claims.get(key);
      if (before !== undefined) count(key, before, -1);
      if (claim === undefined) claims.delete(key);
      else {
        claims.set(key, claim);
        count(key, claim, 1);
      }
    },
    setAggregates(next) {
      if (next === aggregates || JSON.stringify(next) === JSON.stringify(aggregates)) return;
      for (const prefix of groups.keys()) changed.add(prefix);
      groups.clear();
      aggregates = next;
      for (const [key, claim] of claims) count(key, claim, 1);
    },
    routes() {
      if (changed.size > maxPlaced)
        list = sortedRoutes([...groups.keys()].flatMap((text) => routeOf(text) ?? []));
      else for (const prefix of changed) list = placed(list, prefix, routeOf(prefix));
      changed.clear();
      return list;
    },
  };
}

interface RouteGroup {
  announced: number;
  leaving: number;
  /** The aggregate that the prefix is; undefined for the route of one address. */
  of: Aggregate | undefined;
  readonly ofLeaving: Map<string, Announce>;
  readonly ofOthers: Map<string, Announce>;
}

/** From so many changes on the list is made anew. */
const maxPlaced = 100;

function firstOf(attributes: ReadonlyMap<string, Announce>): Announce | undefined {
  for (const announce of attributes.values()) return announce;
  return undefined;
}

function sortedRoutes(routes: PrefixInput[]): PrefixInput[] {
  return routes.sort((a, b) => (a.prefix < b.prefix ? -1 : 1));
}

/** The sorted list with the route of a prefix, or without one. */
function placed(
  list: readonly PrefixInput[],
  prefix: string,
  route: PrefixInput | undefined,
): readonly PrefixInput[] {
  let low = 0;
  for (let high = list.length; low < high; ) {
    const middle = (low + high) >> 1;
    if ((list[middle] as PrefixInput).prefix < prefix) low = middle + 1;
    else high = middle;
  }
  const known = list[low]?.prefix === prefix ? list[low] : undefined;
  if (known === undefined)
    return route === undefined ? list : withListChanges(list, { at: low, removed: [], added: [route] });
  if (route === undefined) return withListChanges(list, { at: low, removed: [known], added: [] });
  if (JSON.stringify(known) === JSON.stringify(route)) return list;
  return withListChanges(list, { at: low, removed: [known], added: [route] });
}

/** The routes of these, at once (createRouteBook). */
export function announcedRoutes({ declared, announced, leaving, aggregates }: AnnouncedParts): PrefixInput[] {
  const book = createRouteBook();
  book.setAggregates(aggregates);
  for (const [index, { address, announce }] of declared.entries()) {
    book.claim(`declared ${index}`, { address, announce, state: 'none' });
  }
  for (const [index, { address }] of announced.entries()) {
    book.claim(`announced ${index}`, { address, announce: undefined, state: 'announced' });
  }
  for (const [index, { address, announce }] of leaving.entries()) {
    book.claim(`leaving ${index}`, { address, announce, state: 'leaving' });
  }
  return [...book.routes()];
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
