import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';

/** An interface, as far as it tells which neighbours it has. */
export interface SegmentInterface {
  readonly index: number;
  readonly up: boolean;
  readonly subnets: readonly IpPrefix[];
}

/**
 * The interface in whose segment an address is: that of the longest subnet it is in, `main` before others of that
 * length, and `main` when it is in none. Interfaces that are down have no say, but for `main`.
 */
export function interfaceOf(
  interfaces: readonly SegmentInterface[],
  main: number,
  address: IpAddress,
): number {
  let best = main;
  let longest = -1;
  for (const { index, up, subnets } of interfaces) {
    if (!up && index !== main) continue;
    for (const subnet of subnets) {
      if (subnet.address.family !== address.family || !prefixContains(subnet, address)) continue;
      if (subnet.length < longest || (subnet.length === longest && index !== main)) continue;
      longest = subnet.length;
      best = index;
    }
  }
  return best;
}
