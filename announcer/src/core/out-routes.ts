import { formatIpAddress, type IpAddress, type IpFamily, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { type AsSegment, asSegmentType } from './codec/as-path.ts';
import { type PathAttribute, pathAttribute } from './codec/attribute.ts';
import type { RoleName } from './codec/capability-values.ts';
import type { FamilyName } from './negotiation.ts';
import { type AttributeSet, type PrefixTable, prefixAt } from './prefix-table.ts';
import {
  attributesKey,
  linkBandwidthCommunity,
  type PeerPolicy,
  policyAllows,
  type RouteAttributes,
  withPolicy,
} from './route-policy.ts';

/** A route but for its prefix, as one peer shall see it. */
export interface RouteShape {
  readonly family: IpFamily;
  /** Everything but the next hop of IPv6 routes, which goes into MP_REACH_NLRI. */
  readonly attributes: readonly PathAttribute[];
  /** Next hop bytes of MP_REACH_NLRI; undefined for classic IPv4 routes. */
  readonly mpNextHop?: Uint8Array;
  /** Equal for routes that can share an UPDATE, different for all others. */
  readonly group: string;
}

/** How a session sees the table of prefixes. */
export interface RouteView {
  /** The route of a slot that has attributes, or why the session cannot carry it. */
  routeOf(table: PrefixTable, slot: number): RouteShape | string;
  /** Families with path identifiers (RFC 7911). */
  readonly pathFamilies: readonly FamilyName[];
}

/** What of a session decides how routes look on it. */
export interface SessionView {
  readonly localAs: number;
  readonly internal: boolean;
  readonly fourOctetAs: boolean;
  /** Negotiated families. */
  readonly families: readonly FamilyName[];
  /** Next hop of IPv4 prefixes: configured, or the session's own IPv4 address. */
  readonly nextHop4?: IpAddress;
  /** Next hop of IPv6 prefixes: configured, or the session's own IPv6 address. */
  readonly nextHop6?: IpAddress;
  /** The peer's own address on the session. */
  readonly peerAddress?: IpAddress;
  /** Our link-local address on the session, told beside nextHop6 (RFC 2545 section 3). */
  readonly linkLocal?: IpAddress;
  /** IPv4 prefixes may go with IPv6 next hops (RFC 8950). */
  readonly extendedNextHop?: boolean;
  /** Families with path identifiers (RFC 7911). */
  readonly pathFamilies?: readonly FamilyName[];
  /** What we are to the peer (RFC 9234). */
  readonly role?: RoleName;
  readonly policy?: PeerPolicy;
  /** A planned stop is near: routes carry GRACEFUL_SHUTDOWN (RFC 8326). */
  readonly shuttingDown?: boolean;
}

/** LOCAL_PREF towards internal peers (RFC 4271 section 5.1.5); 100 is what routers assume. */
const localPreference = 100;

/** GRACEFUL_SHUTDOWN, 65535:0 (RFC 8326 section 3). */
const gracefulShutdown = 0xffff_0000;

/** Path identifier of a prefix that has one path. */
const onlyPath = 1;

/** The view of one session: it builds the routes of each distinct set of attributes once. */
export function routeView(session: SessionView): RouteView {
  const pathFamilies = session.pathFamilies ?? [];
  const { policy } = session;
  const filters = policy !== undefined && (policy.allow !== undefined || policy.deny.length > 0);
  const views = ([4, 6] as const).map((family) => {
    const name: FamilyName = family === 4 ? 'ipv4' : 'ipv6';
    return {
      known: new WeakMap<AttributeSet, RouteShape | string>(),
      manyPaths: pathFamilies.includes(name),
      make: (set: AttributeSet) => makeRoute(session, set, family, name),
      lastSet: undefined as AttributeSet | undefined,
      lastRoute: '' as RouteShape | string,
    };
  });
  return {
    pathFamilies,
    routeOf(table, slot) {
      const view = views[table.families[slot] === 6 ? 1 : 0];
      const set = table.attributes[slot];
      if (view === undefined || set === undefined) return 'it is not announced';
      if (view.lastSet !== set) {
        let route = view.known.get(set);
        if (route === undefined) {
          route = view.make(set);
          view.known.set(set, route);
        }
        view.lastSet = set;
        view.lastRoute = route;
      }
      if (typeof view.lastRoute === 'string') return view.lastRoute;
      if (!view.manyPaths && table.paths[slot] !== onlyPath) {
        return 'a path other than 1 needs addPath (RFC 7911) on both sides';
      }
      if (filters && !policyAllows(policy, prefixAt(table, slot))) return "the peer's policy keeps it back";
      return view.lastRoute;
    },
  };
}

const missingNextHop: Readonly<Record<FamilyName, string>> = {
  ipv4: 'an IPv4 prefix on an IPv6 session needs nextHop4, or extendedNextHop (RFC 8950) on both sides',
  ipv6: 'an IPv6 prefix on an IPv4 session needs nextHop6',
};

/** RFC 8950: with the extended encoding the session's IPv6 next hop does for IPv4 as well. */
function nextHopOf(session: SessionView, name: FamilyName): IpAddress | undefined {
  if (name === 'ipv6') return session.nextHop6;
  return session.nextHop4 ?? (session.extendedNextHop ? session.nextHop6 : undefined);
}

/**
 * RFC 2545 section 3: the link-local address is told too when the speaker "shares a common subnet" with the peer, which
 * a link-local session shows; only beside an address of our own.
 */
function mpNextHopOf({ linkLocal, nextHop6 }: SessionView, nextHop: IpAddress): Uint8Array {
  if (linkLocal === undefined || nextHop !== nextHop6) return nextHop.bytes;
  return Uint8Array.of(...nextHop.bytes, ...linkLocal.bytes);
}

/** The route of these attributes, or why the session cannot carry it. */
function makeRoute(
  session: SessionView,
  set: AttributeSet,
  family: IpFamily,
  name: FamilyName,
): RouteShape | string {
  if (!session.families.includes(name)) return `the session does not carry ${name} unicast`;
  if (set.nextHop !== undefined && family === 4 && set.nextHop.family === 6 && !session.extendedNextHop) {
    return 'an IPv6 next hop of an IPv4 prefix needs extendedNextHop (RFC 8950) on both sides';
  }
  const nextHop = set.nextHop ?? nextHopOf(session, name);
  if (nextHop === undefined) return missingNextHop[name];
  // RFC 4271 section 5.1.3: "A route originated by a BGP speaker SHALL NOT be advertised to a peer using an address of
  // that peer as NEXT_HOP."
  if (session.peerAddress !== undefined && sameIpAddress(nextHop, session.peerAddress)) {
    return `the next hop ${formatIpAddress(nextHop)} is the peer's own address (RFC 4271 section 5.1.3)`;
  }
  const attributes = makeAttributes(session, withPolicy(set, session.policy?.attributes), nextHop);
  // What the text does not say is the session's; shutting down changes it in the session's life.
  const leaving = session.shuttingDown ? 'leaving' : '';
  const group = `${name} ${formatIpAddress(nextHop)} ${attributesKey(set)} ${leaving}${policyKey(session)}`;
  // RFC 4760: IPv6 goes in MP_REACH_NLRI; RFC 8950: IPv4 with an IPv6 next hop too.
  return family === 6 || nextHop.family === 6
    ? { family, attributes, group, mpNextHop: mpNextHopOf(session, nextHop) }
    : { family, attributes, group };
}

function policyKey({ policy }: SessionView): string {
  return policy === undefined ? '' : attributesKey(policy.attributes);
}

function makeAttributes(session: SessionView, wanted: RouteAttributes, nextHop: IpAddress): PathAttribute[] {
  // RFC 4271 section 5.1.2: towards an internal peer a route of our own has an empty AS_PATH; towards an
  // external one a sequence with our AS alone, here as often as it shall look long.
  const asNumbers = new Array<number>(1 + (wanted.prepend ?? 0)).fill(session.localAs);
  const segments: AsSegment[] = session.internal ? [] : [{ type: asSegmentType.sequence, asNumbers }];
  const attributes: PathAttribute[] = [
    pathAttribute({ kind: 'origin', origin: 0 }),
    pathAttribute({ kind: 'as-path', segments }),
  ];
  if (nextHop.family === 4) attributes.push(pathAttribute({ kind: 'next-hop', address: nextHop }));
  if (wanted.med !== undefined) attributes.push(pathAttribute({ kind: 'med', med: wanted.med }));
  // RFC 4271 section 5.1.5: LOCAL_PREF "shall be included in all UPDATE messages ... to other internal peers"
  // and "MUST NOT" be in those to external ones. RFC 8326 section 4.1: 0 is recommended before a shutdown.
  if (session.internal) {
    const localPref = session.shuttingDown ? 0 : (wanted.localPref ?? localPreference);
    attributes.push(pathAttribute({ kind: 'local-pref', localPref }));
  }
  const communities = distinct(
    session.shuttingDown ? [...wanted.communities, gracefulShutdown] : wanted.communities,
  );
  if (communities.length > 0) attributes.push(pathAttribute({ kind: 'communities', communities }));
  const { linkBandwidth: bandwidth } = wanted;
  const extended = distinct([
    ...(wanted.extendedCommunities ?? []),
    ...(bandwidth === undefined
      ? []
      : [linkBandwidthCommunity(session.localAs, bandwidth.mbps, bandwidth.transitive)]),
  ]);
  if (extended.length > 0) {
    attributes.push(pathAttribute({ kind: 'extended-communities', communities: extended }));
  }
  // RFC 6793 section 4.2.2: to a peer without four-octet AS numbers AS4_PATH carries what AS_TRANS hides; it
  // is left out when all numbers of the path fit in two octets.
  if (!session.fourOctetAs && !session.internal && session.localAs > 0xffff) {
    attributes.push(pathAttribute({ kind: 'as4-path', segments }));
  }
  const large = distinct(wanted.largeCommunities ?? []);
  if (large.length > 0) attributes.push(pathAttribute({ kind: 'large-communities', communities: large }));
  // RFC 9234 section 5, egress 1: a route to a customer, a peer or a client of a route server gets our AS as OTC.
  if (
    !session.internal &&
    (session.role === 'provider' || session.role === 'peer' || session.role === 'rs')
  ) {
    attributes.push(pathAttribute({ kind: 'only-to-customer', as: session.localAs }));
  }
  return attributes;
}

/** RFC 8092 section 5: "Duplicate BGP Large Community values MUST NOT be transmitted"; the others are sets as well. */
function distinct<Community extends number | readonly number[] | Uint8Array>(
  communities: readonly Community[],
): Community[] {
  return [...new Map(communities.map((community) => [String(community), community])).values()];
}
