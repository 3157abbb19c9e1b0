/**
 * Lists of prefixes in requests: one schema for each prefix, and a short way for plain ones. A hundred thousand
 * `{ "prefix": "203.0.113.10/32" }` must not each go through the whole schema.
 */
import { type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { z } from 'zod';
import type { DesiredPrefix } from './out-routes.ts';
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

/** A list of prefixes without duplicates, as values. */
export const prefixListSchema = z
  .custom<PrefixInput[]>((value) => Array.isArray(value), { message: 'must be a list of prefixes' })
  .transform((list, context): DesiredPrefix[] => {
    if (list.length > maxPrefixes) {
      context.addIssue({ code: 'custom', message: `must have at most ${maxPrefixes} prefixes` });
      return z.NEVER;
    }
    const known = new Set<string>();
    const prefixes: DesiredPrefix[] = [];
    let problems = 0;
    for (let index = 0; index < list.length && problems < maxProblems; index++) {
      const item: unknown = list[index];
      let prefix = plainPrefix(item);
      if (prefix === undefined) {
        const parsed = prefixSchema.safeParse(item);
        if (!parsed.success) {
          problems += 1;
          for (const { message, path } of parsed.error.issues) {
            context.addIssue({ code: 'custom', path: [index, ...path], message });
          }
          continue;
        }
        prefix = toDesiredPrefix(parsed.data);
      }
      if (known.has(prefix.key)) {
        problems += 1;
        context.addIssue({ code: 'custom', path: [index, 'prefix'], message: 'appears more than once' });
      }
      known.add(prefix.key);
      prefixes.push(prefix);
    }
    return problems > 0 ? z.NEVER : prefixes;
  });

/** The typed form of a prefix that the schema has accepted. */
export function toDesiredPrefix(text: z.input<typeof prefixSchema>): DesiredPrefix {
  const complete = prefixSchema.parse(text);
  const parsed = parseIpPrefix(complete.prefix);
  if (!parsed.ok) throw new TypeError(parsed.error);
  const { pathId } = complete;
  const nextHop = addressOf(complete.nextHop);
  return {
    key: prefixKey(parsed.value, pathId),
    prefix: parsed.value,
    ...toRouteAttributes(complete),
    ...(nextHop === undefined ? {} : { nextHop }),
    ...(pathId === undefined ? {} : { pathId }),
  };
}

/** Key of a prefix in all tables. */
export function prefixKey(prefix: IpPrefix, pathId = 1): string {
  const text = formatIpPrefix(prefix);
  return pathId === 1 ? text : `${text}#${pathId}`;
}

/** Shared by all prefixes without communities. */
const none: readonly number[] = [];

/** `{ prefix: "a.b.c.d/length" }` in canonical form and nothing else; undefined for all that needs a closer look. */
function plainPrefix(item: unknown): DesiredPrefix | undefined {
  if (typeof item !== 'object' || item === null) return undefined;
  const text: unknown = (item as { prefix?: unknown }).prefix;
  if (typeof text !== 'string') return undefined;
  for (const name in item) if (name !== 'prefix') return undefined;
  const prefix = canonicalIpv4Prefix(text);
  return prefix === undefined ? undefined : { key: text, prefix, communities: none };
}

/** An IPv4 prefix whose text is already its key; undefined for other text. */
export function canonicalIpv4Prefix(text: string): IpPrefix | undefined {
  const bytes = new Uint8Array(4);
  let position = 0;
  let length = 0;
  for (let part = 0; part < 5; part++) {
    const start = position;
    let value = 0;
    for (; position < text.length; position++) {
      const digit = text.charCodeAt(position) - 48;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = position - start;
    if (digits === 0 || digits > 3 || (digits > 1 && text.charCodeAt(start) === 48)) return undefined;
    if (part === 4) {
      length = value;
      break;
    }
    if (value > 255 || text.charCodeAt(position) !== (part === 3 ? 47 : 46)) return undefined;
    bytes[part] = value;
    position += 1;
  }
  if (position !== text.length || length > 32) return undefined;
  if (length < 32) {
    const number = new DataView(bytes.buffer).getUint32(0);
    if (length === 0 ? number !== 0 : (number << length) >>> 0 !== 0) return undefined;
  }
  return { address: { family: 4, bytes }, length };
}

function addressOf(text: string | undefined): IpAddress | undefined {
  if (text === undefined) return undefined;
  const parsed = parseIpAddress(text);
  if (!parsed.ok) throw new TypeError(parsed.error);
  return parsed.value;
}
