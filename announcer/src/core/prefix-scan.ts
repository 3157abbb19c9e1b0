/**
 * Requests with long lists of prefixes, read from their bytes: a hundred thousand prefixes must not become as many
 * objects first. Whatever is not as expected is left to JSON.parse and the schema, which also say what is wrong.
 */
import { parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import {
  addOnce,
  type Ipv4Prefix,
  plainSet,
  prefixSchema,
  readIpv4Prefix,
  toDesiredPrefix,
} from './prefix-list.ts';
import {
  type AttributeSet,
  emptyPrefixTable,
  type PrefixTable,
  slotOfIpv4,
  slotOfPrefix,
} from './prefix-table.ts';

/** A request in two parts. */
export interface ScannedRequest {
  /** The request with an empty list in place of its prefixes, as text. */
  readonly rest: string;
  readonly prefixes: PrefixTable;
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

/** What stands between a prefix and the end of its object, parsed once for all that are alike. */
interface Tail {
  readonly set: AttributeSet;
  readonly path: number;
}

/** Octets of `{"prefix":"203.0.113.10/32"},`. */
const typicalItemBytes = 28;

/** Most different tails that are kept: beyond them the list is not one of alike prefixes. */
const maxTails = 1000;

/**
 * Takes the list that is the member `name` of the request's object out of it. Undefined when there is none, or
 * anything about it needs a closer look: also a prefix that is wrong, or there twice.
 */
export function scanRequest(
  bytes: Uint8Array,
  name: string,
  maxPrefixes: number,
): ScannedRequest | undefined {
  let at = skipSpace(bytes, 0);
  if (bytes[at] !== openBrace) return undefined;
  at = skipSpace(bytes, at + 1);
  let found: { readonly from: number; readonly to: number; readonly prefixes: PrefixTable } | undefined;
  while (bytes[at] !== closeBrace) {
    const keyEnd = endOfString(bytes, at);
    if (keyEnd === undefined) return undefined;
    const key = textOf(bytes, at + 1, keyEnd - 1);
    at = skipSpace(bytes, keyEnd);
    if (bytes[at] !== colon) return undefined;
    at = skipSpace(bytes, at + 1);
    if (key === name) {
      const list = scanList(bytes, at, maxPrefixes);
      if (found !== undefined || list === undefined) return undefined;
      found = { from: at, to: list.end, prefixes: list.prefixes };
      at = list.end;
    } else {
      const end = endOfValue(bytes, at);
      if (end === undefined) return undefined;
      at = end;
    }
    at = skipSpace(bytes, at);
    if (bytes[at] === comma) {
      at = skipSpace(bytes, at + 1);
      if (bytes[at] === closeBrace) return undefined;
    } else if (bytes[at] !== closeBrace) return undefined;
  }
  if (found === undefined || skipSpace(bytes, at + 1) !== bytes.length) return undefined;
  const { from, to, prefixes } = found;
  const decoder = new TextDecoder();
  const rest = `${decoder.decode(bytes.subarray(0, from))}[]${decoder.decode(bytes.subarray(to))}`;
  return { rest, prefixes };
}

function scanList(
  bytes: Uint8Array,
  start: number,
  maxPrefixes: number,
): { readonly end: number; readonly prefixes: PrefixTable } | undefined {
  if (bytes[start] !== openBracket) return undefined;
  const prefixes = emptyPrefixTable(Math.min(maxPrefixes, (bytes.length - start) / typicalItemBytes));
  const tails = new Map<string, Tail>();
  const scanned: Ipv4Prefix = { address: 0, length: 0 };
  let at = skipSpace(bytes, start + 1);
  if (bytes[at] === closeBracket) return { end: at + 1, prefixes };
  for (;;) {
    const item = at;
    const from = startOfPrefix(bytes, at);
    const quoted = from === undefined ? undefined : endOfString(bytes, from);
    if (from === undefined || quoted === undefined || prefixes.size >= maxPrefixes) return undefined;
    at = skipSpace(bytes, quoted);
    let set = plainSet;
    let path = 1;
    if (bytes[at] === closeBrace) at += 1;
    else {
      const end = endOfValue(bytes, item);
      if (end === undefined) return undefined;
      const tail = tailOf(tails, bytes, item, quoted, end);
      if (tail === undefined) return undefined;
      ({ set, path } = tail);
      at = end;
    }
    let slot: number;
    if (readIpv4Prefix(bytes, from + 1, quoted - 1, scanned)) {
      slot = slotOfIpv4(prefixes, scanned.address, scanned.length, path);
    } else {
      const parsed = parseIpPrefix(textOf(bytes, from + 1, quoted - 1));
      if (!parsed.ok) return undefined;
      // Which next hop fits depends on the family: the schema has seen that for the tail's first prefix alone.
      if (set.nextHop?.family === 4 && parsed.value.address.family === 6) return undefined;
      slot = slotOfPrefix(prefixes, parsed.value, path);
    }
    if (!addOnce(prefixes, slot, set)) return undefined;
    at = skipSpace(bytes, at);
    if (bytes[at] === closeBracket) return { end: at + 1, prefixes };
    if (bytes[at] !== comma) return undefined;
    at = skipSpace(bytes, at + 1);
  }
}

/** Where the text of a prefix begins, in an object that begins with it. */
function startOfPrefix(bytes: Uint8Array, item: number): number | undefined {
  if (bytes[item] !== openBrace) return undefined;
  let at = skipSpace(bytes, item + 1);
  // "prefix"
  if (
    bytes[at] !== quote ||
    bytes[at + 1] !== 0x70 ||
    bytes[at + 2] !== 0x72 ||
    bytes[at + 3] !== 0x65 ||
    bytes[at + 4] !== 0x66 ||
    bytes[at + 5] !== 0x69 ||
    bytes[at + 6] !== 0x78 ||
    bytes[at + 7] !== quote
  ) {
    return undefined;
  }
  at = skipSpace(bytes, at + 8);
  return bytes[at] === colon ? skipSpace(bytes, at + 1) : undefined;
}

function tailOf(
  tails: Map<string, Tail>,
  bytes: Uint8Array,
  item: number,
  from: number,
  end: number,
): Tail | undefined {
  const text = textOf(bytes, from, end);
  const known = tails.get(text);
  if (known !== undefined) return known;
  if (tails.size >= maxTails) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes.subarray(item, end)));
  } catch {
    return undefined;
  }
  // A second "prefix" in the object would be the one that counts.
  if (text.includes('"prefix"') || text.includes('\\')) return undefined;
  const parsed = prefixSchema.safeParse(json);
  if (!parsed.success) return undefined;
  const { set, path } = toDesiredPrefix(parsed.data);
  const tail = { set, path };
  tails.set(text, tail);
  return tail;
}

