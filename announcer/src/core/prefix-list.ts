/**
 * Lists of prefixes in requests: one schema for each prefix, and a short way for plain ones. A hundred thousand
 * `{ "prefix": "203.0.113.10/32" }` must not each go through the whole schema.
 */
import { type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { z } from 'zod';
import {
  type AttributeSet,
  assign,
  emptyPrefixTable,
  type PrefixTable,
  slotOfIpv4,
  slotOfPrefix,
} from './prefix-table.ts';
import { prefixAttributesShape, toRouteAttributes } from './route-policy.ts';

const prefixText = z.string().superRefine((text, context) => {
  const parsed = parseIpPrefix(text);
  if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error });
});

/** A prefix that shall be announced. */
export const prefixSchema = z
  .strictObject({ prefix: prefixText, ...prefixAttributesShape })
  .superRefine(({ prefix, nextHop }, context) => {
    if (nextHop === undefined || !prefix.includes(':') || nextHop.includes(':')) return;
    const message = 'must be an IPv6 address for an IPv6 prefix';
    context.addIssue({ code: 'custom', path: ['nextHop'], message });
  });

/** A prefix as clients send it. */
export type PrefixInput = z.input<typeof prefixSchema>;

/** Most prefixes in a request. */
export const maxPrefixes = 1_000_000;

/** At most so many problems are told of one list. */
const maxProblems = 100;

/** A list of prefixes without duplicates, as a table. */
export const prefixListSchema = z
  .custom<PrefixInput[]>((value) => Array.isArray(value), { message: 'must be a list of prefixes' })
  .transform((list, context): PrefixTable => {
    if (list.length > maxPrefixes) {
      context.addIssue({ code: 'custom', message: `must have at most ${maxPrefixes} prefixes` });
      return z.NEVER;
    }
    const table = emptyPrefixTable();
    let problems = 0;
    for (let index = 0; index < list.length && problems < maxProblems; index++) {
      const item: unknown = list[index];
      if (addPlain(table, item)) continue;
      const parsed = prefixSchema.safeParse(item);
      if (!parsed.success) {
        problems += 1;
        for (const { message, path } of parsed.error.issues) {
          context.addIssue({ code: 'custom', path: [index, ...path], message });
        }
        continue;
      }
      const { prefix, set, path } = toDesiredPrefix(parsed.data);
      if (addOnce(table, slotOfPrefix(table, prefix, path), set)) continue;
      problems += 1;
      context.addIssue({ code: 'custom', path: [index, 'prefix'], message: 'appears more than once' });
    }
    return problems > 0 ? z.NEVER : table;
  });

/** A prefix that shall be announced, and with what. */
export interface DesiredPrefix {
  readonly prefix: IpPrefix;
  /** Path identifier (RFC 7911). */
  readonly path: number;
  readonly set: AttributeSet;
}

/** The typed form of a prefix that the schema has accepted. */
export function toDesiredPrefix(text: PrefixInput): DesiredPrefix {
  const complete = prefixSchema.parse(text);
  const parsed = parseIpPrefix(complete.prefix);
  if (!parsed.ok) throw new TypeError(parsed.error);
  const nextHop = addressOf(complete.nextHop);
  const set = { ...toRouteAttributes(complete), ...(nextHop === undefined ? {} : { nextHop }) };
  return { prefix: parsed.value, path: complete.pathId ?? 1, set };
}

/** Nothing is said beside the prefix; shared by all of those. */
export const plainSet: AttributeSet = { communities: [] };

/** Adds `{ prefix: "a.b.c.d/length" }` with nothing else; false for all that needs a closer look, or was there. */
function addPlain(table: PrefixTable, item: unknown): boolean {
  if (typeof item !== 'object' || item === null) return false;
  const text: unknown = (item as { prefix?: unknown }).prefix;
  if (typeof text !== 'string') return false;
  for (const name in item) if (name !== 'prefix') return false;
  const bytes = encoder.encode(text);
  if (!readIpv4Prefix(bytes, 0, bytes.length, scanned)) return false;
  return addOnce(table, slotOfIpv4(table, scanned.address, scanned.length, 1), plainSet);
}

/** False when the prefix was there. */
export function addOnce(table: PrefixTable, slot: number, set: AttributeSet): boolean {
  return table.attributes[slot] === undefined && assign(table, slot, set);
}

/** An IPv4 prefix as numbers. */
export interface Ipv4Prefix {
  address: number;
  length: number;
}

const encoder = new TextEncoder();
const scanned: Ipv4Prefix = { address: 0, length: 0 };

/** Reads `a.b.c.d/length` in canonical form, ASCII, from `start` to `end`; false for other text. */
export function readIpv4Prefix(bytes: Uint8Array, start: number, end: number, into: Ipv4Prefix): boolean {
  let position = start;
  let address = 0;
  for (let part = 0; part < 5; part++) {
    const first = position;
    let value = 0;
    for (; position < end; position++) {
      const digit = (bytes[position] as number) - 48;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = position - first;
    if (digits === 0 || digits > 3 || (digits > 1 && bytes[first] === 48)) return false;
    if (part === 4) {
      if (position !== end || value > 32) return false;
      const host = value === 0 ? 0xffff_ffff : value === 32 ? 0 : 0xffff_ffff >>> value;
      if ((address & host) !== 0) return false;
      into.address = address >>> 0;
      into.length = value;
      return true;
    }
    if (value > 255 || position >= end || bytes[position] !== (part === 3 ? 47 : 46)) return false;
    address = (address << 8) | value;
    position += 1;
  }
  return false;
}

function addressOf(text: string | undefined): IpAddress | undefined {
  if (text === undefined) return undefined;
  const parsed = parseIpAddress(text);
  if (!parsed.ok) throw new TypeError(parsed.error);
  return parsed.value;
}
