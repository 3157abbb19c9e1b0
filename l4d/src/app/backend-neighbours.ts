/**
 * The MAC addresses that packets to backends need: a backend's own, or that of the router by which a
 * tunnelled one is reached. Puts io/next-hops.ts before io/neighbours.ts.
 */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { forwardModeOf, type Vip } from '../core/desired/vip.ts';
import { watchNeighbours } from '../io/neighbours.ts';
import { type NextHop, watchNextHops } from '../io/next-hops.ts';

/** Backends by how they are reached. */
export interface BackendAddresses {
  /** In the interface's own segment. */
  readonly bridged: readonly IpAddress[];
  /** Through a tunnel. */
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
      group.set(formatIpAddress(backend.address), backend.address);
    }
  }
  return { bridged: [...bridged.values()], routed: [...routed.values()] };
}

/** What is told. */
export interface BackendNeighbourEvents {
  readonly interfaceIndex: number;
  readonly logger: Logger;
  readonly onMac: (neighbour: IpAddress, mac: MacAddress | undefined) => void;
  readonly onHop: (backend: IpAddress, hop: NextHop) => void;
  /** After either: the backends whose way may have changed, as text. */
  readonly onChange: (backends: ReadonlySet<string>) => void;
}

/** A running watch. */
export interface BackendNeighbours {
  /** Replaces the backends; those that stay keep what is known. */
  setTargets(addresses: BackendAddresses): void;
  stop(): void;
}

/** Starts to watch, in the network namespace of the caller. Throws SyscallError. */
export function watchBackendNeighbours(events: BackendNeighbourEvents): BackendNeighbours {
  const { interfaceIndex, logger } = events;
  let bridged: readonly IpAddress[] = [];
  /** The neighbour of each tunnelled backend, by its address. */
  const hops = new Map<string, IpAddress>();

  const neighbours = watchNeighbours({
    interfaceIndex,
    logger,
    onChange(address, mac) {
      events.onMac(address, mac);
      const text = formatIpAddress(address);
      const behind = [...hops].filter(([, hop]) => formatIpAddress(hop) === text);
      events.onChange(new Set([text, ...behind.map(([backend]) => backend)]));
    },
  });
  const nextHops = watchNextHops({
    interfaceIndex,
    logger,
    onChange(backend, hop) {
      const text = formatIpAddress(backend);
      if ('neighbour' in hop) hops.set(text, hop.neighbour);
      else hops.delete(text);
      watch();
      events.onHop(backend, hop);
      events.onChange(new Set([text]));
    },
  });

  function watch(): void {
    const wanted = [...bridged, ...hops.values()];
    neighbours.setTargets([
      ...new Map(wanted.map((address) => [formatIpAddress(address), address])).values(),
    ]);
  }

  return {
    setTargets(addresses) {
      bridged = addresses.bridged;
      const routed = new Set(addresses.routed.map(formatIpAddress));
      for (const backend of [...hops.keys()]) if (!routed.has(backend)) hops.delete(backend);
      nextHops.setTargets(addresses.routed);
      watch();
    },
    stop() {
      nextHops.stop();
      neighbours.stop();
    },
  };
}
