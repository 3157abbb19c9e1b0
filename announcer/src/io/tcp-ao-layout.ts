/** struct tcp_ao_add and tcp_ao_del of <linux/tcp.h>, since Linux 6.7; all architectures of 64 bits agree on them. */
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { TcpAoKey } from '../core/security.ts';

/** Whose segments a key is for: an address, or all addresses of a prefix. */
export interface KeyOwner {
  readonly address: IpAddress;
  /** Left out: the address alone. */
  readonly prefixLength?: number;
}

/** Octets of the MAC in the option (RFC 5926 section 3.2: 96 bits). */
const macBytes = 12;

/** struct sockaddr_storage first, then char alg_name[64], __s32 ifindex, flags, and from here on octets. */
const add = {
  algorithm: 128,
  prefix: 202,
  sendId: 203,
  receiveId: 204,
  macBytes: 205,
  keyBytes: 207,
  key: 208,
  size: 288,
};

/** struct sockaddr_storage first, then __s32 ifindex, flags, and from here on octets. */
const remove = { prefix: 138, sendId: 139, receiveId: 140, size: 144 };

/** struct tcp_ao_add. */
export function encodeAoKey({ address, prefixLength }: KeyOwner, ao: TcpAoKey): Uint8Array {
  const bytes = new Uint8Array(add.size);
  const key = new TextEncoder().encode(ao.key);
  bytes.set(encodeSockaddr(address, 0), 0);
  bytes.set(new TextEncoder().encode(ao.algorithm), add.algorithm);
  bytes[add.prefix] = prefixLength ?? address.bytes.length * 8;
  bytes[add.sendId] = ao.sendId;
  bytes[add.receiveId] = ao.receiveId;
  bytes[add.macBytes] = macBytes;
  bytes[add.keyBytes] = key.length;
  bytes.set(key, add.key);
  return bytes;
}

/** struct tcp_ao_del. */
export function encodeAoKeyRemoval(
  { address, prefixLength }: KeyOwner,
  ao: Omit<TcpAoKey, 'key' | 'algorithm'>,
): Uint8Array {
  const bytes = new Uint8Array(remove.size);
  bytes.set(encodeSockaddr(address, 0), 0);
  bytes[remove.prefix] = prefixLength ?? address.bytes.length * 8;
  bytes[remove.sendId] = ao.sendId;
  bytes[remove.receiveId] = ao.receiveId;
  return bytes;
}
