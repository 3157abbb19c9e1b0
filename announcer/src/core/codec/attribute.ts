import { ByteWriter } from '@l4d/kit/bytes.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { type AsSegment, encodeAsPath, twoOctetAs } from './as-path.ts';
import { attributeFlag, attributeFlags, attributeType } from './iana.ts';
import { encodeMpReach, encodeMpUnreach, type MpReach, type MpUnreach } from './mp-reach.ts';

/** What a path attribute says. Types that are not understood keep their bytes. */
export type AttributeValue =
  /** 0 IGP, 1 EGP, 2 INCOMPLETE (RFC 4271 section 5.1.1). */
  | { readonly kind: 'origin'; readonly origin: number }
  | { readonly kind: 'as-path'; readonly segments: readonly AsSegment[] }
  | { readonly kind: 'next-hop'; readonly address: IpAddress }
  | { readonly kind: 'med'; readonly med: number }
  | { readonly kind: 'local-pref'; readonly localPref: number }
  | { readonly kind: 'atomic-aggregate' }
  | { readonly kind: 'aggregator'; readonly as: number; readonly address: IpAddress }
  /** RFC 1997: 32 bits each, the AS number in the upper half. */
  | { readonly kind: 'communities'; readonly communities: readonly number[] }
  | { readonly kind: 'originator-id'; readonly address: IpAddress }
  | { readonly kind: 'cluster-list'; readonly ids: readonly number[] }
  | MpReach
  | MpUnreach
  /** RFC 4360: eight octets each. */
  | { readonly kind: 'extended-communities'; readonly communities: readonly Uint8Array[] }
  /** RFC 6793: the path as four-octet speakers know it, carried through one that is not. */
  | { readonly kind: 'as4-path'; readonly segments: readonly AsSegment[] }
  | { readonly kind: 'as4-aggregator'; readonly as: number; readonly address: IpAddress }
  /** RFC 8092: three 32-bit numbers each. */
  | {
      readonly kind: 'large-communities';
      readonly communities: readonly (readonly [number, number, number])[];
    }
  /** RFC 9234 section 5: the AS that has sent the route to a customer, a peer or a client. */
  | { readonly kind: 'only-to-customer'; readonly as: number }
  | { readonly kind: 'opaque'; readonly bytes: Uint8Array };

/** A path attribute with its flags as they came or are to be sent. */
export interface PathAttribute {
  /** Flags octet with the unused low four bits cleared. Extended Length is set by itself when needed. */
  readonly flags: number;
  readonly type: number;
  readonly value: AttributeValue;
}

/** Attribute type code of each value that is understood. */
const typeOfKind: Readonly<Record<Exclude<AttributeValue['kind'], 'opaque'>, number>> = {
  origin: attributeType.origin,
  'as-path': attributeType.asPath,
  'next-hop': attributeType.nextHop,
  med: attributeType.med,
  'local-pref': attributeType.localPref,
  'atomic-aggregate': attributeType.atomicAggregate,
  aggregator: attributeType.aggregator,
  communities: attributeType.communities,
  'originator-id': attributeType.originatorId,
  'cluster-list': attributeType.clusterList,
  'mp-reach': attributeType.mpReach,
  'mp-unreach': attributeType.mpUnreach,
  'extended-communities': attributeType.extendedCommunities,
  'as4-path': attributeType.as4Path,
  'as4-aggregator': attributeType.as4Aggregator,
  'large-communities': attributeType.largeCommunities,
  'only-to-customer': attributeType.onlyToCustomer,
};

/** An attribute of our own making, with the flags its type must have. */
export function pathAttribute(value: Exclude<AttributeValue, { kind: 'opaque' }>): PathAttribute {
  const type = typeOfKind[value.kind];
  return { flags: attributeFlags[type] ?? 0, type, value };
}

/** Appends one attribute: flags, type, length in one or two octets, value (RFC 4271 section 4.3). */
export function encodeAttribute(writer: ByteWriter, attribute: PathAttribute, fourOctetAs: boolean): void {
  const bytes = encodeAttributeValue(attribute.value, fourOctetAs);
  const extended = bytes.length > 255 || (attribute.flags & attributeFlag.extendedLength) !== 0;
  // "The lower-order four bits of the Attribute Flags octet are unused. They MUST be zero when sent."
  writer.u8((attribute.flags & 0xf0) | (extended ? attributeFlag.extendedLength : 0)).u8(attribute.type);
  if (extended) writer.u16(bytes.length);
  else writer.u8(bytes.length);
  writer.raw(bytes);
}

/** Attributes one after another. */
export function encodeAttributes(attributes: readonly PathAttribute[], fourOctetAs: boolean): Uint8Array {
  const writer = new ByteWriter(128);
  for (const attribute of attributes) encodeAttribute(writer, attribute, fourOctetAs);
  return writer.finish();
}

function encodeAttributeValue(value: AttributeValue, fourOctetAs: boolean): Uint8Array {
  switch (value.kind) {
    case 'origin':
      return Uint8Array.of(value.origin);
    case 'as-path':
      return encodeAsPath(value.segments, fourOctetAs);
    case 'next-hop':
    case 'originator-id':
      return value.address.bytes;
    case 'med':
      return new ByteWriter(4).u32(value.med).finish();
    case 'local-pref':
      return new ByteWriter(4).u32(value.localPref).finish();
    case 'atomic-aggregate':
      return new Uint8Array(0);
    case 'aggregator': {
      const writer = new ByteWriter(8);
      if (fourOctetAs) writer.u32(value.as);
      else writer.u16(twoOctetAs(value.as));
      return writer.raw(value.address.bytes).finish();
    }
    case 'communities':
      return words(value.communities);
    case 'cluster-list':
      return words(value.ids);
    case 'mp-reach':
      return encodeMpReach(value);
    case 'mp-unreach':
      return encodeMpUnreach(value);
    case 'extended-communities': {
      const writer = new ByteWriter(64);
      for (const community of value.communities) writer.raw(community);
      return writer.finish();
    }
    case 'as4-path':
      return encodeAsPath(value.segments, true);
    case 'as4-aggregator':
      return new ByteWriter(8).u32(value.as).raw(value.address.bytes).finish();
    case 'large-communities':
      return words(value.communities.flat());
    case 'only-to-customer':
      return new ByteWriter(4).u32(value.as).finish();
    case 'opaque':
      return value.bytes;
  }
}

function words(values: readonly number[]): Uint8Array {
  const writer = new ByteWriter(values.length * 4);
  for (const value of values) writer.u32(value);
  return writer.finish();
}