function skipSpace(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length) {
    const byte = bytes[at];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
    at += 1;
  }
  return at;
}

/** The octet after a string of plain ASCII that begins here; undefined for other values, and with escapes. */
function endOfString(bytes: Uint8Array, start: number): number | undefined {
  if (bytes[start] !== quote) return undefined;
  for (let at = start + 1; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (byte === quote) return at + 1;
    if (byte === backslash || byte < 0x20 || byte > 0x7e) return undefined;
  }
  return undefined;
}

/** The octet after a value of any kind, found by its brackets and strings; whether it is JSON is not looked at. */
function endOfValue(bytes: Uint8Array, start: number): number | undefined {
  let depth = 0;
  for (let at = start; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === quote) {
      for (at += 1; at < bytes.length && bytes[at] !== quote; at++) if (bytes[at] === backslash) at += 1;
    } else if (byte === openBrace || byte === openBracket) depth += 1;
    else if (byte === closeBrace || byte === closeBracket) {
      // A number or a word at the end of the object that it is in.
      if (depth === 0) return at;
      depth -= 1;
    } else {
      if (byte === comma && depth === 0) return at;
      continue;
    }
    if (depth === 0) return at + 1;
  }
  return undefined;
}

function textOf(bytes: Uint8Array, from: number, to: number): string {
  let text = '';
  for (let at = from; at < to; at++) text += String.fromCharCode(bytes[at] as number);
  return text;
}
