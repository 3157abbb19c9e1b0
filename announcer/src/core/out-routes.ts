import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import type { OutRoute } from './adj-rib-out.ts';
import { type AsSegment, asSegmentType } from './codec/as-path.ts';
import { type PathAttribute, pathAttribute } from './codec/attribute.ts';
import type { RoleName } from './codec/capability-values.ts';
import type { FamilyName } from './negotiation.ts';
import {
  attributesKey,
  linkBandwidthCommunity,
  type PeerPolicy,
  policyAllows,
  type RouteAttributes,
  withPolicy,
} from './route-policy.ts';

/** A prefix that shall be announced, and with what. */
export interface DesiredPrefix extends RouteAttributes {
  /** Canonical text of the prefix, and `#` and the path identifier unless that is 1: its key in all tables. */
  readonly key: string;
  readonly prefix: IpPrefix;
  /** In place of the session's next hop. */
  readonly nextHop?: IpAddress;
  /** RFC 7911; default 1. */
  readonly pathId?: number;
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

type RouteSet = Omit<OutRoute, 'prefix'>;

/** A route maker for one session: it builds each distinct set of attributes once. */
export function routeMaker(session: SessionView): (desired: DesiredPrefix) => Result<OutRoute, string> {
  const sets = new Map<string, RouteSet>();
  const own = { ipv4: nextHopOf(session, 'ipv4'), ipv6: nextHopOf(session, 'ipv6') };
  let last: { of: DesiredPrefix; set: RouteSet } | undefined;
  return (desired) => {
    const name: FamilyName = desired.prefix.address.family === 4 ? 'ipv4' : 'ipv6';
    const withPaths = session.pathFamilies?.includes(name) ?? false;
    const refusal = refuse(session, desired, name, withPaths);
    if (refusal !== undefined) return err(refusal);
    const nextHop = desired.nextHop ?? own[name];
    if (nextHop === undefined) return err(missingNextHop[name]);
    let set = last !== undefined && looksTheSame(last.of, desired) ? last.set : undefined;
    if (set === undefined) {
      const group = `${formatIpAddress(nextHop)} ${attributesKey(desired)}`;
      const key = `${name} ${group}`;
      set = sets.get(key);
      if (set === undefined) {
        set = makeSet(session, desired, name, nextHop, group);
        sets.set(key, set);
      }
      last = { of: desired, set };
    }
    const { attributes, group, mpNextHop } = set;
    const prefix = withPaths ? { ...desired.prefix, pathId: desired.pathId ?? onlyPath } : desired.prefix;
    return ok(
      mpNextHop === undefined ? { prefix, attributes, group } : { prefix, attributes, group, mpNextHop },
    );
  };
}

/** What a session shall carry, by prefix; and why the rest cannot go there. */
export function routesFor(
  session: SessionView,
  prefixes: Iterable<DesiredPrefix>,
): { readonly routes: Map<string, OutRoute>; readonly refused: Map<string, string> } {
  const make = routeMaker(session);
  const routes = new Map<string, OutRoute>();
  const refused = new Map<string, string>();
  for (const desired of prefixes) {
    const { key } = desired;
    const route = make(desired);
    if (route.ok) routes.set(key, route.value);
    else refused.set(key, route.error);
  }
  return { routes, refused };
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

function refuse(
  session: SessionView,
  desired: DesiredPrefix,
  name: FamilyName,
  withPaths: boolean,
): string | undefined {
  if (!session.families.includes(name)) return `the session does not carry ${name} unicast`;
  if (!withPaths && desired.pathId !== undefined && desired.pathId !== onlyPath) {
    return 'a path other than 1 needs addPath (RFC 7911) on both sides';
  }
  if (
    desired.nextHop !== undefined &&
    name === 'ipv4' &&
    desired.nextHop.family === 6 &&
    !session.extendedNextHop
  ) {
    return 'an IPv6 next hop of an IPv4 prefix needs extendedNextHop (RFC 8950) on both sides';
  }
  if (session.policy !== undefined && !policyAllows(session.policy, desired.prefix)) {
    return "the peer's policy keeps it back";
  }
  return undefined;
}

/** Long lists mostly have equal neighbours: for those no key is made. */
function looksTheSame(a: DesiredPrefix, b: DesiredPrefix): boolean {
  return (
    a.prefix.address.family === b.prefix.address.family &&
    a.med === b.med &&
    a.communities.length === 0 &&
    b.communities.length === 0 &&
    a.localPref === b.localPref &&
    a.prepend === b.prepend &&
    a.nextHop === b.nextHop &&
    a.largeCommunities === b.largeCommunities &&
    a.extendedCommunities === b.extendedCommunities &&
    a.linkBandwidth === b.linkBandwidth
  );
}

function makeSet(
  session: SessionView,
  desired: DesiredPrefix,
  name: FamilyName,
  nextHop: IpAddress,
  group: string,
): RouteSet {
  const attributes = makeAttributes(session, withPolicy(desired, session.policy?.attributes), nextHop);
  // What the group does not say is the session's; shutting down changes it in the session's life.
  const complete = `${group} ${session.shuttingDown ? 'leaving' : ''}${policyKey(session)}`;
  // RFC 4760: IPv6 goes in MP_REACH_NLRI; RFC 8950: IPv4 with an IPv6 next hop too.
  return name === 'ipv6' || nextHop.family === 6
    ? { attributes, group: complete, mpNextHop: nextHop.bytes }
    : { attributes, group: complete };
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
  const communities = session.shuttingDown ? [...wanted.communities, gracefulShutdown] : wanted.communities;
  if (communities.length > 0) attributes.push(pathAttribute({ kind: 'communities', communities }));
  const { linkBandwidth: bandwidth } = wanted;
  const extended = [
    ...(wanted.extendedCommunities ?? []),
    ...(bandwidth === undefined
      ? []
      : [linkBandwidthCommunity(session.localAs, bandwidth.mbps, bandwidth.transitive)]),
  ];
  if (extended.length > 0) {
    attributes.push(pathAttribute({ kind: 'extended-communities', communities: extended }));
  }
  // RFC 6793 section 4.2.2: to a peer without four-octet AS numbers AS4_PATH carries what AS_TRANS hides; it
  // is left out when all numbers of the path fit in two octets.
  if (!session.fourOctetAs && !session.internal && session.localAs > 0xffff) {
    attributes.push(pathAttribute({ kind: 'as4-path', segments }));
  }
  const large = wanted.largeCommunities ?? [];
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
