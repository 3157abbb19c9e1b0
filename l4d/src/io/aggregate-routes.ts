import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { routeTable, routeType } from '@l4d/kit/netlink/constants.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { ourProtocol } from './local-routes.ts';

/** Any other route to the same prefix goes first. */
const leastPreferred = 0xffff_ffff;

/**
 * What a covering prefix attracts and no VIP takes ends here: without a route of its own it would go by the default
 * route, back to the router that sent it. Sets these routes and removes those that we once set. Rejects with
 * SyscallError.
 */
export async function replaceAggregateRoutes(prefixes: readonly IpPrefix[]): Promise<void> {
  const wanted = new Map(prefixes.map((prefix) => [formatIpPrefix(prefix), prefix]));
  const rtnetlink = openRtnetlink();
  try {
    for (const family of [4, 6] as const) {
      for (const route of await rtnetlink.routes(family, routeTable.MAIN)) {
        if (route.protocol !== ourProtocol || route.type !== routeType.unreachable) continue;
        if (wanted.delete(formatIpPrefix(route.destination))) continue;
        await rtnetlink.deleteRoute(specOf(route.destination));
      }
    }
    for (const prefix of wanted.values()) await rtnetlink.replaceRoute(specOf(prefix));
  } finally {
    rtnetlink.close();
  }
}

function specOf(destination: IpPrefix) {
  const route = {
    destination,
    type: 'unreachable',
    protocol: ourProtocol,
    priority: leastPreferred,
  } as const;
  // IPv6 hangs such routes on the loopback interface.
  return destination.address.family === 4 ? route : { ...route, interfaceIndex: interfaceIndex('lo') };
}
