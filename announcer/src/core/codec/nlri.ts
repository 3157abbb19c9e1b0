import type { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { type IpFamily, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, maskAddress } from '@l4d/kit/ip-prefix.ts';

/** A prefix with the path identifier it has where ADD-PATH is negotiated (RFC 7911 section 3). */
export interface NlriPrefix extends IpPrefix {
  readonly pathId?: number;
}

/**
 * Prefixes to the end of the reader: a length in bits, then as many octets as hold it
 * (RFC 4271 section 4.3; RFC 4760 section 5). Undefined when a length is above the family's
 * or a prefix runs past the end (RFC 7606 section 5.3). Irrelevant trailing bits are cleared.
 */
export function decodePrefixes(
  reader: ByteReader,
  family: IpFamily,
  addPath = false,
): NlriPrefix[] | undefined {
  const size = family === 4 ? 4 : 16;
  const prefixes: NlriPrefix[] = [];
  while (reader.remaining > 0) {
    const pathId = addPath ? reader.u32() : undefined;
    const length = reader.u8();
    if (length === undefined || (addPath && pathId === undefined)) return undefined;
    // RFC 7606 section 5.3: a length above the number of bits of the family.
    if (length > size * 8) return undefined;
    const part = reader.take((length + 7) >> 3);
    if (part === undefined) return undefined;
    const bytes = new Uint8Array(size);
    bytes.set(part);
    // RFC 4271 section 4.3: "the value of trailing bits is irrelevant".
    const address = maskAddress(ipAddressFromBytes(bytes), length);
    prefixes.push(pathId === undefined ? { address, length } : { address, length, pathId });
  }
  return prefixes;
}

/** Appends one prefix. */
export function encodePrefix(writer: ByteWriter, prefix: NlriPrefix): void {
  if (prefix.pathId !== undefined) writer.u32(prefix.pathId);
  writer.u8(prefix.length).raw(prefix.address.bytes.subarray(0, (prefix.length + 7) >> 3));
}

/** Octets that encodePrefix appends. */
export function encodedPrefixSize(prefix: NlriPrefix): number {
  return (prefix.pathId === undefined ? 1 : 5) + ((prefix.length + 7) >> 3);
}
