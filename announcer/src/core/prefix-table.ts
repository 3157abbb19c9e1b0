/**
 * Prefixes and what is said of them, as columns of numbers: a slot for each prefix, found by hash. Sessions keep what
 * they know of a prefix under the same slot, so that neither side has an object for it.
 *
 * A slot lives as long as its prefix has attributes (it shall be announced) or a session holds it (a peer was told).
 */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { NlriPrefix } from './codec/nlri.ts';
import { attributesKey, type RouteAttributes } from './route-policy.ts';

/** What is said of a prefix. One value for all prefixes of which the same is said. */
export interface AttributeSet extends RouteAttributes {
  /** In place of the session's next hop. */
  readonly nextHop?: IpAddress;
}

/** A table of prefixes; changed in place. */
export interface PrefixTable {
  /** Slots that were ever in use: those below are looked at, with family 0 where nothing is. */
  slots: number;
  /** Prefixes with attributes. */
  size: number;
  /** Nothing of it is to be announced. */
  muted: boolean;
  /** 0, 4 or 6. */
  families: Uint8Array;
  lengths: Uint8Array;
  /** Four words a slot, the first alone for IPv4. */
  words: Uint32Array;
  /** Path identifiers; 1 where there is one path. */
  paths: Uint32Array;
  /** Undefined: not to be announced. */
  attributes: (AttributeSet | undefined)[];
  /** Sessions whose peer was told. */
  holders: Uint16Array;
  /** Value of `changes` when the slot last changed, here or at a peer. */
  stamps: Float64Array;
  /** Counts every change of a slot. */
  changes: number;
  /** Value of `changes` before which no more is known than that anything may have changed. */
  unknownBefore: number;
  /** The prefixes released last, with their stamps. */
  gone: { readonly key: string; readonly at: number }[];
  /** Slot + 1 by hash, 0 where nothing is; a power of two, at most half full. */
  buckets: Uint32Array;
  /** Slots below `slots` with nothing in them. */
  readonly vacant: number[];
  /** Attribute sets by their text, some of them no longer in use. */
  sets: Map<string, AttributeSet>;
  setsBound: number;
}

/** Sets kept at least before those no longer in use are looked for. */
const leastSetsBound = 64;

const firstCapacity = 16;

/** Released prefixes that are kept track of, at least. */
const goneKept = 1000;

/** A table with nothing in it, and room for about so many prefixes before it grows. */
export function emptyPrefixTable(expected = firstCapacity): PrefixTable {
  const capacity = 2 ** Math.ceil(Math.log2(Math.max(firstCapacity, expected)));
  return {
    slots: 0,
    size: 0,
    muted: false,
    families: new Uint8Array(capacity),
    lengths: new Uint8Array(capacity),
    words: new Uint32Array(capacity * 4),
    paths: new Uint32Array(capacity),
    attributes: [],
    holders: new Uint16Array(capacity),
    stamps: new Float64Array(capacity),
    changes: 0,
    unknownBefore: 0,
    gone: [],
    buckets: new Uint32Array(capacity * 2),
    vacant: [],
    sets: new Map(),
    setsBound: leastSetsBound,
  };
}

/** Slot of an IPv4 address as a number, made when there is none. */
export function slotOfIpv4(table: PrefixTable, address: number, length: number, path: number): number {
  return slotOf(table, 4, address, 0, 0, 0, length, path);
}

/** Slot of a prefix, made when there is none. */
export function slotOfPrefix(table: PrefixTable, { address, length }: IpPrefix, path = 1): number {
  const word = (index: number) => wordAt(address.bytes, index);
  if (address.family === 4) return slotOf(table, 4, word(0), 0, 0, 0, length, path);
  return slotOf(table, 6, word(0), word(1), word(2), word(3), length, path);
}

/** Slot of a prefix; undefined when it is not in the table. */
export function findSlot(table: PrefixTable, { address, length }: IpPrefix, path = 1): number | undefined {
  const word = (index: number) => (index * 4 < address.bytes.length ? wordAt(address.bytes, index) : 0);
  const bucket = bucketOf(table, address.family, word(0), word(1), word(2), word(3), length, path);
  const found = table.buckets[bucket] as number;
  return found === 0 ? undefined : found - 1;
}

/** Says what is to be announced of a slot's prefix (undefined: nothing); whether that is a change. */
export function assign(table: PrefixTable, slot: number, set: AttributeSet | undefined): boolean {
  const before = table.attributes[slot];
  if (before === set) return false;
  if (set === undefined) {
    table.size -= 1;
    table.attributes[slot] = undefined;
    stamp(table, slot);
    return true;
  }
  const shared = share(table, set);
  if (before === shared) return false;
  if (before === undefined) table.size += 1;
  table.attributes[slot] = shared;
  stamp(table, slot);
  return true;
}

/** Notes that something about a slot has changed. */
export function stamp(table: PrefixTable, slot: number): void {
  table.changes += 1;
  table.stamps[slot] = table.changes;
}

