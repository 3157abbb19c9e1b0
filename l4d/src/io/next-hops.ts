/**
 * Follows by which next hop, and which interface, the kernel would reach a set of addresses: for backends
 * behind routers. Asked of the kernel one by one (RTM_GETROUTE), again whenever routes or rules
 * change, and twice a minute.
 */
import { type Clock, systemClock, type Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { eventGroup, routeType } from '@l4d/kit/netlink/constants.ts';
import { watchNetlinkEvents } from '@l4d/kit/netlink/events.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** The way to an address: its neighbour on an interface, or why there is none. */
export type NextHop =
  | { readonly neighbour: IpAddress; readonly interfaceIndex: number }
  | { readonly problem: string };

/** Options of watchNextHops. */
export interface NextHopWatchOptions {
  readonly logger: Logger;
  /** The way to a target became known or changed. Never called from `change` itself. */
  readonly onChange: (target: IpAddress, hop: NextHop) => void;
  readonly clock?: Clock;
}

/** A running watch. */
export interface NextHopWatch {
  /** Takes addresses out of the set and into it; those that are in it keep what is known. */
  change(gone: readonly IpAddress[], come: readonly IpAddress[]): void;
  stop(): void;
}

/** Routes change in bursts: one look after so long. */
const settleTime = Milliseconds(200);
const lookEvery = Seconds(30);
/** While routes change without end, looks take no larger share of the time than one in so many. */
const restFactor = 9;

/** Starts to watch, in the network namespace of the caller. Throws SyscallError. */
export function watchNextHops(options: NextHopWatchOptions): NextHopWatch {
  const { logger } = options;
  const clock = options.clock ?? systemClock;
  const rtnetlink = openRtnetlink();
  const targets = new Map<string, { readonly address: IpAddress; hop: NextHop | undefined }>();
  let timer: Timer | undefined;
  let dueAt = Number.POSITIVE_INFINITY;
  let looking = false;
  let again = false;
  let stopped = false;
  /** How long the last look took, in milliseconds. */
  let tookMs = 0;

  async function find(address: IpAddress): Promise<NextHop> {
    try {
      const route = await rtnetlink.routeTo(address);
      if (route === undefined || route.type !== routeType.unicast) return { problem: 'no route leads to it' };
      const { interfaceIndex } = route;
      if (interfaceIndex === undefined) return { problem: 'the route to it leads over no interface' };
      return { neighbour: route.gateway ?? address, interfaceIndex };
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      return { problem: `no route leads to it (${error.code})` };
    }
  }

  async function look(): Promise<void> {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    const begun = clock.now();
    try {
      do {
        again = false;
        await lookOnce();
      } while (again && !stopped);
    } finally {
      looking = false;
      tookMs = clock.now() - begun;
      schedule(lookEvery);
    }
  }

  async function lookOnce(): Promise<void> {
    for (const [key, { address }] of [...targets]) {
      const hop = await find(address);
      if (stopped) return;
      const target = targets.get(key);
      if (target === undefined || sameHop(target.hop, hop)) continue;
      target.hop = hop;
      const how = 'problem' in hop ? hop : { ...hop, neighbour: formatIpAddress(hop.neighbour) };
      logger.info({ address: key, ...how }, 'next hop changed');
      options.onChange(address, hop);
    }
  }

  function schedule(delay: number): void {
    if (stopped || clock.now() + delay >= dueAt) return;
    timer?.cancel();
    dueAt = clock.now() + delay;
    timer = clock.after(Milliseconds(delay), () => {
      dueAt = Number.POSITIVE_INFINITY;
      look().catch((error) => logger.error({ err: error }, 'next hops could not be looked up'));
    });
  }

  const onEvent = () => {
    if (targets.size > 0) schedule(Math.max(settleTime, restFactor * tookMs));
  };
  const { IPV4_ROUTE, IPV6_ROUTE, IPV4_RULE, IPV6_RULE } = eventGroup;
  const stopEvents = watchNetlinkEvents({
    groups: [IPV4_ROUTE, IPV6_ROUTE, IPV4_RULE, IPV6_RULE],
    onMessage: onEvent,
    onLost: onEvent,
  });

  return {
    change(gone, come) {
      for (const address of gone) targets.delete(formatIpAddress(address));
      for (const address of come) {
        const key = formatIpAddress(address);
        if (targets.has(key)) continue;
        targets.set(key, { address, hop: undefined });
        schedule(0);
      }
    },
    stop() {
      if (stopped) return;
      stopped = true;
      timer?.cancel();
      stopEvents();
      rtnetlink.close();
    },
  };
}

function sameHop(one: NextHop | undefined, other: NextHop): boolean {
  if (one === undefined) return false;
  if ('problem' in one || 'problem' in other) {
    return 'problem' in one && 'problem' in other && one.problem === other.problem;
  }
  return one.interfaceIndex === other.interfaceIndex && sameIpAddress(one.neighbour, other.neighbour);
}
