import { type IpAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';

/**
 * The virtual router that a client belongs to: rendezvous hashing over the identifiers, so that every host answers
 * alike whatever the order of the list, and a new identifier takes its own share of clients and moves no others.
 * 32-bit arithmetic alone, so that a program in the kernel can do the same. Throws a RangeError for an empty list.
 */
export function shareOwner(client: IpAddress, vrids: readonly number[]): number {
  const hash = hashAddress(client);
  let best: number | undefined;
  let bestWeight = -1;
  for (const vrid of vrids) {
    const weight = mix((hash ^ Math.imul(vrid, 0x9e3779b1)) >>> 0);
    if (weight > bestWeight || (weight === bestWeight && vrid < (best ?? 256))) {
      best = vrid;
      bestWeight = weight;
    }
  }
  if (best === undefined) throw new RangeError('there are no virtual routers to share among');
  return best;
}

/**
 * Priority of the host at `ownIndex` for the virtual router of the host at `routerIndex`: its own first, then the next
 * in the ring, so that each dead host has another heir. 1 to `priority`.
 */
export function sharePriority(
  priority: number,
  hosts: number,
  ownIndex: number,
  routerIndex: number,
  step: number,
): number {
  const distance = (ownIndex - routerIndex + hosts) % hosts;
  return Math.max(1, priority - distance * step);
}

/** By words of 32 bits, IPv4 as IPv4-mapped. */
function hashAddress(address: IpAddress): number {
  const bytes = toMappedBytes(address);
  let hash = 0x811c9dc5;
  for (let at = 0; at < 16; at += 4) {
    const word =
      ((bytes[at] ?? 0) << 24) |
      ((bytes[at + 1] ?? 0) << 16) |
      ((bytes[at + 2] ?? 0) << 8) |
      (bytes[at + 3] ?? 0);
    hash = mix((hash ^ word) >>> 0);
  }
  return hash;
}

/** A bijection of 32-bit numbers in which each bit of the input moves each of the output (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let mixed = value;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
