/** Path attributes as JSON, in the notation that operators write, and back. */

import { toHex } from '@l4d/kit/hex.ts';
import { formatIpAddress, type IpAddress, ipAddressFromBytes, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { z } from 'zod';
import { asSegmentType } from './as-path.ts';
import type { AttributeValue, PathAttribute } from './attribute.ts';
import { attributeType } from './iana.ts';
import type { FamilyNlri } from './mp-reach.ts';
import type { NlriPrefix } from './nlri.ts';

const originNames = ['IGP', 'EGP', 'INCOMPLETE'] as const;

const segmentNames = Object.entries(asSegmentType) as [keyof typeof asSegmentType, number][];

const u8 = z.number().int().min(0).max(0xff);
const u16 = z.number().int().min(0).max(0xffff);
const u32 = z.number().int().min(0).max(0xffff_ffff);

/** Octets as hexadecimal digits. */
export const hexSchema = z
  .string()
  .regex(/^([0-9a-f]{2})*$/i, 'must be pairs of hexadecimal digits')
  .transform(fromHex);

const address = z.string().transform((text, context): IpAddress => {
  const parsed = parseIpAddress(text);
  if (parsed.ok) return parsed.value;
  context.addIssue({ code: 'custom', message: parsed.error });
  return z.NEVER;
});

const address4 = address.refine(({ family }) => family === 4, 'must be an IPv4 address');

/** `PREFIX`, or `PREFIX#PATH` with the path identifier of RFC 7911. */
export const prefixSchema = z.string().transform((text, context): NlriPrefix => {
  const [prefix = '', path] = text.split('#');
  const parsed = parseIpPrefix(prefix);
  const pathId = path === undefined ? undefined : Number(path);
  const isPathGood = path === undefined || (/^\d{1,10}$/.test(path) && Number(path) <= 0xffff_ffff);
  if (parsed.ok && isPathGood) return pathId === undefined ? parsed.value : { ...parsed.value, pathId };
  const message = parsed.ok ? `"${text}" has no path identifier after #` : parsed.error;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});

/** IPv4 prefixes, as they stand outside of attributes. */
export const prefix4Schema = prefixSchema.refine(
  ({ address: { family } }) => family === 4,
  'must be an IPv4 prefix: others go into mp-reach and mp-unreach',
);

/** Numbers with colons between them, each below 2^32 (`bits` 16: 2^16). */
function colons(count: number, bits: 16 | 32, what: string) {
  return z.string().transform((text, context): number[] => {
    const parts = text.split(':');
    const numbers = parts.map(Number);
    const isGood = parts.every((part) => /^\d{1,10}$/.test(part)) && numbers.every((n) => n < 2 ** bits);
    if (isGood && parts.length === count) return numbers;
    context.addIssue({ code: 'custom', message: `"${text}" is not ${what}` });
    return z.NEVER;
  });
}

const segments = z.array(
  z.strictObject({
    type: z.enum(segmentNames.map(([name]) => name)).transform((name) => asSegmentType[name]),
    asNumbers: z.array(u32).min(1).max(255),
  }),
);

const nlri = z
  .union([z.strictObject({ prefixes: z.array(prefixSchema) }), z.strictObject({ hex: hexSchema })])
  .transform(
    (value): FamilyNlri =>
      'prefixes' in value
        ? { kind: 'prefixes', prefixes: value.prefixes }
        : { kind: 'opaque', bytes: value.hex },
  );

const nextHop = z
  .union([
    z.array(address).transform((list) => join(list.map(({ bytes }) => bytes))),
    z.strictObject({ hex: hexSchema }).transform(({ hex }) => hex),
  ])
  .refine((bytes) => bytes.length <= 255, 'must have at most 255 octets');

/** Refuses prefixes of another family than the attribute is of. */
function refuseOtherFamilies(
  { afi, nlri: given }: { readonly afi: number; readonly nlri: FamilyNlri },
  context: z.core.$RefinementCtx,
): void {
  if (given.kind !== 'prefixes') return;
  for (const [index, { address: found }] of given.prefixes.entries()) {
    const family = afi === 1 ? 4 : afi === 2 ? 6 : undefined;
    if (found.family === family) continue;
    const path = ['nlri', 'prefixes', index];
    const message =
      family === undefined
        ? `prefixes of afi ${afi} are not known: give octets (hex)`
        : `must be an IPv${family} prefix, as afi ${afi} says`;
    context.addIssue({ code: 'custom', path, message });
  }
}

const as = { as: u32, address: address4 };
const numbers = <Name extends string>(name: Name) => z.literal(name);

const valueSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: numbers('origin'),
    origin: z.enum(originNames).transform((name) => originNames.indexOf(name)),
  }),
  z.strictObject({ kind: numbers('as-path'), segments }),
  z.strictObject({ kind: numbers('next-hop'), address: address4 }),
  z.strictObject({ kind: numbers('med'), med: u32 }),
  z.strictObject({ kind: numbers('local-pref'), localPref: u32 }),
  z.strictObject({ kind: numbers('atomic-aggregate') }),
  z.strictObject({ kind: numbers('aggregator'), ...as }),
  z.strictObject({
    kind: numbers('communities'),
    communities: z.array(
      colons(2, 16, 'a community such as 65000:1').transform(([high = 0, low = 0]) => high * 65536 + low),
    ),
  }),
  z.strictObject({ kind: numbers('originator-id'), address: address4 }),
  z.strictObject({ kind: numbers('cluster-list'), ids: z.array(address4.transform(toNumber)) }),
  z
    .strictObject({ kind: numbers('mp-reach'), afi: u16, safi: u8, nextHop, nlri })
    .superRefine(refuseOtherFamilies),
  z.strictObject({ kind: numbers('mp-unreach'), afi: u16, safi: u8, nlri }).superRefine(refuseOtherFamilies),
  z.strictObject({
    kind: numbers('extended-communities'),
    communities: z.array(hexSchema.refine((bytes) => bytes.length === 8, 'must have 8 octets')),
  }),
  z.strictObject({ kind: numbers('as4-path'), segments }),
  z.strictObject({ kind: numbers('as4-aggregator'), ...as }),
  z.strictObject({
    kind: numbers('large-communities'),
    communities: z.array(
      colons(3, 32, 'a large community such as 65000:1:2').transform(
        ([a = 0, b = 0, c = 0]): [number, number, number] => [a, b, c],
      ),
    ),
  }),
  z.strictObject({ kind: numbers('only-to-customer'), as: u32 }),
  z.strictObject({ kind: numbers('opaque'), hex: hexSchema }),
]);

