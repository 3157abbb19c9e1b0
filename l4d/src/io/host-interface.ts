import type { NextHops } from '@l4d/announcer/core/config/peer-input.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix, maskAddress } from '@l4d/kit/ip-prefix.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import type { InterfaceAddress } from '@l4d/kit/netlink/codec-address.ts';
import type { Link } from '@l4d/kit/netlink/codec-link.ts';
import type { Route } from '@l4d/kit/netlink/codec-route.ts';
import { openRtnetlink, type Rtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** An Ethernet interface: where VIP traffic arrives, or backends are reached. */
export interface HostInterface {
  readonly name: string;
  readonly index: number;
  readonly mac: MacAddress;
  /** The administrator has it up. */
  readonly up: boolean;
  /** Driver kind such as `veth`, `bond`; undefined for hardware. */
  readonly kind: string | undefined;
  /** Bytes of IP that a frame may carry. */
  readonly mtu: number;
  /** Its first global addresses. */
  readonly addresses: NextHops;
  /** All its global addresses, as text. */
  readonly ownAddresses: ReadonlySet<string>;
  /** Of its global addresses, each once. */
  readonly subnets: readonly IpPrefix[];
}

/** What is made of several interfaces, and takes their frames before any program on one of them should. */
const aggregateKinds: readonly string[] = ['bond', 'team'];

/** The interfaces that a route leads over, each once: several where it has several next hops (ECMP). */
export function interfacesOf({
  interfaceIndex,
  pathInterfaces,
}: Pick<Route, 'interfaceIndex' | 'pathInterfaces'>): number[] {
  return interfaceIndex === undefined ? [...new Set(pathInterfaces)] : [interfaceIndex];
}

/**
 * Finds the interface of that name, or for `auto` that of the default route. Throws OperatorError
 * that names the field and those that exist, or the bond that it is a part of.
 */
export async function findHostInterface(name: string, field = 'host.interface'): Promise<HostInterface> {
  const rtnetlink = openRtnetlink();
  try {
    const links = await rtnetlink.links();
    const wanted = name === 'auto' ? await defaultRouteInterface(links) : undefined;
    const link = links.find((candidate) =>
      name === 'auto' ? candidate.index === wanted : candidate.name === name,
    );
    if (link === undefined) {
      const known = links.map((candidate) => candidate.name).join(', ');
      const what =
        name === 'auto'
          ? 'there is no default route to find the interface by'
          : `there is no interface "${name}"`;
      throw new OperatorError(`${field}: ${what} (this host has: ${known})`, exitCode.system);
    }
    // The loopback has one of zeros.
    if (link.mac === undefined || link.mac.length !== 6 || link.mac.every((byte) => byte === 0)) {
      throw new OperatorError(`${field}: ${link.name} has no Ethernet address`, exitCode.system);
    }
    const master = aggregateOf(link, links);
    if (master !== undefined) {
      throw new OperatorError(
        `${field}: ${link.name} is a part of ${master.name} (${master.kind}), whose frames come by its other parts too: ` +
          `name ${master.name}`,
        exitCode.system,
      );
    }
    return hostInterface(link, link.mac, await rtnetlink.addresses(link.index));
  } finally {
    rtnetlink.close();
  }

  async function defaultRouteInterface(links: readonly Link[]): Promise<number | undefined> {
    for (const family of [4, 6] as const) {
      const routes = await rtnetlink.routes(family, 254);
      const ways = routes.filter(({ destination }) => destination.length === 0).map(interfacesOf);
      const way = ways.find((interfaces) => interfaces.length > 0);
      if (way === undefined) continue;
      const [first, ...others] = way;
      if (others.length === 0) return first;
      const names = way.map((index) => links.find((link) => link.index === index)?.name ?? String(index));
      throw new OperatorError(
        `${field}: the default route leads over several interfaces (${names.join(', ')}): name one`,
        exitCode.system,
      );
    }
    return undefined;
  }
}

/** The bond that an interface is a part of; undefined for others. */
export function aggregateOf(
  { master }: Pick<Link, 'master'>,
  links: readonly Pick<Link, 'index' | 'name' | 'kind'>[],
): Pick<Link, 'name' | 'kind'> | undefined {
  const found = links.find(({ index }) => index === master);
  return found?.kind !== undefined && aggregateKinds.includes(found.kind) ? found : undefined;
}

/** All Ethernet interfaces but those that are parts of a bond. Throws SyscallError. */
export async function ethernetInterfaces(rtnetlink: Rtnetlink): Promise<HostInterface[]> {
  const links = await rtnetlink.links();
  const addresses = await rtnetlink.addresses();
  return links.flatMap((link) => {
    const { mac, index } = link;
    if (mac === undefined || mac.every((byte) => byte === 0)) return [];
    if (aggregateOf(link, links) !== undefined) return [];
    return [
      hostInterface(
        link,
        mac,
        addresses.filter(({ interfaceIndex }) => interfaceIndex === index),
      ),
    ];
  });
}

function hostInterface(link: Link, mac: MacAddress, all: readonly InterfaceAddress[]): HostInterface {
  const addresses = all.filter((address) => address.scope === 'global');
  const first = (family: 4 | 6) => {
    const found = addresses.find((address) => address.address.family === family);
    return found === undefined ? undefined : formatIpAddress(found.address);
  };
  const { name, index, mtu, up, kind } = link;
  return {
    ...{ name, index, mac, mtu, up, kind },
    addresses: { ipv4: first(4), ipv6: first(6) },
    ownAddresses: new Set(addresses.map(({ address }) => formatIpAddress(address))),
    subnets: subnetsOf(addresses),
  };
}

function subnetsOf(addresses: readonly InterfaceAddress[]): IpPrefix[] {
  const subnets = addresses.map(({ address, prefixLength }) => ({
    address: maskAddress(address, prefixLength),
    length: prefixLength,
  }));
  return [...new Map(subnets.map((subnet) => [formatIpPrefix(subnet), subnet])).values()];
}
