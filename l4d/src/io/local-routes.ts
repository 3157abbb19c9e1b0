import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { routeTable, routeType } from '@l4d/kit/netlink/constants.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** RTPROT of our routes, unassigned in /etc/iproute2/rt_protos: they are ours to add and remove. */
export const ourProtocol = 108;
/** Of those for the source addresses of NAT, alike. */
export const natProtocol = 109;

/**
 * Makes the kernel deliver these addresses locally, without one being on an interface, and no others that we once asked
 * for. Rejects with SyscallError.
 */
export function replaceLocalRoutes(addresses: readonly IpAddress[]): Promise<void> {
  return replaceRoutes(addresses.map(hostPrefix), ourProtocol);
}

/**
 * As replaceLocalRoutes, for the source addresses of NAT that no interface has: the host answers ARP for them, and
 * refuses what comes to them and is of no connection. Rejects with SyscallError.
 */
export function replaceNatRoutes(sources: readonly IpPrefix[]): Promise<void> {
  return replaceRoutes(sources, natProtocol);
}

async function replaceRoutes(prefixes: readonly IpPrefix[], protocol: number): Promise<void> {
  const wanted = new Map(prefixes.map((prefix) => [formatIpPrefix(prefix), prefix]));
  const loopback = interfaceIndex('lo');
  const rtnetlink = openRtnetlink();
  try {
    for (const family of [4, 6] as const) {
      for (const route of await rtnetlink.routes(family, routeTable.LOCAL)) {
        if (route.protocol !== protocol || route.type !== routeType.local) continue;
        if (wanted.delete(formatIpPrefix(route.destination))) continue;
        await rtnetlink.deleteRoute({ ...specOf(route.destination, protocol), interfaceIndex: loopback });
      }
    }
    for (const prefix of wanted.values()) {
      await rtnetlink.replaceRoute({ ...specOf(prefix, protocol), interfaceIndex: loopback });
    }
  } finally {
    rtnetlink.close();
  }
}

function specOf(destination: IpPrefix, protocol: number) {
  return {
    destination,
    table: routeTable.LOCAL,
    type: 'local' as const,
    protocol,
  };
}
