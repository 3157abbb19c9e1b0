/**
 * Adj-RIB-Out of one session (RFC 4271 section 3.2): what the peer should have, what it was told, and the
 * fewest UPDATEs from the one to the other.
 *
 * What the peer should have is the table of prefixes seen through the session. What it was told is a number for each
 * slot of that table: the route (all but the prefix) that it has. The difference is a set of slots, kept as a linked
 * list for each route, so that a change which is superseded before it was sent never goes out, and a peer that takes
 * nothing costs no more than one that does. UPDATEs are taken one by one, as bytes, while the peer takes them.
 */
import { encodeAttributes, pathAttribute } from './codec/attribute.ts';
import { afi, safi } from './codec/iana.ts';
import { maxMessageBytes } from './codec/message.ts';
import type { NlriPrefix } from './codec/nlri.ts';
import type { UpdateMessage } from './codec/update.ts';
import type { FamilyName } from './negotiation.ts';
import type { RouteShape, RouteView } from './out-routes.ts';
import { enlarge, keyAt, type PrefixTable, prefixAt, release, stamp, stampAll } from './prefix-table.ts';
import { fixedBytes, type UpdateShape, writeUpdate } from './update-writer.ts';

/** A route as one peer sees it. */
export interface OutRoute extends RouteShape {
  readonly prefix: NlriPrefix;
}

/** One kind of UPDATE: all prefixes of a list share it. */
interface Lane extends UpdateShape {
  /** Place in `lanes`; 0 when it is not there. */
  id: number;
  /** Undefined: these are withdrawals. */
  readonly route: RouteShape | undefined;
  /** First and last slot + 1 of what is to be sent, 0 for none. */
  first: number;
  last: number;
  /** Slots on the list. */
  waiting: number;
  /** Slots that the peer has with this route. */
  told: number;
}

/** What the peer was told, as routes; made when they are asked for. */
export interface Advertised {
  readonly size: number;
  has(slot: number): boolean;
  /** Keys of the prefixes. */
  keys(): Iterable<string>;
  values(): Iterable<OutRoute>;
}

/** State of one session; make a new one for each session, and close it. */
export interface AdjRibOut {
  readonly table: PrefixTable;
  readonly advertised: Advertised;
  view: RouteView;
  /** Lane by slot; 0: the peer does not have the prefix. */
  told: Uint32Array;
  /** Lane on whose list the slot is; 0: none. */
  pending: Uint32Array;
  /** Neighbours on that list, slot + 1. */
  next: Uint32Array;
  previous: Uint32Array;
  /** 1: the peer wants the prefix again, told or not. There once it has asked. */
  refreshing: Uint8Array | undefined;
  /** By id; the first two are withdrawals. */
  readonly lanes: (Lane | undefined)[];
  readonly vacant: number[];
  readonly byKey: Map<string, Lane>;
  /** Lanes kept before those no longer in use are looked for. */
  lanesBound: number;
  /** What was looked for last: neighbours mostly share it. */
  last: { readonly route?: RouteShape; readonly lane?: Lane };
  /** Lanes with something to announce, in the order of the first change. */
  readonly work: Set<Lane>;
  toldCount: number;
  /** Whether AS numbers take four octets on this session. */
  readonly fourOctetAs: boolean;
  /** Longest message, in octets. */
  readonly maxBytes: number;
  /** Of the UPDATE that is being made. */
  readonly taken: number[];
}

const leastLanesBound = 64;

const withdrawLane = { 4: 1, 6: 2 } as const;

/** What of a session its Adj-RIB-Out has to know. */
export interface AdjRibOutOptions {
  readonly fourOctetAs: boolean;
  readonly maxBytes?: number;
}

