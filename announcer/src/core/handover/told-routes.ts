/**
 * What a peer was told, by the octets that it was told with: a successor of another version compares these with what
 * it would say itself, and says only what differs.
 */
import { fromHex, toHex } from '@l4d/kit/hex.ts';
import { parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { type AdjRibOut, countAsRefreshing, countAsTold } from '../adj-rib-out.ts';
import { keyAt, type PrefixTable, prefixAt, slotOfPrefix } from '../prefix-table.ts';

/** The told part of an Adj-RIB-Out. */
export interface ToldRoutes {
  readonly groups: readonly ToldGroup[];
  /** Keys that the peer wants again, separated by spaces. */
  readonly refreshing: string;
}

/** Prefixes that were told with the same attributes. */
export interface ToldGroup {
  readonly family: 4 | 6;
  /** The attributes as they are on the wire, MP_REACH_NLRI aside; hexadecimal. */
  readonly attributes: string;
  /** Next hop of MP_REACH_NLRI; hexadecimal. */
  readonly nextHop?: string;
  /** Places in the list of desired prefixes, first and last of each run: a hundred thousand are mostly one run. */
  readonly runs: readonly (readonly [first: number, last: number])[];
  /** Keys of prefixes that are desired no more, separated by spaces. */
  readonly keys: string;
}

/** Sorts what a session's peer knows by how it was told. */
export function toldRoutes({ table, told, lanes, refreshing }: AdjRibOut): ToldRoutes {
  const groups = new Map<number, { readonly runs: [number, number][]; readonly keys: string[] }>();
  const again: string[] = [];
  let place = -1;
  for (let slot = 0; slot < table.slots; slot++) {
    const isDesired = table.attributes[slot] !== undefined;
    if (isDesired) place += 1;
    if (refreshing?.[slot] === 1) again.push(keyAt(table, slot));
    const lane = told[slot] ?? 0;
    if (lane === 0) continue;
    let group = groups.get(lane);
    if (group === undefined) {
      group = { runs: [], keys: [] };
      groups.set(lane, group);
    }
    const run = group.runs.at(-1);
    if (!isDesired) group.keys.push(keyAt(table, slot));
    else if (run !== undefined && run[1] === place - 1) run[1] = place;
    else group.runs.push([place, place]);
  }
  return {
    groups: [...groups].flatMap(([id, { runs, keys }]) => {
      const lane = lanes[id];
      if (lane === undefined) return [];
      const { family, attributes, mpNextHop } = lane;
      const nextHop = mpNextHop === undefined ? {} : { nextHop: toHex(mpNextHop) };
      return [{ family, attributes: toHex(attributes), ...nextHop, runs, keys: keys.join(' ') }];
    }),
    refreshing: again.join(' '),
  };
}

/** Slots of a table by the place of their prefix in a list that was just put into it. */
export function slotsByPlace(table: PrefixTable, list: PrefixTable): Uint32Array {
  const slots = new Uint32Array(list.slots);
  let place = 0;
  for (let other = 0; other < list.slots; other++) {
    if (list.attributes[other] === undefined) continue;
    slots[place] = slotOfPrefix(table, prefixAt(list, other), list.paths[other]);
    place += 1;
  }
  return slots.subarray(0, place);
}

/**
 * Fills the told part of a fresh Adj-RIB-Out. Prefixes that its table would announce with the octets that were told
 * count as told, all others are told or withdrawn. `slots` are those of the desired prefixes, by place.
 */
export function restoreToldRoutes(rib: AdjRibOut, told: ToldRoutes, slots: Uint32Array): void {
  for (const { family, attributes, nextHop, runs, keys } of told.groups) {
    const bytes = fromHex(attributes);
    const mpNextHop = nextHop === undefined ? undefined : fromHex(nextHop);
    if (bytes === undefined) continue;
    const shape = { family, attributes: bytes, ...(mpNextHop === undefined ? {} : { mpNextHop }) };
    for (const [first, last] of runs) countAsTold(rib, shape, slots.subarray(first, last + 1));
    countAsTold(rib, shape, slotsOf(rib.table, keys));
  }
  countAsRefreshing(rib, slotsOf(rib.table, told.refreshing));
}

function slotsOf(table: PrefixTable, keys: string): number[] {
  if (keys === '') return [];
  return keys.split(' ').flatMap((key) => {
    const [text = '', path = '1'] = key.split('#');
    const parsed = parseIpPrefix(text);
    return parsed.ok ? [slotOfPrefix(table, parsed.value, Number(path))] : [];
  });
}
