import { type ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { asTrans } from './iana.ts';

/** Segment types of AS_PATH (RFC 4271 section 4.3; RFC 5065 for confederations). */
export const asSegmentType = { set: 1, sequence: 2, confedSequence: 3, confedSet: 4 } as const;

/** One segment: 1 to 255 AS numbers. */
export interface AsSegment {
  readonly type: number;
  readonly asNumbers: readonly number[];
}

/**
 * Segments to the end of the reader, AS numbers in two or four octets (RFC 6793 section 4.1).
 * Undefined for what RFC 7606 section 7.2 calls malformed: unknown segment type, overrun,
 * underrun (a lone octet at the end), zero-length segment.
 */
export function decodeAsPath(reader: ByteReader, fourOctet: boolean): AsSegment[] | undefined {
  const segments: AsSegment[] = [];
  while (reader.remaining > 0) {
    const type = reader.u8() ?? 0;
    const count = reader.u8();
    if (type < 1 || type > 4 || count === undefined || count === 0) return undefined;
    const body = reader.sub(count * (fourOctet ? 4 : 2));
    if (body === undefined) return undefined;
    const asNumbers: number[] = [];
    while (body.remaining > 0) asNumbers.push((fourOctet ? body.u32() : body.u16()) ?? 0);
    segments.push({ type, asNumbers });
  }
  return segments;
}

/**
 * The attribute's value. RFC 6793 section 4.2.2: towards a peer without four-octet AS numbers,
 * those that do not fit are replaced by AS_TRANS.
 */
export function encodeAsPath(segments: readonly AsSegment[], fourOctet: boolean): Uint8Array {
  const writer = new ByteWriter(16);
  for (const segment of segments) {
    writer.u8(segment.type).u8(segment.asNumbers.length);
    for (const asNumber of segment.asNumbers) {
      if (fourOctet) writer.u32(asNumber);
      else writer.u16(twoOctetAs(asNumber));
    }
  }
  return writer.finish();
}

/** The AS number as a two-octet field shows it: AS_TRANS when it does not fit. */
export function twoOctetAs(asNumber: number): number {
  return asNumber > 0xffff ? asTrans : asNumber;
}

/** Whether AS 0 is anywhere in the path (RFC 7607: such an UPDATE is malformed). */
export function containsAsZero(segments: readonly AsSegment[]): boolean {
  return segments.some((segment) => segment.asNumbers.includes(0));
}
