/**
 * The first step of packets to backends: the interface, and the MAC address of the backend itself or of the router
 * by which a tunnelled one is reached. Puts io/next-hops.ts before io/neighbours.ts.
 */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { forwardModeOf, isDirect, routedAddress, type Vip } from '../core/desired/vip.ts';
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
    for (const backend of vip.backends) {
      if (!isDirect(vip, backend)) continue;
      const group = forwardModeOf(vip, backend) === 'l2' ? bridged : routed;
      const address = routedAddress(vip, backend);
      group.set(formatIpAddress(address), address);
    }
  }
  return { bridged: [...bridged.values()], routed: [...routed.values()] };
}

/** Backends that are not used any more, and those that are from now on. */
export interface BackendAddressChange {
  readonly gone: BackendAddresses;
  readonly come: BackendAddresses;
}

/** Counts who uses which address: a change of VIPs costs what is in them. */
export function createBackendUses(): {
  change(removed: readonly Vip[], added: readonly Vip[]): BackendAddressChange;
} {
  const uses = { bridged: new Map<string, number>(), routed: new Map<string, number>() };
  return {
    change(removed, added) {
      const before = { bridged: new Map<string, IpAddress>(), routed: new Map<string, IpAddress>() };
      const after = { bridged: new Map<string, IpAddress>(), routed: new Map<string, IpAddress>() };
      const count = (vips: readonly Vip[], one: 1 | -1) => {
        for (const vip of vips) {
          for (const backend of vip.backends) {
            if (!isDirect(vip, backend)) continue;
            const kind = forwardModeOf(vip, backend) === 'l2' ? 'bridged' : 'routed';
            const address = routedAddress(vip, backend);
            const text = formatIpAddress(address);
            const known = uses[kind].get(text) ?? 0;
            if (known === 0 && one === 1) after[kind].set(text, address);
            if (known + one > 0) uses[kind].set(text, known + one);
            else {
              uses[kind].delete(text);
              before[kind].set(text, address);
            }
          }
        }
      };
      count(removed, -1);
      count(added, 1);
      // Let go and taken again by the same change: nothing has happened.
      const only = (one: ReadonlyMap<string, IpAddress>, other: ReadonlyMap<string, IpAddress>) =>
        [...one].flatMap(([text, address]) => (other.has(text) ? [] : [address]));
      return {
        gone: {
          bridged: only(before.bridged, after.bridged),
          routed: only(before.routed, after.routed),
        },
        come: {
          bridged: only(after.bridged, before.bridged),
          routed: only(after.routed, before.routed),
        },
      };
    },
  };
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
  /** Those that stay keep what is known. */
  change(change: BackendAddressChange): void;
  /** Resolves when what the kernel knew of neighbours when they were first asked for is reported. */
  ready(): Promise<void>;
  /** The interfaces changed: segments are looked at again. */
  interfacesChanged(): void;
  stop(): void;
}

/** A neighbour of one interface. */
interface Place {
  readonly neighbour: IpAddress;
  readonly interfaceIndex: number;
}

