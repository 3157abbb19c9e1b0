import type { IpAddress } from '@l4d/kit/ip-address.ts';

/** What makes an address unfit to be served or to serve; undefined for an ordinary one. */
export function specialKind(address: IpAddress): string | undefined {
  const [first = 0, second = 0] = address.bytes;
  const leading = address.bytes.subarray(0, -1).every((byte) => byte === 0);
  if (address.family === 6) {
    if (leading && address.bytes[15] === 0) return 'the unspecified address';
    if (leading && address.bytes[15] === 1) return 'a loopback address';
    if (first === 0xff) return 'a multicast address';
    if (first === 0xfe && (second & 0xc0) === 0x80) return 'a link-local address';
    return undefined;
  }
  if (first === 0) return 'in 0.0.0.0/8';
  if (first === 127) return 'a loopback address';
  if (first >= 224) return 'a multicast or reserved address';
  return undefined;
}
