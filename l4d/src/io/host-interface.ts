import type { NextHops } from '@l4d/announcer/core/config/peer-input.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix, maskAddress } from '@l4d/kit/ip-prefix.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import type { InterfaceAddress } from '@l4d/kit/netlink/codec-address.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** The interface where VIP traffic arrives. */
export interface HostInterface {
  readonly name: string;
  readonly index: number;
  readonly mac: MacAddress;
  /** Bytes of IP that a frame may carry. */
  readonly mtu: number;
  /** Its first global addresses. */
  readonly addresses: NextHops;
  /** Of its global addresses, each once. */
  readonly subnets: readonly IpPrefix[];
}

/**
 * Finds the interface of that name, or for `auto` that of the default route. Throws OperatorError
 * that names those that exist.
 */
export async function findHostInterface(name: string): Promise<HostInterface> {
  const rtnetlink = openRtnetlink();
  try {
    const links = await rtnetlink.links();
    const wanted = name === 'auto' ? await defaultRouteInterface() : undefined;
    const link = links.find((candidate) =>
      name === 'auto' ? candidate.index === wanted : candidate.name === name,
    );
    if (link === undefined) {
      const known = links.map((candidate) => candidate.name).join(', ');
      const what =
        name === 'auto'
          ? 'there is no default route to find the interface by'
          : `there is no interface "${name}"`;
      throw new OperatorError(`host.interface: ${what} (this host has: ${known})`, exitCode.system);
    }
    // The loopback has one of zeros.
    if (link.mac === undefined || link.mac.length !== 6 || link.mac.every((byte) => byte === 0)) {
      throw new OperatorError(`host.interface: ${link.name} has no Ethernet address`, exitCode.system);
    }
    const addresses = (await rtnetlink.addresses(link.index)).filter((address) => address.scope === 'global');
    const first = (family: 4 | 6) => {
      const found = addresses.find((address) => address.address.family === family);
      return found === undefined ? undefined : formatIpAddress(found.address);
    };
    return {
      name: link.name,
      index: link.index,
      mac: link.mac,
      mtu: link.mtu,
      addresses: { ipv4: first(4), ipv6: first(6) },
      subnets: subnetsOf(addresses),
    };
  } finally {
    rtnetlink.close();
  }

  async function defaultRouteInterface(): Promise<number | undefined> {
    for (const family of [4, 6] as const) {
      const routes = await rtnetlink.routes(family, 254);
      const route = routes.find(
        (candidate) => candidate.destination.length === 0 && candidate.interfaceIndex !== undefined,
      );
      if (route !== undefined) return route.interfaceIndex;
    }
    return undefined;
  }
}

function subnetsOf(addresses: readonly InterfaceAddress[]): IpPrefix[] {
  const subnets = addresses.map(({ address, prefixLength }) => ({
    address: maskAddress(address, prefixLength),
    length: prefixLength,
  }));
  return [...new Map(subnets.map((subnet) => [formatIpPrefix(subnet), subnet])).values()];
}