/** Starts to watch, in the network namespace of the caller. Throws SyscallError. */
export function watchBackendNeighbours(events: BackendNeighbourEvents): BackendNeighbours {
  const { logger } = events;
  /** Where each backend in a segment is looked for, by its address. */
  const bridged = new Map<string, Place>();
  /** The way to each tunnel's end, by its address. */
  const hops = new Map<string, Place>();
  /** Who needs a neighbour, as text, by the interface and its address. */
  const users = new Map<number, Map<string, Set<string>>>();
  const watches = new Map<number, NeighbourWatch>();

  const nextHops = watchNextHops({
    logger,
    onChange(end, hop) {
      const text = formatIpAddress(end);
      const old = hops.get(text);
      if ('neighbour' in hop) hops.set(text, hop);
      else hops.delete(text);
      move([{ user: text, from: old, to: hops.get(text) }]);
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
        events.onChange(new Set([text, ...(users.get(interfaceIndex)?.get(text) ?? [])]));
      },
    });
  }

  /** Has whoever is named need other neighbours, and watches those that are needed. */
  function move(moves: readonly { user: string; from: Place | undefined; to: Place | undefined }[]): void {
    const gone = new Map<number, IpAddress[]>();
    const come = new Map<number, IpAddress[]>();
    const note = (group: Map<number, IpAddress[]>, { interfaceIndex, neighbour }: Place) => {
      const list = group.get(interfaceIndex);
      if (list === undefined) group.set(interfaceIndex, [neighbour]);
      else list.push(neighbour);
    };
    for (const { user, to } of moves) if (to !== undefined && use(user, to)) note(come, to);
    for (const { user, from, to } of moves) {
      if (from !== undefined && !samePlace(from, to) && letGo(user, from)) note(gone, from);
    }
    for (const index of new Set([...gone.keys(), ...come.keys()])) {
      if (users.has(index)) {
        const watch = watches.get(index) ?? watchOn(index);
        watches.set(index, watch);
        watch.change(gone.get(index) ?? [], come.get(index) ?? []);
      } else {
        watches.get(index)?.stop();
        watches.delete(index);
      }
    }
  }

  /** Whether nobody has needed that neighbour until now. */
  function use(user: string, { neighbour, interfaceIndex }: Place): boolean {
    const ofInterface = users.get(interfaceIndex) ?? new Map<string, Set<string>>();
    users.set(interfaceIndex, ofInterface);
    const text = formatIpAddress(neighbour);
    const known = ofInterface.get(text);
    if (known !== undefined) {
      known.add(user);
      return false;
    }
    ofInterface.set(text, new Set([user]));
    return true;
  }

  /** Whether nobody needs that neighbour any more. */
  function letGo(user: string, { neighbour, interfaceIndex }: Place): boolean {
    const ofInterface = users.get(interfaceIndex);
    const text = formatIpAddress(neighbour);
    const known = ofInterface?.get(text);
    if (known?.delete(user) !== true || known.size > 0) return false;
    ofInterface?.delete(text);
    if (ofInterface?.size === 0) users.delete(interfaceIndex);
    return true;
  }

  return {
    change({ gone, come }) {
      const moves = gone.bridged.map((address) => {
        const text = formatIpAddress(address);
        const from = bridged.get(text);
        bridged.delete(text);
        return { user: `${text} itself`, from, to: undefined as Place | undefined };
      });
      for (const address of come.bridged) {
        const text = formatIpAddress(address);
        const to = { neighbour: address, interfaceIndex: events.segmentOf(address) };
        bridged.set(text, to);
        moves.push({ user: `${text} itself`, from: undefined, to });
      }
      for (const address of gone.routed) {
        const text = formatIpAddress(address);
        moves.push({ user: text, from: hops.get(text), to: undefined });
        hops.delete(text);
      }
      move(moves);
      nextHops.change(gone.routed, come.routed);
    },
    async ready() {
      await Promise.all([...watches.values()].map((watch) => watch.ready()));
    },
    interfacesChanged() {
      const moves = [...bridged].map(([text, from]) => {
        const to = { neighbour: from.neighbour, interfaceIndex: events.segmentOf(from.neighbour) };
        bridged.set(text, to);
        return { user: `${text} itself`, from, to };
      });
      move(moves);
      events.onChange(new Set([...bridged.keys(), ...hops.keys()]));
    },
    stop() {
      nextHops.stop();
      for (const one of watches.values()) one.stop();
      watches.clear();
    },
  };
}

function samePlace(one: Place, other: Place | undefined): boolean {
  return (
    other !== undefined &&
    one.interfaceIndex === other.interfaceIndex &&
    formatIpAddress(one.neighbour) === formatIpAddress(other.neighbour)
  );
}