/** The peer was told nothing; everything that the view lets through is to be told. */
export function openAdjRibOut(
  table: PrefixTable,
  view: RouteView,
  { fourOctetAs, maxBytes = maxMessageBytes }: AdjRibOutOptions,
): AdjRibOut {
  const capacity = table.families.length;
  const rib: AdjRibOut = {
    table,
    view,
    advertised: {
      get size() {
        return rib.toldCount;
      },
      has: (slot) => (rib.told[slot] ?? 0) !== 0,
      *keys() {
        for (const slot of toldSlots(rib)) yield keyAt(table, slot);
      },
      *values() {
        for (const slot of toldSlots(rib)) yield toldRoute(rib, slot);
      },
    },
    told: new Uint32Array(capacity),
    pending: new Uint32Array(capacity),
    next: new Uint32Array(capacity),
    previous: new Uint32Array(capacity),
    refreshing: undefined,
    lanes: [undefined],
    vacant: [],
    byKey: new Map(),
    lanesBound: leastLanesBound,
    last: {},
    work: new Set(),
    toldCount: 0,
    fourOctetAs,
    maxBytes,
    taken: [],
  };
  for (const family of [4, 6] as const) addLane(rib, { family, attributes: new Uint8Array(0) }, undefined);
  retarget(rib, view);
  stampAll(table);
  return rib;
}

/** The session is over: what it held in the table is released. */
export function closeAdjRibOut(rib: AdjRibOut): void {
  const { holders } = rib.table;
  for (const slot of toldSlots(rib)) {
    holders[slot] = (holders[slot] as number) - 1;
    release(rib.table, slot);
  }
  rib.told.fill(0);
  rib.toldCount = 0;
  stampAll(rib.table);
}

/** The peer has these slots with the octets of `shape`, told before this Adj-RIB-Out was opened. */
export function countAsTold(rib: AdjRibOut, shape: UpdateShape, slots: Iterable<number>): void {
  fit(rib);
  const known = new Map<Lane, boolean>();
  let foreign: Lane | undefined;
  for (const slot of slots) {
    const route = rib.table.attributes[slot] === undefined ? undefined : rib.view.routeOf(rib.table, slot);
    let lane = route === undefined || typeof route === 'string' ? undefined : laneOf(rib, route);
    if (lane !== undefined) {
      const isSame = known.get(lane) ?? sameShape(lane, shape);
      known.set(lane, isSame);
      if (!isSame) lane = undefined;
    }
    // Told otherwise than it would be now: another route, whose group is nobody's.
    foreign ??=
      lane === undefined
        ? addLane(rib, shape, { ...shape, attributes: [], group: `told before ${rib.lanes.length}` })
        : undefined;
    if (rib.pending[slot] !== 0) unlink(rib, slot);
    settle(rib, slot, lane ?? (foreign as Lane));
    look(rib, slot);
  }
}

/** The peer wants these slots again. */
export function countAsRefreshing(rib: AdjRibOut, slots: Iterable<number>): void {
  fit(rib);
  for (const slot of slots) {
    rib.refreshing ??= new Uint8Array(rib.told.length);
    rib.refreshing[slot] = 1;
    look(rib, slot);
  }
}

function sameShape(a: UpdateShape, b: UpdateShape): boolean {
  const same = (x: Uint8Array | undefined, y: Uint8Array | undefined) =>
    x?.length === y?.length && (x === undefined || x.every((byte, index) => byte === y?.[index]));
  return a.family === b.family && same(a.attributes, b.attributes) && same(a.mpNextHop, b.mpNextHop);
}

/** The session looks at the table in another way, or the whole of the table may have changed. */
export function retarget(rib: AdjRibOut, view: RouteView): void {
  rib.view = view;
  fit(rib);
  for (let slot = 0; slot < rib.table.slots; slot++) look(rib, slot);
}

/** What the table says of this slot has changed; costs the same however many there are. */
export function change(rib: AdjRibOut, slot: number): void {
  fit(rib);
  look(rib, slot);
}

/** Puts every desired route of a family on the work list again (RFC 2918 section 4). */
export function resend(rib: AdjRibOut, family: FamilyName): void {
  fit(rib);
  const wanted = family === 'ipv4' ? 4 : 6;
  const { families, slots } = rib.table;
  rib.refreshing ??= new Uint8Array(rib.told.length);
  for (let slot = 0; slot < slots; slot++) {
    if (families[slot] !== wanted) continue;
    rib.refreshing[slot] = 1;
    look(rib, slot);
  }
}

