import {
  compareIpAddress,
  formatIpAddress,
  type IpAddress,
  type IpFamily,
  ipAddress,
} from '@l4d/kit/ip-address.ts';
import { groupPriority, type VrrpGroup } from './config.ts';
import { virtualLinkLocal } from './virtual-mac.ts';

/** One virtual router of one family: what takes part in an election. */
export interface VirtualRouterPlan {
  /** Names it among those of this host: `GROUP/VRID/FAMILY`. */
  readonly key: string;
  readonly group: VrrpGroup;
  readonly family: IpFamily;
  readonly vrid: number;
  readonly priority: number;
  /** All addresses that it stands for, in order, without doubles; the link-local one of IPv6 first. */
  readonly addresses: readonly IpAddress[];
}

const headerBytes = { 4: 20 + 8, 6: 40 + 8 } as const;

/**
 * The virtual routers of a group: one for each family that it has addresses of, and with `share` for each host. As many
 * addresses as are needed are one failover unit, for there are 255 identifiers on a segment.
 */
export function planGroup(group: VrrpGroup): VirtualRouterPlan[] {
  const unique = new Map(group.addresses.map((text) => [formatIpAddress(ipAddress(text)), ipAddress(text)]));
  const sorted = [...unique.values()].sort(compareIpAddress);
  const vrids = group.share?.vrids ?? [group.vrid];
  return ([4, 6] as const).flatMap((family) => {
    const own = sorted.filter((address) => address.family === family);
    if (own.length === 0) return [];
    return vrids.map((vrid) => ({
      key: `${group.id}/${vrid}/${family}`,
      group,
      family,
      vrid,
      priority: groupPriority(group, vrid),
      addresses: family === 4 ? own : withLinkLocal(own, vrid),
    }));
  });
}

/**
 * The addresses that are named in advertisements: as many as a packet of this MTU and the count of 8 bits can hold. The
 * others move with them, by the configuration that all hosts of the group share.
 */
export function advertisedAddresses(
  { family, addresses }: VirtualRouterPlan,
  mtu: number,
): readonly IpAddress[] {
  const room = Math.floor((mtu - headerBytes[family]) / (family === 4 ? 4 : 16));
  return addresses.slice(0, Math.max(1, Math.min(255, room)));
}

/** A link-local address that was declared stands in place of the one that is made of the virtual MAC address. */
function withLinkLocal(addresses: readonly IpAddress[], vrid: number): IpAddress[] {
  const isLinkLocal = ({ bytes }: IpAddress) => bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80;
  const local = addresses.filter(isLinkLocal);
  const rest = addresses.filter((address) => !isLinkLocal(address));
  return [...(local.length === 0 ? [virtualLinkLocal(vrid)] : local), ...rest];
}
