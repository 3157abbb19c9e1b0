/*
 * Layout of what recvmmsg(2) and sendmmsg(2) take, the same on all 64-bit Linux.
 */

/** Offsets in struct mmsghdr, and its size. */
export const mmsghdr = {
  size: 64,
  name: 0,
  nameLength: 8,
  vectors: 16,
  vectorCount: 24,
  control: 32,
  controlLength: 40,
  /** Bytes of the datagram, or run: written by the kernel. */
  length: 56,
} as const;

/** Size of struct iovec: an address and a length, 8 bytes each. */
export const iovecBytes = 16;
/** Room for a sockaddr_in or sockaddr_in6. */
export const nameBytes = 32;
/** Flag of both calls: do not wait. */
export const dontWait = 0x40;
