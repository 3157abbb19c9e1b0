import { OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { eventGroup } from '@l4d/kit/netlink/constants.ts';
import { watchNetlinkEvents } from '@l4d/kit/netlink/events.ts';
import type { NextHops } from '../core/announcement.ts';
import type { RefusedState } from '../core/control-port.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { findHostInterface, type HostInterface } from '../io/host-interface.ts';

/**
 * Why a running daemon cannot take a state: its interface is chosen at the start, for moving it would
 * leave both without forwarding for a while. Undefined when it can.
 */
export async function refuseOtherInterface(
  next: DesiredState,
  on: HostInterface,
): Promise<RefusedState | undefined> {
  const refused = (message: string, hint?: string): RefusedState => ({
    kind: 'refused',
    problems: [{ path: 'host.interface', message, ...(hint === undefined ? {} : { hint }) }],
  });
  try {
    const wanted = await findHostInterface(next.host.interface);
    if (wanted.index === on.index) return undefined;
    return refused(
      `"${wanted.name}" is not the interface that this daemon serves (allowed: ${on.name})`,
      'to move: l4d detach --all, stop the daemon, start it with the new configuration, l4d attach --all',
    );
  } catch (error) {
    if (error instanceof OperatorError) return refused(error.message.replace(/^host\.interface: /, ''));
    throw error;
  }
}

/** Next hops to announce: the declared ones, else the interface's own addresses. */
export function nextHopsOf(state: DesiredState, on: HostInterface): NextHops {
  const { ipv4, ipv6 } = state.host.nextHops;
  return {
    ipv4: ipv4 === undefined ? on.addresses.ipv4 : formatIpAddress(ipv4),
    ipv6: ipv6 === undefined ? on.addresses.ipv6 : formatIpAddress(ipv6),
  };
}

/** Calls back when links or addresses change, one call at a time; returns how to stop. */
export function followInterface(onChange: () => Promise<void>, logger: Logger): () => void {
  let looking = false;
  let again = false;
  const look = async () => {
    again = true;
    if (looking) return;
    looking = true;
    while (again) {
      again = false;
      await onChange().catch((error) => logger.error({ err: error }, 'the interface is not usable'));
    }
    looking = false;
  };
  return watchNetlinkEvents({
    groups: [eventGroup.LINK],
    onMessage: () => void look(),
    onLost: () => void look(),
  });
}
