import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { hostPrefix } from '@l4d/kit/ip-prefix.ts';
import { routeTable, routeType } from '@l4d/kit/netlink/constants.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** RTPROT of our routes, unassigned in /etc/iproute2/rt_protos: they are ours to add and remove. */
export const ourProtocol = 108;

/**
 * Makes the kernel deliver these addresses locally, without one being on an interface (so nothing
 * answers ARP for them), and no others that we once asked for. Rejects with SyscallError.
 */
export async function replaceLocalRoutes(addresses: readonly IpAddress[]): Promise<void> {
  const wanted = new Map(addresses.map((address) => [formatIpAddress(address), address]));
  const loopback = interfaceIndex('lo');
  const rtnetlink = openRtnetlink();
  try {
    for (const family of [4, 6] as const) {
      for (const route of await rtnetlink.routes(family, routeTable.LOCAL)) {
        if (route.protocol !== ourProtocol || route.type !== routeType.local) continue;
        const text = formatIpAddress(route.destination.address);
        if (wanted.delete(text)) continue;
        await rtnetlink.deleteRoute({ ...specOf(route.destination.address), interfaceIndex: loopback });
      }
    }
    for (const address of wanted.values()) {
      await rtnetlink.replaceRoute({ ...specOf(address), interfaceIndex: loopback });
    }
  } finally {
    rtnetlink.close();
  }
}

function specOf(address: IpAddress) {
  return {
    destination: hostPrefix(address),
    table: routeTable.LOCAL,
    type: 'local' as const,
    protocol: ourProtocol,
  };
}