/** Notes that anything may have changed. */
export function stampAll(table: PrefixTable): void {
  table.changes += 1;
  table.unknownBefore = table.changes;
  table.gone = [];
}

/** What has changed since `changes` was `since`; undefined when that is not known, and all is to be looked at. */
export function changedSince(
  table: PrefixTable,
  since: number,
): { readonly slots: readonly number[]; readonly gone: readonly string[] } | undefined {
  if (since < table.unknownBefore || since > table.changes) return undefined;
  const slots: number[] = [];
  if (since < table.changes) {
    for (let slot = 0; slot < table.slots; slot++) {
      if ((table.stamps[slot] as number) > since && table.families[slot] !== 0) slots.push(slot);
    }
  }
  return { slots, gone: table.gone.filter(({ at }) => at > since).map(({ key }) => key) };
}

/** Frees a slot that nobody needs. */
export function release(table: PrefixTable, slot: number): void {
  if (table.attributes[slot] !== undefined || table.holders[slot] !== 0 || table.families[slot] === 0) return;
  table.changes += 1;
  table.gone.push({ key: keyAt(table, slot), at: table.changes });
  if (table.gone.length > 2 * goneKept) {
    table.gone.splice(0, goneKept);
    table.unknownBefore = table.gone[0]?.at ?? table.changes;
  }
  removeFromBuckets(table, slot);
  table.families[slot] = 0;
  table.vacant.push(slot);
}

/** Makes the table what `next` is; the slots that have changed. Those that went are to be released by the caller. */
export function replaceAll(table: PrefixTable, next: PrefixTable): number[] {
  const changed: number[] = [];
  if (table.size === 0 && table.vacant.length === table.slots) return takeOver(table, next);
  while (table.families.length < next.size) grow(table);
  const kept = new Uint8Array(table.slots + next.slots);
  for (let other = 0; other < next.slots; other++) {
    const set = next.attributes[other];
    if (set === undefined) continue;
    const at = other * 4;
    const { words } = next;
    const slot = slotOf(
      table,
      next.families[other] as number,
      words[at] as number,
      words[at + 1] as number,
      words[at + 2] as number,
      words[at + 3] as number,
      next.lengths[other] as number,
      next.paths[other] as number,
    );
    kept[slot] = 1;
    if (assign(table, slot, set)) changed.push(slot);
  }
  for (let slot = 0; slot < table.slots; slot++) {
    if (kept[slot] === 0 && assign(table, slot, undefined)) changed.push(slot);
  }
  return changed;
}

/** An empty table becomes the other, which is not to be used any more. */
function takeOver(table: PrefixTable, next: PrefixTable): number[] {
  const { families, lengths, words, paths, attributes, holders, stamps, buckets, sets, setsBound } = next;
  const { slots, size } = next;
  // Capacities only grow: sessions have columns of the old one.
  if (families.length < table.families.length) {
    while (next.families.length < table.families.length) grow(next);
    return takeOver(table, next);
  }
  Object.assign(table, {
    slots,
    size,
    families,
    lengths,
    words,
    paths,
    attributes,
    holders,
    stamps,
    buckets,
  });
  Object.assign(table, { sets, setsBound });
  table.vacant.length = 0;
  for (const slot of next.vacant) table.vacant.push(slot);
  // Its stamps are those of its own count.
  table.changes = Math.max(table.changes, next.changes);
  stampAll(table);
  return Array.from({ length: slots }, (_, slot) => slot);
}

/** The prefix of a slot as a value; with its path identifier where `withPath`. */
export function prefixAt(table: PrefixTable, slot: number, withPath = false): NlriPrefix {
  const family = table.families[slot] === 6 ? 6 : 4;
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < bytes.length; i += 4) view.setUint32(i, table.words[slot * 4 + (i >> 2)] ?? 0);
  const prefix = { address: { family, bytes }, length: table.lengths[slot] ?? 0 } as const;
  return withPath ? { ...prefix, pathId: table.paths[slot] ?? 1 } : prefix;
}

/** Text of a slot's prefix, and `#` and the path identifier unless that is 1. */
export function keyAt(table: PrefixTable, slot: number): string {
  const path = table.paths[slot] ?? 1;
  const text = formatIpPrefix(prefixAt(table, slot));
  return path === 1 ? text : `${text}#${path}`;
}

/** Equal for equal sets. */
export function attributeSetKey(set: AttributeSet): string {
  return `${set.nextHop === undefined ? '' : formatIpAddress(set.nextHop)} ${attributesKey(set)}`;
}

/** The one value for this and all equal sets. */
function share(table: PrefixTable, set: AttributeSet): AttributeSet {
  const key = attributeSetKey(set);
  const known = table.sets.get(key);
  if (known !== undefined) return known;
  if (table.sets.size >= table.setsBound) {
    table.sets.clear();
    for (const used of table.attributes) if (used !== undefined) table.sets.set(attributeSetKey(used), used);
    table.setsBound = Math.max(leastSetsBound, table.sets.size * 2);
  }
  table.sets.set(key, set);
  return set;
}

