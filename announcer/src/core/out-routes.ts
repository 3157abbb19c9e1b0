import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import type { OutRoute } from './adj-rib-out.ts';
import { type AsSegment, asSegmentType } from './codec/as-path.ts';
import { type PathAttribute, pathAttribute } from './codec/attribute.ts';
import type { FamilyName } from './negotiation.ts';

/** A prefix that shall be announced, and with what. */
export interface DesiredPrefix {
  /** Canonical text of the prefix: its key in all tables. */
  readonly key: string;
  readonly prefix: IpPrefix;
  /** MULTI_EXIT_DISC, unsigned 32 bits. */
  readonly med?: number;
  /** RFC 1997, unsigned 32 bits each. */
  readonly communities: readonly number[];
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
}

/** LOCAL_PREF towards internal peers (RFC 4271 section 5.1.5); 100 is what routers assume. */
const localPreference = 100;

/** A route maker for one session: it builds each distinct set of attributes once. */
export function routeMaker(session: SessionView): (desired: DesiredPrefix) => Result<OutRoute, string> {
  const sets = new Map<string, Omit<OutRoute, 'prefix'>>();
  return (desired) => {
    const family = desired.prefix.address.family;
    const name: FamilyName = family === 4 ? 'ipv4' : 'ipv6';
    if (!session.families.includes(name)) return err(`the session does not carry ${name} unicast`);
    const nextHop = family === 4 ? session.nextHop4 : session.nextHop6;
    if (nextHop === undefined) return err(missingNextHop[name]);
    const group = `${formatIpAddress(nextHop)} ${desired.med ?? ''} ${desired.communities.join(',')}`;
    const key = `${family} ${group}`;
    let set = sets.get(key);
    if (set === undefined) {
      set = { ...makeAttributes(session, desired, nextHop), group };
      sets.set(key, set);
    }
    return ok({ ...set, prefix: desired.prefix });
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
  ipv4: 'an IPv4 prefix on an IPv6 session needs nextHop4 (extended next hops, RFC 8950, are not supported)',
  ipv6: 'an IPv6 prefix on an IPv4 session needs nextHop6',
};

function makeAttributes(
  session: SessionView,
  desired: DesiredPrefix,
  nextHop: IpAddress,
): Pick<OutRoute, 'attributes' | 'mpNextHop'> {
  // RFC 4271 section 5.1.2: towards an internal peer a route of our own has an empty AS_PATH; towards an
  // external one a sequence with our AS alone.
  const segments: AsSegment[] = session.internal
    ? []
    : [{ type: asSegmentType.sequence, asNumbers: [session.localAs] }];
  const attributes: PathAttribute[] = [
    pathAttribute({ kind: 'origin', origin: 0 }),
    pathAttribute({ kind: 'as-path', segments }),
  ];
  if (nextHop.family === 4) attributes.push(pathAttribute({ kind: 'next-hop', address: nextHop }));
  if (desired.med !== undefined) attributes.push(pathAttribute({ kind: 'med', med: desired.med }));
  // RFC 4271 section 5.1.5: LOCAL_PREF "shall be included in all UPDATE messages ... to other internal peers"
  // and "MUST NOT" be in those to external ones.
  if (session.internal) attributes.push(pathAttribute({ kind: 'local-pref', localPref: localPreference }));
  if (desired.communities.length > 0) {
    attributes.push(pathAttribute({ kind: 'communities', communities: desired.communities }));
  }
  // RFC 6793 section 4.2.2: to a peer without four-octet AS numbers AS4_PATH carries what AS_TRANS hides; it
  // is left out when all numbers of the path fit in two octets.
  if (!session.fourOctetAs && !session.internal && session.localAs > 0xffff) {
    attributes.push(pathAttribute({ kind: 'as4-path', segments }));
  }
  return nextHop.family === 4 ? { attributes } : { attributes, mpNextHop: nextHop.bytes };
}
