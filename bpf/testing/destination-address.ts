import { formatIpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { etherType } from './packet.ts';

/** Tags that the data plane looks behind. */
const maxTags = 2;

/**
 * Where a frame goes, as its bytes tell: the destination in its IP header, whatever that header says else. Undefined
 * for what is no IP, and for what ends before the address.
 */
export function destinationAddress(frame: Uint8Array): string | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const typeAt = (at: number) => (at + 2 <= frame.length ? view.getUint16(at) : 0);
  let at = 12;
  for (
    let tags = 0;
    tags < maxTags && [etherType.vlan, etherType.qinq].some((type) => type === typeAt(at));
    tags++
  ) {
    at += 4;
  }
  const network = frame.subarray(at + 2);
  if (typeAt(at) === etherType.ipv4 && network.length >= 20) {
    return formatIpAddress(ipAddressFromBytes(network.slice(16, 20)));
  }
  if (typeAt(at) === etherType.ipv6 && network.length >= 40) {
    return formatIpAddress(ipAddressFromBytes(network.slice(24, 40)));
  }
  return undefined;
}