function slotOf(
  table: PrefixTable,
  family: number,
  a: number,
  b: number,
  c: number,
  d: number,
  length: number,
  path: number,
): number {
  const bucket = bucketOf(table, family, a, b, c, d, length, path);
  const found = table.buckets[bucket] as number;
  if (found !== 0) return found - 1;
  const reused = table.vacant.pop();
  const slot = reused ?? table.slots;
  if (slot === table.families.length) {
    grow(table);
    return slotOf(table, family, a, b, c, d, length, path);
  }
  if (reused === undefined) {
    table.slots += 1;
    table.attributes.push(undefined);
  }
  const at = slot * 4;
  table.families[slot] = family;
  table.lengths[slot] = length;
  table.paths[slot] = path;
  table.words[at] = a;
  table.words[at + 1] = b;
  table.words[at + 2] = c;
  table.words[at + 3] = d;
  table.buckets[bucket] = slot + 1;
  return slot;
}

/** Where the prefix is, or where it would be put. */
function bucketOf(
  table: PrefixTable,
  family: number,
  a: number,
  b: number,
  c: number,
  d: number,
  length: number,
  path: number,
): number {
  const { buckets, families, lengths, paths, words } = table;
  const mask = buckets.length - 1;
  for (let bucket = hash(family, a, b, c, d, length, path) & mask; ; bucket = (bucket + 1) & mask) {
    const found = buckets[bucket] as number;
    if (found === 0) return bucket;
    const slot = found - 1;
    const at = slot * 4;
    if (
      words[at] === a &&
      words[at + 1] === b &&
      words[at + 2] === c &&
      words[at + 3] === d &&
      lengths[slot] === length &&
      families[slot] === family &&
      paths[slot] === path
    ) {
      return bucket;
    }
  }
}

function hash(
  family: number,
  a: number,
  b: number,
  c: number,
  d: number,
  length: number,
  path: number,
): number {
  let h = mix(a ^ (length << 8) ^ family);
  if (family === 6) h = mix(mix(mix(h ^ b) ^ c) ^ d);
  return path === 1 ? h : mix(h ^ path);
}

/** Spreads the bits of a word: neighbours must not end in one run of buckets. */
function mix(word: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hashOfSlot({ families, lengths, paths, words }: PrefixTable, slot: number): number {
  const at = slot * 4;
  return hash(
    families[slot] as number,
    words[at] as number,
    words[at + 1] as number,
    words[at + 2] as number,
    words[at + 3] as number,
    lengths[slot] as number,
    paths[slot] as number,
  );
}

function grow(table: PrefixTable): void {
  const capacity = table.families.length * 2;
  table.families = enlarge(table.families, new Uint8Array(capacity));
  table.lengths = enlarge(table.lengths, new Uint8Array(capacity));
  table.words = enlarge(table.words, new Uint32Array(capacity * 4));
  table.paths = enlarge(table.paths, new Uint32Array(capacity));
  table.stamps = enlarge(table.stamps, new Float64Array(capacity));
  table.holders = enlarge(table.holders, new Uint16Array(capacity));
  table.buckets = new Uint32Array(capacity * 2);
  const mask = table.buckets.length - 1;
  for (let slot = 0; slot < table.slots; slot++) {
    if (table.families[slot] === 0) continue;
    let bucket = hashOfSlot(table, slot) & mask;
    while (table.buckets[bucket] !== 0) bucket = (bucket + 1) & mask;
    table.buckets[bucket] = slot + 1;
  }
}

/** Copies a column into a longer one. */
export function enlarge<Column extends Uint8Array | Uint16Array | Uint32Array | Float64Array>(
  old: Column,
  longer: Column,
): Column {
  longer.set(old);
  return longer;
}

/** Deletion with linear probing: what follows without a gap moves back where it may. */
function removeFromBuckets(table: PrefixTable, slot: number): void {
  const { buckets } = table;
  const mask = buckets.length - 1;
  let hole = hashOfSlot(table, slot) & mask;
  while (buckets[hole] !== slot + 1) hole = (hole + 1) & mask;
  for (let next = (hole + 1) & mask; buckets[next] !== 0; next = (next + 1) & mask) {
    const home = hashOfSlot(table, (buckets[next] as number) - 1) & mask;
    // It may move unless its home lies between the hole and where it is.
    if (((next - home) & mask) < ((next - hole) & mask)) continue;
    buckets[hole] = buckets[next] as number;
    hole = next;
  }
  buckets[hole] = 0;
}

function wordAt(bytes: Uint8Array, index: number): number {
  const at = index * 4;
  return (
    (((bytes[at] ?? 0) << 24) |
      ((bytes[at + 1] ?? 0) << 16) |
      ((bytes[at + 2] ?? 0) << 8) |
      (bytes[at + 3] ?? 0)) >>>
    0
  );
}
