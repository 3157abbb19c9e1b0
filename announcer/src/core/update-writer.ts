/** UPDATEs as bytes, straight from the table of prefixes: what the codec does by way of values, for long lists. */
import type { IpFamily } from '@l4d/kit/ip-address.ts';
import { afi, attributeFlag, attributeType, messageType, safi } from './codec/iana.ts';
import { headerBytes } from './codec/message.ts';
import type { PrefixTable } from './prefix-table.ts';

/** An UPDATE but for its prefixes. */
export interface UpdateShape {
  readonly family: IpFamily;
  /** Encoded path attributes, without those that hold prefixes; none: a withdrawal. */
  readonly attributes: Uint8Array;
  /** Next hop of MP_REACH_NLRI; undefined for classic IPv4 routes and for withdrawals. */
  readonly mpNextHop?: Uint8Array;
}

/** Header of a path attribute with its length in two octets. */
const longAttributeHeader = 4;

/** Octets of an UPDATE beside its prefixes, at most. */
export function fixedBytes(shape: UpdateShape): number {
  return headerBytes + 4 + shape.attributes.length + multiprotocolBytes(shape, longAttributeHeader);
}

/** The message for the prefixes of `slots`, which fit. Throws a RangeError when they do not. */
export function writeUpdate(
  shape: UpdateShape,
  table: PrefixTable,
  slots: readonly number[],
  withPath: boolean,
  maxBytes: number,
): Uint8Array {
  let prefixBytes = slots.length * (withPath ? 5 : 1);
  for (const slot of slots) prefixBytes += ((table.lengths[slot] as number) + 7) >> 3;
  const value = multiprotocolBytes(shape, 0) + prefixBytes;
  const isLong = value > 255;
  const multiprotocol = multiprotocolBytes(shape, isLong ? longAttributeHeader : longAttributeHeader - 1);
  const length = headerBytes + 4 + shape.attributes.length + multiprotocol + prefixBytes;
  if (length > maxBytes) throw new RangeError(`a BGP message of ${length} octets`);
  const bytes = new Uint8Array(length);
  bytes.fill(0xff, 0, 16);
  put16(bytes, 16, length);
  bytes[18] = messageType.update;
  let at = headerBytes;
  if (multiprotocol === 0 && shape.attributes.length === 0) {
    put16(bytes, at, prefixBytes);
    writePrefixes(bytes, at + 2, table, slots, withPath);
    return bytes;
  }
  put16(bytes, at + 2, shape.attributes.length + (multiprotocol === 0 ? 0 : multiprotocol + prefixBytes));
  at += 4;
  // RFC 7606 section 5.1: MP_REACH_NLRI "SHALL be encoded as the very first path attribute".
  if (multiprotocol > 0) {
    const reach = shape.mpNextHop !== undefined;
    bytes[at++] = attributeFlag.optional | (isLong ? attributeFlag.extendedLength : 0);
    bytes[at++] = reach ? attributeType.mpReach : attributeType.mpUnreach;
    if (isLong) bytes[at++] = value >> 8;
    bytes[at++] = value & 0xff;
    put16(bytes, at, shape.family === 4 ? afi.ipv4 : afi.ipv6);
    bytes[at + 2] = safi.unicast;
    at += 3;
    if (shape.mpNextHop !== undefined) {
      bytes[at] = shape.mpNextHop.length;
      bytes.set(shape.mpNextHop, at + 1);
      // The reserved octet (RFC 4760 section 3) stays 0.
      at += 2 + shape.mpNextHop.length;
    }
    at = writePrefixes(bytes, at, table, slots, withPath);
  }
  bytes.set(shape.attributes, at);
  if (multiprotocol === 0) writePrefixes(bytes, at + shape.attributes.length, table, slots, withPath);
  return bytes;
}

/** Octets of MP_REACH_NLRI or MP_UNREACH_NLRI beside prefixes; 0 for those that need neither. */
function multiprotocolBytes({ family, attributes, mpNextHop }: UpdateShape, header: number): number {
  if (mpNextHop !== undefined) return header + 5 + mpNextHop.length;
  return attributes.length === 0 && family === 6 ? header + 3 : 0;
}

function writePrefixes(
  bytes: Uint8Array,
  start: number,
  { lengths, paths, words }: PrefixTable,
  slots: readonly number[],
  withPath: boolean,
): number {
  let at = start;
  for (const slot of slots) {
    if (withPath) {
      const path = paths[slot] as number;
      put16(bytes, at, path >>> 16);
      put16(bytes, at + 2, path & 0xffff);
      at += 4;
    }
    const length = lengths[slot] as number;
    bytes[at++] = length;
    const size = (length + 7) >> 3;
    for (let i = 0; i < size; i++)
      bytes[at++] = (words[slot * 4 + (i >> 2)] as number) >>> (24 - 8 * (i & 3));
  }
  return at;
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}