/** A path attribute as JSON: `type` and `flags` as on the wire, and what it says by its `kind`. */
export type AttributeJson = { readonly type: number; readonly name?: string; readonly flags: number } & {
  readonly value: z.input<typeof valueSchema>;
};

/** Reads an attribute; its name is for people and says nothing. */
export const attributeSchema = z
  .strictObject({ type: u8, name: z.string().optional(), flags: u8, value: valueSchema })
  .transform(({ type, flags, value }): PathAttribute => {
    if (value.kind !== 'opaque') return { type, flags, value };
    return { type, flags, value: { kind: 'opaque', bytes: value.hex } };
  });

/** The JSON of an attribute. */
export function attributeToJson({ type, flags, value }: PathAttribute): AttributeJson {
  const name = attributeName(type);
  return { type, ...(name === undefined ? {} : { name }), flags, value: valueToJson(value) };
}

/** Name of an attribute type, such as `asPath`; undefined when it is not understood. */
export function attributeName(type: number): string | undefined {
  return Object.entries(attributeType).find(([, number]) => number === type)?.[0];
}

/** The text of a prefix that prefixSchema reads. */
export function prefixToJson(prefix: NlriPrefix): string {
  const text = formatIpPrefix(prefix);
  return prefix.pathId === undefined ? text : `${text}#${prefix.pathId}`;
}

function valueToJson(value: AttributeValue): AttributeJson['value'] {
  switch (value.kind) {
    case 'origin':
      return { kind: 'origin', origin: originNames[value.origin] ?? 'INCOMPLETE' };
    case 'as-path':
    case 'as4-path':
      return {
        kind: value.kind,
        segments: value.segments.map(({ type, asNumbers }) => ({
          type: segmentNames.find(([, number]) => number === type)?.[0] ?? 'sequence',
          asNumbers: [...asNumbers],
        })),
      };
    case 'next-hop':
    case 'originator-id':
      return { kind: value.kind, address: formatIpAddress(value.address) };
    case 'aggregator':
    case 'as4-aggregator':
      return { kind: value.kind, as: value.as, address: formatIpAddress(value.address) };
    case 'communities':
      return {
        kind: 'communities',
        communities: value.communities.map((number) => `${number >>> 16}:${number & 0xffff}`),
      };
    case 'cluster-list':
      return { kind: 'cluster-list', ids: value.ids.map(toAddressText) };
    case 'mp-reach': {
      const { afi, safi } = value;
      return {
        kind: 'mp-reach',
        afi,
        safi,
        nextHop: nextHopToJson(value.nextHop),
        nlri: nlriToJson(value.nlri),
      };
    }
    case 'mp-unreach':
      return { kind: 'mp-unreach', afi: value.afi, safi: value.safi, nlri: nlriToJson(value.nlri) };
    case 'extended-communities':
      return { kind: 'extended-communities', communities: value.communities.map(toHex) };
    case 'large-communities':
      return { kind: 'large-communities', communities: value.communities.map((parts) => parts.join(':')) };
    case 'opaque':
      return { kind: 'opaque', hex: toHex(value.bytes) };
    default:
      return value;
  }
}

function nlriToJson(value: FamilyNlri): { prefixes: string[] } | { hex: string } {
  return value.kind === 'prefixes'
    ? { prefixes: value.prefixes.map(prefixToJson) }
    : { hex: toHex(value.bytes) };
}

/** One address, or a global one and a link-local one (RFC 2545 section 3); else octets. */
function nextHopToJson(bytes: Uint8Array): string[] | { hex: string } {
  if (bytes.length === 4 || bytes.length === 16) return [formatIpAddress(ipAddressFromBytes(bytes))];
  if (bytes.length !== 32) return { hex: toHex(bytes) };
  return [bytes.subarray(0, 16), bytes.subarray(16)].map((half) => formatIpAddress(ipAddressFromBytes(half)));
}

export { toHex };

/** Octets of pairs of hexadecimal digits. */
export function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function toNumber({ bytes }: IpAddress): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

function toAddressText(number: number): string {
  return [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255].join('.');
}