/** Whether there is anything left to tell. */
export function hasWork(rib: AdjRibOut): boolean {
  return rib.work.size > 0 || rib.lanes[1]?.waiting !== 0 || rib.lanes[2]?.waiting !== 0;
}

/** Why a slot's prefix cannot go to the peer; undefined when it can, or shall not. */
export function refusal(rib: AdjRibOut, slot: number): string | undefined {
  if (rib.table.muted) return undefined;
  const route = rib.view.routeOf(rib.table, slot);
  return typeof route === 'string' ? route : undefined;
}

/** The next UPDATE, as full as it can be, counted as told; undefined when the peer knows all. */
export function nextUpdate(rib: AdjRibOut): Uint8Array | undefined {
  for (;;) {
    // Withdrawals first: traffic must stop coming before it goes to a worse place.
    const lane = withdrawals(rib) ?? rib.work.values().next().value;
    if (lane === undefined) return undefined;
    const withPath = rib.view.pathFamilies.includes(lane.family === 4 ? 'ipv4' : 'ipv6');
    const { taken } = rib;
    taken.length = 0;
    let room = rib.maxBytes - fixedBytes(lane);
    while (lane.first !== 0) {
      const slot = lane.first - 1;
      const size = (withPath ? 5 : 1) + (((rib.table.lengths[slot] as number) + 7) >> 3);
      if (size > room) break;
      room -= size;
      unlink(rib, slot);
      taken.push(slot);
    }
    if (taken.length === 0) {
      // Attributes that leave no room for a single prefix: the bound on communities in the API keeps them far
      // below the limit.
      while (lane.first !== 0) unlink(rib, lane.first - 1);
      continue;
    }
    const bytes = writeUpdate(lane, rib.table, taken, withPath, rib.maxBytes);
    for (const slot of taken) settle(rib, slot, lane);
    return bytes;
  }
}

function withdrawals({ lanes }: AdjRibOut): Lane | undefined {
  const [, ipv4, ipv6] = lanes;
  if (ipv4 !== undefined && ipv4.waiting > 0) return ipv4;
  return ipv6 !== undefined && ipv6.waiting > 0 ? ipv6 : undefined;
}

/** Compares what the peer should have of a slot with what it was told, and puts the slot where that leads. */
function look(rib: AdjRibOut, slot: number): void {
  const { table } = rib;
  const told = rib.told[slot] as number;
  const set = table.attributes[slot];
  const route = set === undefined || table.muted ? undefined : rib.view.routeOf(table, slot);
  let lane: Lane | undefined;
  if (route === undefined || typeof route === 'string') {
    if (rib.refreshing !== undefined) rib.refreshing[slot] = 0;
    if (told !== 0) lane = rib.lanes[withdrawLane[table.families[slot] === 6 ? 6 : 4]];
  } else {
    const wanted = laneOf(rib, route);
    if (wanted.id !== told || rib.refreshing?.[slot] === 1) lane = wanted;
  }
  const pending = rib.pending[slot] as number;
  if (lane !== undefined && pending === lane.id) return;
  if (pending !== 0) unlink(rib, slot);
  if (lane !== undefined) link(rib, slot, lane);
}

/** The peer has been told of a slot what its lane says. */
function settle(rib: AdjRibOut, slot: number, lane: Lane): void {
  const { holders } = rib.table;
  const before = rib.told[slot] as number;
  const after = lane.route === undefined ? 0 : lane.id;
  if (rib.refreshing !== undefined) rib.refreshing[slot] = 0;
  if (before === after) return;
  rib.told[slot] = after;
  stamp(rib.table, slot);
  if (after === 0) {
    rib.toldCount -= 1;
    holders[slot] = (holders[slot] as number) - 1;
    release(rib.table, slot);
  } else {
    lane.told += 1;
    if (before === 0) {
      rib.toldCount += 1;
      holders[slot] = (holders[slot] as number) + 1;
    }
  }
  const old = rib.lanes[before];
  if (old !== undefined) old.told -= 1;
}

