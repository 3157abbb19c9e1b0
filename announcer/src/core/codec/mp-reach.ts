import { type ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import type { IpFamily } from '@l4d/kit/ip-address.ts';
import { afi as afiNumber, safi as safiNumber } from './iana.ts';
import { decodePrefixes, encodePrefix, type NlriPrefix } from './nlri.ts';

/** Prefixes of a family that is understood, or the bytes of one that is not. */
export type FamilyNlri =
  | { readonly kind: 'prefixes'; readonly prefixes: readonly NlriPrefix[] }
  | { readonly kind: 'opaque'; readonly bytes: Uint8Array };

/** MP_REACH_NLRI (RFC 4760 section 3). */
export interface MpReach {
  readonly kind: 'mp-reach';
  readonly afi: number;
  readonly safi: number;
  /** For IPv6 unicast a global address, or one with a link-local after it (RFC 2545 section 3). */
  readonly nextHop: Uint8Array;
  readonly nlri: FamilyNlri;
}

/** MP_UNREACH_NLRI (RFC 4760 section 4). */
export interface MpUnreach {
  readonly kind: 'mp-unreach';
  readonly afi: number;
  readonly safi: number;
  readonly nlri: FamilyNlri;
}

/** The IP family of IPv4 or IPv6 unicast; undefined for everything else. */
export function unicastFamily(afi: number, safi: number): IpFamily | undefined {
  if (safi !== safiNumber.unicast) return undefined;
  if (afi === afiNumber.ipv4) return 4;
  return afi === afiNumber.ipv6 ? 6 : undefined;
}

/** The attribute's value; undefined when it cannot be parsed, which is a session reset (RFC 7606 section 5.3). */
export function decodeMpReach(reader: ByteReader, addPath = false): MpReach | undefined {
  const afi = reader.u16();
  const safi = reader.u8();
  const nextHopLength = reader.u8();
  const nextHop = nextHopLength === undefined ? undefined : reader.take(nextHopLength);
  // RFC 4760 section 3: the reserved octet "MUST be set to 0, and SHOULD be ignored upon receipt".
  const reserved = reader.u8();
  if (afi === undefined || safi === undefined || nextHop === undefined || reserved === undefined)
    return undefined;
  const family = unicastFamily(afi, safi);
  // RFC 7606 section 7.11: a next hop length "inconsistent with" the family is malformed.
  // RFC 2545 section 3 (16 or 32 for IPv6), RFC 8950 section 3 (also for IPv4, where negotiated).
  if (family !== undefined && !nextHopLengths[family].includes(nextHop.length)) return undefined;
  const nlri = decodeFamilyNlri(reader, family, addPath);
  return nlri === undefined
    ? undefined
    : { kind: 'mp-reach', afi, safi, nextHop: Uint8Array.from(nextHop), nlri };
}

/** The attribute's value; undefined when it cannot be parsed, which is a session reset. */
export function decodeMpUnreach(reader: ByteReader, addPath = false): MpUnreach | undefined {
  const afi = reader.u16();
  const safi = reader.u8();
  if (afi === undefined || safi === undefined) return undefined;
  const nlri = decodeFamilyNlri(reader, unicastFamily(afi, safi), addPath);
  return nlri === undefined ? undefined : { kind: 'mp-unreach', afi, safi, nlri };
}

/** The attribute's value. */
export function encodeMpReach(value: MpReach): Uint8Array {
  const writer = new ByteWriter(64).u16(value.afi).u8(value.safi);
  writer.u8(value.nextHop.length).raw(value.nextHop).u8(0);
  encodeFamilyNlri(writer, value.nlri);
  return writer.finish();
}

/** The attribute's value. */
export function encodeMpUnreach(value: MpUnreach): Uint8Array {
  const writer = new ByteWriter(64).u16(value.afi).u8(value.safi);
  encodeFamilyNlri(writer, value.nlri);
  return writer.finish();
}

const nextHopLengths: Readonly<Record<IpFamily, readonly number[]>> = { 4: [4, 16, 32], 6: [16, 32] };

function decodeFamilyNlri(
  reader: ByteReader,
  family: IpFamily | undefined,
  addPath: boolean,
): FamilyNlri | undefined {
  if (family === undefined) {
    const bytes = reader.take(reader.remaining) ?? new Uint8Array(0);
    return { kind: 'opaque', bytes: Uint8Array.from(bytes) };
  }
  const prefixes = decodePrefixes(reader, family, addPath);
  return prefixes === undefined ? undefined : { kind: 'prefixes', prefixes };
}

function encodeFamilyNlri(writer: ByteWriter, nlri: FamilyNlri): void {
  if (nlri.kind === 'opaque') writer.raw(nlri.bytes);
  else for (const prefix of nlri.prefixes) encodePrefix(writer, prefix);
}
