import type { IpAddress } from '../ip-address.ts';
import { constant } from './libc.ts';

/**
 * struct sockaddr_in (16 bytes) or sockaddr_in6 (28 bytes) in memory layout: family in host
 * order, port and address in network order. `scopeId` is the interface index of a link-local address.
 */
export function encodeSockaddr(address: IpAddress, port: number, scopeId = 0): Uint8Array {
  const bytes = new Uint8Array(address.family === 4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, address.family === 4 ? constant.AF_INET : constant.AF_INET6, true);
  view.setUint16(2, port);
  bytes.set(address.bytes, address.family === 4 ? 4 : 8);
  if (address.family === 6) view.setUint32(24, scopeId, true);
  return bytes;
}