function link(rib: AdjRibOut, slot: number, lane: Lane): void {
  rib.pending[slot] = lane.id;
  rib.next[slot] = 0;
  rib.previous[slot] = lane.last;
  if (lane.last === 0) lane.first = slot + 1;
  else rib.next[lane.last - 1] = slot + 1;
  lane.last = slot + 1;
  lane.waiting += 1;
  if (lane.waiting === 1 && lane.route !== undefined) rib.work.add(lane);
}

function unlink(rib: AdjRibOut, slot: number): void {
  const lane = rib.lanes[rib.pending[slot] as number];
  if (lane === undefined) return;
  const next = rib.next[slot] as number;
  const previous = rib.previous[slot] as number;
  if (previous === 0) lane.first = next;
  else rib.next[previous - 1] = next;
  if (next === 0) lane.last = previous;
  else rib.previous[next - 1] = previous;
  rib.pending[slot] = 0;
  lane.waiting -= 1;
  if (lane.waiting === 0) rib.work.delete(lane);
}

/** The lane of a route. */
function laneOf(rib: AdjRibOut, route: RouteShape): Lane {
  const { last } = rib;
  if (last.route === route && last.lane !== undefined) return last.lane;
  const lane = rib.byKey.get(route.group) ?? newLane(rib, route);
  rib.last = { route, lane };
  return lane;
}

function newLane(rib: AdjRibOut, route: RouteShape): Lane {
  if (rib.byKey.size >= rib.lanesBound) sweep(rib);
  const { family, mpNextHop } = route;
  const attributes = encodeAttributes(route.attributes, rib.fourOctetAs);
  const lane = addLane(rib, { family, attributes, ...(mpNextHop === undefined ? {} : { mpNextHop }) }, route);
  rib.byKey.set(route.group, lane);
  return lane;
}

function addLane(rib: AdjRibOut, shape: UpdateShape, route: RouteShape | undefined): Lane {
  const id = rib.vacant.pop() ?? rib.lanes.length;
  const lane: Lane = { ...shape, id, route, first: 0, last: 0, waiting: 0, told: 0 };
  rib.lanes[id] = lane;
  return lane;
}

/** Lets go of the routes that no prefix has any more. */
function sweep(rib: AdjRibOut): void {
  rib.last = {};
  for (const [key, lane] of rib.byKey) {
    if (lane.told > 0 || lane.waiting > 0) continue;
    rib.byKey.delete(key);
    rib.lanes[lane.id] = undefined;
    rib.vacant.push(lane.id);
  }
  rib.lanesBound = Math.max(leastLanesBound, rib.byKey.size * 2);
}

/** Follows the table's growth. */
function fit(rib: AdjRibOut): void {
  const capacity = rib.table.families.length;
  if (rib.told.length === capacity) return;
  rib.told = enlarge(rib.told, new Uint32Array(capacity));
  rib.pending = enlarge(rib.pending, new Uint32Array(capacity));
  rib.next = enlarge(rib.next, new Uint32Array(capacity));
  rib.previous = enlarge(rib.previous, new Uint32Array(capacity));
  if (rib.refreshing !== undefined) rib.refreshing = enlarge(rib.refreshing, new Uint8Array(capacity));
}

function* toldSlots({ told, table }: AdjRibOut): Iterable<number> {
  for (let slot = 0; slot < table.slots; slot++) if ((told[slot] ?? 0) !== 0) yield slot;
}

function toldRoute(rib: AdjRibOut, slot: number): OutRoute {
  const route = rib.lanes[rib.told[slot] ?? 0]?.route;
  if (route === undefined) throw new TypeError(`slot ${slot} was not told`);
  const withPath = rib.view.pathFamilies.includes(route.family === 4 ? 'ipv4' : 'ipv6');
  return { ...route, prefix: prefixAt(rib.table, slot, withPath) };
}

/** End-of-RIB of a family (RFC 4724 section 2). */
export function endOfRib(family: FamilyName): UpdateMessage {
  if (family === 'ipv4') return { type: 'update', withdrawn: [], attributes: [], nlri: [] };
  const nlri = { kind: 'prefixes', prefixes: [] } as const;
  const value = { kind: 'mp-unreach', afi: afi.ipv6, safi: safi.unicast, nlri } as const;
  return { type: 'update', withdrawn: [], attributes: [pathAttribute(value)], nlri: [] };
}
