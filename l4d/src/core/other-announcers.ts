import type { OtherPath } from '@l4d/announcer/core/api-status.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { routePrefix } from './announced-routes.ts';
import type { Aggregate } from './desired/aggregate.ts';

/**
 * Whether some router shows a path of another host to an address that we announce. A router tells only of its best
 * path, and not of ours to ourselves: that none is shown does not mean that there is none. While we announce with
 * GRACEFUL_SHUTDOWN others' paths are better, and it does.
 */
export function hasOtherPath(
  paths: readonly OtherPath[],
  address: IpAddress,
  aggregates: readonly Aggregate[],
): boolean {
  const text = routePrefix(address, aggregates);
  return paths.some(({ prefix }) => prefix === text);
}

/** Those of the addresses to which no router shows another host's path. */
export function withoutOtherPath(
  paths: readonly OtherPath[],
  addresses: readonly IpAddress[],
  aggregates: readonly Aggregate[],
): string[] {
  const lonely = addresses.filter((address) => !hasOtherPath(paths, address, aggregates));
  return [...new Set(lonely.map(formatIpAddress))];
}
