import { compareIpAddress, formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';

/** A host that may place fragments, as the data plane holds it. */
export interface FragmentHost {
  readonly mac: MacAddress;
  readonly isSelf: boolean;
}

/** MAX_FRAGMENT_HOSTS of bpf/include/l4d.h. */
export const maxFragmentHosts = 32;

/** This host, as its interface says. */
export interface OwnHost {
  readonly mac: MacAddress;
  /** Addresses of the interface, as text. */
  readonly addresses: ReadonlySet<string>;
}

/**
 * The hosts that fragments are spread over, in the order of their addresses, which is the same on all of them. One
 * whose MAC address is not known is left out: it is dead to the others too. Empty when this host is not in the
 * list, or alone: then it keeps what it gets.
 */
export function fragmentHosts(
  declared: readonly IpAddress[],
  own: OwnHost,
  macOf: (address: IpAddress) => MacAddress | undefined,
): FragmentHost[] {
  const hosts = [...declared].sort(compareIpAddress).flatMap((address): FragmentHost[] => {
    const isSelf = own.addresses.has(formatIpAddress(address));
    const mac = isSelf ? own.mac : macOf(address);
    return mac === undefined ? [] : [{ mac, isSelf }];
  });
  return hosts.length > 1 && hosts.some(({ isSelf }) => isSelf) ? hosts : [];
}
