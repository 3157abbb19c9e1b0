import { type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';

/**
 * The address that advertisements come from: the one of before while the interface has it, for another one would be
 * another router; else the first that is no virtual one, which another host may have tomorrow. `own` in the kernel's order.
 */
export function sourceAddress(
  own: readonly IpAddress[],
  virtual: readonly IpAddress[],
  before: IpAddress | undefined,
): IpAddress | undefined {
  const fixed = own.filter((address) => !virtual.some((other) => sameIpAddress(other, address)));
  const kept = fixed.find((address) => before !== undefined && sameIpAddress(address, before));
  return kept ?? fixed[0] ?? own[0];
}
