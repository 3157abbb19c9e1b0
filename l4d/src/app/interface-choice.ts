import type { NextHops } from '@l4d/announcer/core/config/peer-input.ts';
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { type NetlinkMessage, viewOf } from '@l4d/kit/netlink/codec.ts';
import { decodeLink } from '@l4d/kit/netlink/codec-link.ts';
import { eventGroup, messageType } from '@l4d/kit/netlink/constants.ts';
import { watchNetlinkEvents } from '@l4d/kit/netlink/events.ts';
import type { RefusedState } from '../core/control-port.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { findHostInterface, type HostInterface } from '../io/host-interface.ts';
import { refuseNatPorts } from './host-nat.ts';

/**
 * Why a running daemon cannot take a state: its interface is chosen at the start, for moving it would
 * leave both without forwarding for a while. Undefined when it can. Interfaces that were declared before are
 * not looked for: when one is gone, or the default route is, backends must still be drained.
 */
export async function refuseOtherInterface(
  before: DesiredState,
  next: DesiredState,
  on: HostInterface,
): Promise<RefusedState | undefined> {
  const refused = (message: string, hint?: string): RefusedState => ({
    kind: 'refused',
    problems: [{ path: 'host.interface', message, ...(hint === undefined ? {} : { hint }) }],
  });
  try {
    for (const name of next.host.interfaces) {
      if (!before.host.interfaces.includes(name)) await findHostInterface(name, 'host.interfaces');
    }
    if (next.host.interface === before.host.interface) return refuseNat(next, on);
    const wanted = await findHostInterface(next.host.interface);
    if (wanted.index === on.index) return refuseNat(next, on);
    return refused(
      `"${wanted.name}" is not the interface that this daemon serves (allowed: ${on.name})`,
      'to move: l4d detach --all, stop the daemon, start it with the new configuration, l4d attach --all',
    );
  } catch (error) {
    if (error instanceof OperatorError) {
      const [field = '', ...rest] = error.message.split(': ');
      return { kind: 'refused', problems: [{ path: field, message: rest.join(': ') }] };
    }
    throw error;
  }
}

/** Those of host.interfaces that are there; the others are told in the log, and looked for when links change. */
export async function findFurther(names: readonly string[], logger: Logger): Promise<HostInterface[]> {
  const found: HostInterface[] = [];
  for (const name of names) {
    try {
      found.push(await findHostInterface(name, 'host.interfaces'));
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      logger.warn({ reason: error.message }, 'an interface is not served');
    }
  }
  return found;
}

function refuseNat(next: DesiredState, on: HostInterface): RefusedState | undefined {
  const problem = refuseNatPorts(next, on);
  if (problem === undefined) return undefined;
  return {
    kind: 'refused',
    problems: [{ path: 'host.nat.ports', message: problem.replace(/^host\.nat\.ports /, '') }],
  };
}

/** Next hops to announce: the declared ones, else the interface's own addresses. */
export function nextHopsOf(state: DesiredState, on: HostInterface): NextHops {
  const { ipv4, ipv6 } = state.host.nextHops;
  return {
    ipv4: ipv4 === undefined ? on.addresses.ipv4 : formatIpAddress(ipv4),
    ipv6: ipv6 === undefined ? on.addresses.ipv6 : formatIpAddress(ipv6),
  };
}

/** How the interface is followed. */
export interface FollowOptions {
  /** The interfaces that are served now. */
  readonly current: () => readonly HostInterface[];
  /** Names of those that should be. */
  readonly names: () => readonly string[];
  /** Looks at the interfaces; not called again before it has ended. A rejection is logged. */
  readonly onChange: () => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Changes come in bursts (an address is replaced by removing one and adding another): one look at the end. */
const settleTime = Milliseconds(200);

/** Calls back when one of the interfaces or its addresses change; returns how to stop. */
export function followInterface({ current, names, onChange, clock, logger }: FollowOptions): () => void {
  let timer: Timer | undefined;
  let looking = false;
  let again = false;
  let isUsable = true;
  let stopped = false;

  async function look(): Promise<void> {
    timer = undefined;
    looking = true;
    again = false;
    try {
      await onChange();
      isUsable = true;
    } catch (error) {
      isUsable = false;
      logger.error({ err: error }, 'the interface is not usable');
    }
    looking = false;
    if (again && !stopped) schedule();
  }

  function schedule(): void {
    if (looking) again = true;
    else timer ??= clock.after(settleTime, () => void look());
  }

  const unwatch = watchNetlinkEvents({
    groups: [eventGroup.LINK, eventGroup.IPV4_ADDRESS, eventGroup.IPV6_ADDRESS],
    onMessage(message) {
      // One that is gone may come back under any number.
      const concerned = [...current(), ...names().map((name) => ({ name, index: 0 }))];
      if (!isUsable || concerned.some((on) => concernsInterface(message, on))) schedule();
    },
    onLost: schedule,
  });
  return () => {
    unwatch();
    timer?.cancel();
    // A look that is under way is the last one.
    stopped = true;
  };
}

/** Whether an event of a link or an address is about that interface, or about one that takes its name. */
export function concernsInterface(
  message: NetlinkMessage,
  on: Pick<HostInterface, 'index' | 'name'>,
): boolean {
  const { type, payload } = message;
  if (payload.length < indexOffset + 4) return true;
  if (viewOf(payload).getUint32(indexOffset, true) === on.index) return true;
  if (type !== messageType.NEWLINK) return false;
  const link = decodeLink(payload);
  return !link.ok || link.value.name === on.name;
}

/** Of ifi_index in struct ifinfomsg, and of ifa_index in struct ifaddrmsg. */
const indexOffset = 4;
