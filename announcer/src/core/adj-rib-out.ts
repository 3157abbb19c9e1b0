/**
 * Adj-RIB-Out of one session (RFC 4271 section 3.2): what the peer should have, what it was told, and the
 * fewest UPDATEs from the one to the other.
 *
 * The difference is kept as a work list, grouped by shared attributes; UPDATEs are taken from it one by one
 * while the peer takes them. A change that is superseded before it was sent never goes out. The tables are
 * changed in place: 100,000 prefixes are too many to copy for each step.
 */
import type { IpFamily } from '@l4d/kit/ip-address.ts';
import { encodeAttributes, type PathAttribute, pathAttribute } from './codec/attribute.ts';
import { afi as afiNumber, safi as safiNumber } from './codec/iana.ts';
import { headerBytes, maxMessageBytes } from './codec/message.ts';
import { encodedPrefixSize, type NlriPrefix } from './codec/nlri.ts';
import type { UpdateMessage } from './codec/update.ts';
import type { FamilyName } from './negotiation.ts';

/** A route as one peer shall see it. */
export interface OutRoute {
  readonly prefix: NlriPrefix;
  /** Everything but the next hop of IPv6 routes, which goes into MP_REACH_NLRI. */
  readonly attributes: readonly PathAttribute[];
  /** Next hop bytes of MP_REACH_NLRI; undefined for classic IPv4 routes. */
  readonly mpNextHop?: Uint8Array;
  /** Equal for routes that can share an UPDATE, different for all others. */
  readonly group: string;
}

interface Batch {
  /** Undefined: these are withdrawals. */
  readonly template: OutRoute | undefined;
  readonly family: IpFamily;
  readonly name: string;
  readonly prefixes: Map<string, NlriPrefix>;
}

/** State of one session; make a new one for each session. */
export interface AdjRibOut {
  /** Keyed by the text of the prefix. */
  desired: Map<string, OutRoute>;
  readonly advertised: Map<string, OutRoute>;
  readonly work: Map<string, Batch>;
  /** Where on the work list a prefix is. */
  readonly pending: Map<string, Batch>;
  /** Prefixes that the peer wants again, told or not. */
  readonly refreshing: Set<string>;
  /** Whether AS numbers take four octets on this session. */
  readonly fourOctetAs: boolean;
  /** Longest message, in octets. */
  readonly maxBytes: number;
}

/** Nothing desired, nothing told. */
export function emptyAdjRibOut(fourOctetAs: boolean, maxBytes = maxMessageBytes): AdjRibOut {
  return {
    desired: new Map(),
    advertised: new Map(),
    work: new Map(),
    pending: new Map(),
    refreshing: new Set(),
    fourOctetAs,
    maxBytes,
  };
}

/** Replaces what the peer should have (the table is kept, not copied); the work list becomes the difference. */
export function retarget(rib: AdjRibOut, routes: Map<string, OutRoute>): void {
  rib.desired = routes;
  rib.work.clear();
  rib.pending.clear();
  // Withdrawals first: traffic must stop coming before it goes to a worse place.
  for (const [key, { prefix }] of rib.advertised) {
    if (!rib.desired.has(key)) addWork(rib, key, prefix, undefined);
  }
  for (const [key, route] of rib.desired) {
    if (differs(rib, key, route)) addWork(rib, key, route.prefix, route);
  }
}

/** Changes what the peer should have of one prefix (undefined: nothing); costs the same however many there are. */
export function change(rib: AdjRibOut, key: string, route: OutRoute | undefined): void {
  if (route === undefined) rib.desired.delete(key);
  else rib.desired.set(key, route);
  forget(rib, key);
  const told = rib.advertised.get(key);
  if (route === undefined) {
    if (told !== undefined) addWork(rib, key, told.prefix, undefined);
  } else if (differs(rib, key, route)) addWork(rib, key, route.prefix, route);
}

function differs(rib: AdjRibOut, key: string, route: OutRoute): boolean {
  return rib.advertised.get(key)?.group !== route.group || rib.refreshing.has(key);
}

/** Takes a prefix off the work list. */
function forget(rib: AdjRibOut, key: string): void {
  const batch = rib.pending.get(key);
  if (batch === undefined) return;
  rib.pending.delete(key);
  batch.prefixes.delete(key);
  if (batch.prefixes.size === 0) rib.work.delete(batch.name);
}

