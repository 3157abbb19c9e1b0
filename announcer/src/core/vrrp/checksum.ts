import type { IpAddress } from '@l4d/kit/ip-address.ts';

/** IP protocol number of VRRP (RFC 9568 section 5.1.1.4). */
export const vrrpProtocol = 112;

/** Sum of 16-bit words in network order, an odd last octet as the high half of a word; not folded. */
export function sumWords(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  return sum;
}

/** The internet checksum (RFC 1071) of a sum of words: folded and complemented, 16 bits. */
export function foldChecksum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x1_0000) + Math.floor(folded / 0x1_0000);
  return ~folded & 0xffff;
}

/**
 * Sum of the pseudo-header of RFC 8200 section 8.1, or of that of IPv4 (RFC 793), for a payload of so many octets.
 */
export function sumPseudoHeader(
  source: IpAddress,
  destination: IpAddress,
  protocol: number,
  length: number,
): number {
  return sumWords(destination.bytes, sumWords(source.bytes)) + protocol + length;
}

/**
 * Whether the pseudo-header is part of the IPv4 checksum. RFC 9568 section 5.2.8 leaves it out; RFC 5798 was read
 * both ways, and keepalived and older FRR put it in. IPv6 always has it.
 */
export type ChecksumKind = 'rfc9568' | 'rfc5798';

/** The checksum of a VRRP message whose checksum field is zero (RFC 9568 section 5.2.8). */
export function vrrpChecksum(
  message: Uint8Array,
  source: IpAddress,
  destination: IpAddress,
  kind: ChecksumKind,
): number {
  const isPseudo = source.family === 6 || kind === 'rfc5798';
  const start = isPseudo ? sumPseudoHeader(source, destination, vrrpProtocol, message.length) : 0;
  return foldChecksum(sumWords(message, start));
}
