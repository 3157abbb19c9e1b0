/**
 * Backends that layer 2 forwarding is not for: it sends frames to the backend's own MAC address, which only answers in
 * the segment of an interface of the host. A route may put others there too, so this is told and not refused.
 */
import { isLinkLocal } from '@l4d/announcer/core/peer-address.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import { forwardModeOf, isDirect, type Vip } from './desired/vip.ts';

/** Names told of a long list. */
const maxNames = 5;

/**
 * What is to be said of a backend with `forward: l2`, from the word "outside" on; undefined when it is in one of the
 * interfaces' subnets, or when those of its family are not known (interfaces with host addresses alone).
 */
export function outsideSubnet(subnets: readonly IpPrefix[], address: IpAddress): string | undefined {
  const { family, bytes } = address;
  const known = subnets.filter(
    (subnet) => subnet.address.family === family && subnet.length < bytes.length * 8,
  );
  if (known.length === 0 || isLinkLocal(address)) return undefined;
  if (known.some((subnet) => prefixContains(subnet, address))) return undefined;
  const names = known.slice(0, maxNames).map(formatIpPrefix);
  const more = known.length > maxNames ? ', …' : '';
  return (
    `outside the subnets of this host's interfaces (${names.join(', ')}${more}): ` +
    'forward: l2 needs it in one of them, forward: ipip, gue or vxlan reaches it'
  );
}

/** One warning for each VIP that has such backends. */
export function subnetWarnings(vips: readonly Vip[], subnets: readonly IpPrefix[]): string[] {
  return vips.flatMap((vip) => {
    const outside = vip.backends.flatMap((backend) => {
      const isNeighbour = isDirect(vip, backend) && forwardModeOf(vip, backend) === 'l2';
      const why = isNeighbour ? outsideSubnet(subnets, backend.address) : undefined;
      return why === undefined ? [] : [{ address: formatIpAddress(backend.address), why }];
    });
    const [first] = outside;
    if (first === undefined) return [];
    const names = outside.slice(0, maxNames).map(({ address }) => address);
    const more = outside.length > maxNames ? `, and ${outside.length - maxNames} more` : '';
    return [`VIP "${vip.name}": backend ${names.join(', ')}${more} is ${first.why}`];
  });
}
