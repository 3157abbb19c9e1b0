/** Accept mode (RFC 9568 section 6.1): the kernel of the owner takes what is sent to the addresses. */
import { readFileSync, writeFileSync } from 'node:fs';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { hostPrefix } from '@l4d/kit/ip-prefix.ts';
import { routeTable, routeType } from '@l4d/kit/netlink/constants.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** RTPROT of these routes: the protocol number of VRRP, unassigned in /etc/iproute2/rt_protos. */
const ourProtocol = 112;

/** Local routes of addresses that this host owns; no address is on an interface, so the kernel answers no ARP. */
export interface LocalAddresses {
  /** Exactly these from now on. Settles when the kernel has them; a failure is told by `problem`. */
  set(addresses: readonly IpAddress[]): Promise<void>;
  problem(): string | undefined;
}

/** Starts with what an earlier process has left; the first `set` takes that away. */
export function createLocalAddresses(): LocalAddresses {
  let problem: string | undefined;
  let queue: Promise<void> = Promise.resolve();
  let wanted: readonly IpAddress[] = [];
  let held: string | undefined;

  async function apply(): Promise<void> {
    const key = wanted.map(formatIpAddress).sort().join(' ');
    if (key === held) return;
    try {
      await replaceLocalRoutes(wanted);
      held = key;
      problem = undefined;
    } catch (error) {
      held = undefined;
      problem = `accept: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  return {
    set(addresses) {
      wanted = addresses;
      queue = queue.then(apply);
      return queue;
    },
    problem: () => problem,
  };
}

async function replaceLocalRoutes(addresses: readonly IpAddress[]): Promise<void> {
  const missing = new Map(addresses.map((address) => [formatIpAddress(address), address]));
  const loopback = interfaceIndex('lo');
  const rtnetlink = openRtnetlink();
  const specOf = (address: IpAddress) => ({
    destination: hostPrefix(address),
    table: routeTable.LOCAL,
    type: 'local' as const,
    protocol: ourProtocol,
    interfaceIndex: loopback,
  });
  try {
    for (const family of [4, 6] as const) {
      for (const route of await rtnetlink.routes(family, routeTable.LOCAL)) {
        if (route.protocol !== ourProtocol || route.type !== routeType.local) continue;
        const { address } = route.destination;
        if (!missing.delete(formatIpAddress(address))) await rtnetlink.deleteRoute(specOf(address));
      }
    }
    for (const address of missing.values()) await rtnetlink.replaceRoute(specOf(address));
  } finally {
    rtnetlink.close();
  }
}

/**
 * Keeps the kernel from answering ARP for addresses that are not on the interface (arp_ignore), and from asking with
 * them as the sender (arp_announce), which would tell clients the interface's own MAC address. What is stricter already
 * stays. Why it cannot be done; undefined when it is.
 */
export function quietKernelArp(interfaceName: string): string | undefined {
  try {
    for (const [name, least] of [
      ['arp_ignore', 1],
      ['arp_announce', 2],
    ] as const) {
      const path = `/proc/sys/net/ipv4/conf/${interfaceName}/${name}`;
      if (Number(readFileSync(path, 'utf8')) < least) writeFileSync(path, String(least));
    }
    return undefined;
  } catch (error) {
    return `arp_ignore of ${interfaceName} cannot be set: ${error instanceof Error ? error.message : String(error)}`;
  }
}