/** Puts every desired route of a family on the work list again (RFC 2918 section 4). */
export function resend(rib: AdjRibOut, family: FamilyName): void {
  const wanted: IpFamily = family === 'ipv4' ? 4 : 6;
  for (const [key, route] of rib.desired) {
    if (route.prefix.address.family !== wanted) continue;
    rib.refreshing.add(key);
    forget(rib, key);
    addWork(rib, key, route.prefix, route);
  }
}

/** Whether there is anything left to tell. */
export function hasWork(rib: AdjRibOut): boolean {
  return rib.work.size > 0;
}

/** The next UPDATE, as full as it can be, counted as told; undefined when the peer knows all. */
export function nextUpdate(rib: AdjRibOut): UpdateMessage | undefined {
  const first = rib.work.entries().next();
  if (first.done) return undefined;
  const [groupKey, batch] = first.value;
  let room = roomFor(batch, rib);
  const prefixes: NlriPrefix[] = [];
  for (const [key, prefix] of batch.prefixes) {
    const size = encodedPrefixSize(prefix);
    // A group whose attributes leave no room for a single prefix is refused where it is made; the bound on
    // communities in the API keeps attributes far below the limit.
    if (size > room) break;
    room -= size;
    prefixes.push(prefix);
    batch.prefixes.delete(key);
    rib.pending.delete(key);
    rib.refreshing.delete(key);
    if (batch.template === undefined) rib.advertised.delete(key);
    else {
      rib.advertised.set(key, rib.desired.get(key) ?? { ...batch.template, prefix });
    }
  }
  if (prefixes.length === 0) for (const key of batch.prefixes.keys()) rib.pending.delete(key);
  if (batch.prefixes.size === 0 || prefixes.length === 0) rib.work.delete(groupKey);
  return prefixes.length === 0 ? nextUpdate(rib) : makeUpdate(batch, prefixes);
}

function addWork(rib: AdjRibOut, key: string, prefix: NlriPrefix, route: OutRoute | undefined): void {
  const { family } = prefix.address;
  const groupKey = route === undefined ? `withdraw ${family}` : `${family} ${route.group}`;
  let batch = rib.work.get(groupKey);
  if (batch === undefined) {
    batch = { template: route, family, name: groupKey, prefixes: new Map() };
    rib.work.set(groupKey, batch);
  }
  batch.prefixes.set(key, prefix);
  rib.pending.set(key, batch);
}

/** Octets left for prefixes in an UPDATE of this batch. */
function roomFor(batch: Batch, { fourOctetAs, maxBytes }: AdjRibOut): number {
  const fixed = headerBytes + 4;
  if (batch.template === undefined && batch.family === 4) return maxBytes - fixed;
  const empty = makeUpdate(batch, []);
  // The attribute that holds the prefixes may need the two-octet length: one octet more.
  const extension = batch.family === 6 || batch.template?.mpNextHop !== undefined ? 1 : 0;
  return maxBytes - fixed - encodeAttributes(empty.attributes, fourOctetAs).length - extension;
}

/** End-of-RIB of a family (RFC 4724 section 2). */
export function endOfRib(family: FamilyName): UpdateMessage {
  if (family === 'ipv4') return { type: 'update', withdrawn: [], attributes: [], nlri: [] };
  return makeUpdate({ template: undefined, family: 6, name: '', prefixes: new Map() }, []);
}

function makeUpdate(batch: Batch, prefixes: readonly NlriPrefix[]): UpdateMessage {
  const { template, family } = batch;
  const afi = family === 4 ? afiNumber.ipv4 : afiNumber.ipv6;
  const nlri = { kind: 'prefixes', prefixes } as const;
  if (template === undefined) {
    if (family === 4) return { type: 'update', withdrawn: prefixes, attributes: [], nlri: [] };
    const value = { kind: 'mp-unreach', afi, safi: safiNumber.unicast, nlri } as const;
    return { type: 'update', withdrawn: [], attributes: [pathAttribute(value)], nlri: [] };
  }
  if (template.mpNextHop === undefined) {
    return { type: 'update', withdrawn: [], attributes: template.attributes, nlri: prefixes };
  }
  const value = {
    kind: 'mp-reach',
    afi,
    safi: safiNumber.unicast,
    nextHop: template.mpNextHop,
    nlri,
  } as const;
  // RFC 7606 section 5.1: MP_REACH_NLRI "SHALL be encoded as the very first path attribute".
  const attributes = [pathAttribute(value), ...template.attributes];
  return { type: 'update', withdrawn: [], attributes, nlri: [] };
}
