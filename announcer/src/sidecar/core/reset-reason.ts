import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { SidecarConfig } from './config.ts';

/** Why a change of configuration ends every session, undefined when it does not. `found`: where none is given. */
export function resetReason(
  before: SidecarConfig,
  next: SidecarConfig,
  found: IpAddress | undefined,
): string | undefined {
  const shown = ({ routerId = found }: SidecarConfig) =>
    routerId === undefined ? 'none' : formatIpAddress(routerId);
  const changes = [
    ...(before.as === next.as ? [] : [`as from ${before.as} to ${next.as}`]),
    ...(shown(before) === shown(next) ? [] : [`routerId from ${shown(before)} to ${shown(next)}`]),
  ];
  if (changes.length === 0) return undefined;
  return `${changes.join(' and ')}, which a router learns only when a session opens`;
}
