/**
 * The first step of packets to backends: the interface, and the MAC address of the backend itself or of the router
 * by which a tunnelled one is reached. Puts io/next-hops.ts before io/neighbours.ts.
 */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { forwardModeOf, routedAddress, type Vip } from '../core/desired/vip.ts';
import { type NeighbourWatch, watchNeighbours } from '../io/neighbours.ts';
import { type NextHop, watchNextHops } from '../io/next-hops.ts';

/** Addresses of backends by how they are reached. */
export interface BackendAddresses {
  /** In the segment of an interface. */
  readonly bridged: readonly IpAddress[];
  /** Through a tunnel: the address of its end. */
  readonly routed: readonly IpAddress[];
}

/** Backends of forwarded VIPs by how they are reached, each address once. */
export function backendAddresses(vips: readonly Vip[]): BackendAddresses {
  const bridged = new Map<string, IpAddress>();
  const routed = new Map<string, IpAddress>();
  for (const vip of vips) {
    if (vip.policy !== 'forward') continue;
    for (const backend of vip.backends) {
      const group = forwardModeOf(vip, backend) === 'l2' ? bridged : routed;
      const address = routedAddress(vip, backend);
      group.set(formatIpAddress(address), address);
    }
  }
  return { bridged: [...bridged.values()], routed: [...routed.values()] };
}

/** What is told, and what is asked. */
export interface BackendNeighbourEvents {
  readonly logger: Logger;
  /** Index of the interface in whose segment an address is. */
  readonly segmentOf: (address: IpAddress) => number;
  readonly onMac: (interfaceIndex: number, neighbour: IpAddress, mac: MacAddress | undefined) => void;
  /** The way to a tunnel's end. */
  readonly onHop: (end: IpAddress, hop: NextHop) => void;
  /** After either: the addresses (of backends, or of their tunnels' ends) whose way may have changed, as text. */
  readonly onChange: (addresses: ReadonlySet<string>) => void;
}

/** A running watch. */
export interface BackendNeighbours {
  /** Replaces the backends; those that stay keep what is known. */
  setTargets(addresses: BackendAddresses): void;
  /** The interfaces changed: segments are looked at again. */
  interfacesChanged(): void;
  stop(): void;
}

/** Starts to watch, in the network namespace of the caller. Throws SyscallError. */
export function watchBackendNeighbours(events: BackendNeighbourEvents): BackendNeighbours {
  const { logger } = events;
  let bridged: readonly IpAddress[] = [];
  /** The way to each tunnel's end, by its address. */
  const hops = new Map<string, { readonly neighbour: IpAddress; readonly interfaceIndex: number }>();
  const watches = new Map<number, NeighbourWatch>();

  const nextHops = watchNextHops({
    logger,
    onChange(end, hop) {
      const text = formatIpAddress(end);
      if ('neighbour' in hop) hops.set(text, hop);
      else hops.delete(text);
      watch();
      events.onHop(end, hop);
      events.onChange(new Set([text]));
    },
  });

  function watchOn(interfaceIndex: number): NeighbourWatch {
    return watchNeighbours({
      interfaceIndex,
      logger,
      onChange(address, mac) {
        events.onMac(interfaceIndex, address, mac);
        const text = formatIpAddress(address);
        const behind = [...hops].filter(
          ([, hop]) => hop.interfaceIndex === interfaceIndex && formatIpAddress(hop.neighbour) === text,
        );
        events.onChange(new Set([text, ...behind.map(([end]) => end)]));
      },
    });
  }

  function watch(): void {
    const wanted = new Map<number, Map<string, IpAddress>>();
    const want = (interfaceIndex: number, address: IpAddress) => {
      const group = wanted.get(interfaceIndex) ?? new Map<string, IpAddress>();
      group.set(formatIpAddress(address), address);
      wanted.set(interfaceIndex, group);
    };
    for (const address of bridged) want(events.segmentOf(address), address);
    for (const { neighbour, interfaceIndex } of hops.values()) want(interfaceIndex, neighbour);
    for (const [index, one] of watches) {
      if (wanted.has(index)) continue;
      one.stop();
      watches.delete(index);
    }
    for (const [index, group] of wanted) {
      const one = watches.get(index) ?? watchOn(index);
      watches.set(index, one);
      one.setTargets([...group.values()]);
    }
  }

  return {
    setTargets(addresses) {
      bridged = addresses.bridged;
      const routed = new Set(addresses.routed.map(formatIpAddress));
      for (const end of [...hops.keys()]) if (!routed.has(end)) hops.delete(end);
      nextHops.setTargets(addresses.routed);
      watch();
    },
    interfacesChanged() {
      watch();
      events.onChange(new Set([...bridged.map(formatIpAddress), ...hops.keys()]));
    },
    stop() {
      nextHops.stop();
      for (const one of watches.values()) one.stop();
      watches.clear();
    },
  };
}
