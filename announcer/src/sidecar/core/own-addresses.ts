/** Which of this host's addresses speak for it: never a VIP, which is the same on every host that announces it. */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { maskAddress, prefixContains } from '@l4d/kit/ip-prefix.ts';
import type { NextHops } from '../../core/config/peer-input.ts';
import { isLinkLocal } from '../../core/peer-address.ts';

/** An interface that is not loopback, up or not yet: at boot a link comes up after its addresses are set. */
export interface InterfaceView {
  readonly name: string;
  readonly addresses: readonly { readonly address: IpAddress; readonly prefixLength: number }[];
}

/** What of the configuration it depends on. */
export interface AddressWishes {
  readonly peers: readonly {
    readonly address?: IpAddress | undefined;
    readonly interface?: string | undefined;
  }[];
  readonly services: readonly { readonly vips: readonly IpAddress[] }[];
}

interface Candidate {
  readonly address: IpAddress;
  readonly isNear: boolean;
}

/** The host's first IPv4 address, of interfaces on the way to a neighbour before others; undefined when it has none. */
export function routerIdOf(
  interfaces: readonly InterfaceView[],
  wishes: AddressWishes,
): IpAddress | undefined {
  return candidatesOf(interfaces, wishes).find(({ family }) => family === 4);
}

/**
 * Where routers are to send what the session's own address cannot say: IPv6 VIPs told over IPv4, and the reverse. Of
 * the interface on whose subnet a neighbour is, else of the first that has one; link-local addresses do not count.
 */
export function nextHopsOf(interfaces: readonly InterfaceView[], wishes: AddressWishes): NextHops {
  const candidates = candidatesOf(interfaces, wishes);
  const first = (family: 4 | 6) => {
    const found = candidates.find((address) => address.family === family);
    return found === undefined ? undefined : formatIpAddress(found);
  };
  return { ipv4: first(4), ipv6: first(6) };
}

function candidatesOf(interfaces: readonly InterfaceView[], { peers, services }: AddressWishes): IpAddress[] {
  const vips = new Set(services.flatMap((service) => service.vips).map(formatIpAddress));
  const groups = interfaces.map(({ name, addresses }) => {
    const own = addresses.filter(
      ({ address }) => !isLinkLocal(address) && !vips.has(formatIpAddress(address)),
    );
    const isNear = peers.some(
      (peer) =>
        peer.interface === name ||
        own.some(({ address, prefixLength }) => {
          const subnet = { address: maskAddress(address, prefixLength), length: prefixLength };
          return peer.address !== undefined && prefixContains(subnet, peer.address);
        }),
    );
    return own.map(({ address }): Candidate => ({ address, isNear }));
  });
  return groups
    .flat()
    .toSorted((one, other) => Number(other.isNear) - Number(one.isNear))
    .map(({ address }) => address);
}
