/**
 * What a peer was told, by the octets that it was told with: a successor of another version compares these with what
 * it would say itself, and says only what differs.
 */
import { fromHex, toHex } from '@l4d/kit/hex.ts';
import { parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { type AdjRibOut, countAsRefreshing, countAsTold } from '../adj-rib-out.ts';
import { keyAt, type PrefixTable, slotOfPrefix } from '../prefix-table.ts';

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
  /** Keys of the prefixes, separated by spaces: a hundred thousand strings would each have to be looked at. */
  readonly keys: string;
}

/** Sorts what a session's peer knows by how it was told. */
export function toldRoutes({ table, told, lanes, refreshing }: AdjRibOut): ToldRoutes {
  const groups = new Map<number, string[]>();
  const again: string[] = [];
  for (let slot = 0; slot < table.slots; slot++) {
    const lane = told[slot] ?? 0;
    if (refreshing?.[slot] === 1) again.push(keyAt(table, slot));
    if (lane === 0) continue;
    const keys = groups.get(lane);
    if (keys === undefined) groups.set(lane, [keyAt(table, slot)]);
    else keys.push(keyAt(table, slot));
  }
  return {
    groups: [...groups].flatMap(([id, keys]) => {
      const lane = lanes[id];
      if (lane === undefined) return [];
      const { family, attributes, mpNextHop } = lane;
      const nextHop = mpNextHop === undefined ? {} : { nextHop: toHex(mpNextHop) };
      return [{ family, attributes: toHex(attributes), ...nextHop, keys: keys.join(' ') }];
    }),
    refreshing: again.join(' '),
  };
}

/**
 * Fills the told part of a fresh Adj-RIB-Out. Prefixes that its table would announce with the octets that were told
 * count as told, all others are told or withdrawn.
 */
export function restoreToldRoutes(rib: AdjRibOut, told: ToldRoutes): void {
  for (const { family, attributes, nextHop, keys } of told.groups) {
    const bytes = fromHex(attributes);
    const mpNextHop = nextHop === undefined ? undefined : fromHex(nextHop);
    if (bytes === undefined) continue;
    const shape = { family, attributes: bytes, ...(mpNextHop === undefined ? {} : { mpNextHop }) };
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
