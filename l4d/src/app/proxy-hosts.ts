/**
 * Keeps the data plane's table of the hosts that share the proxy's connections in line with who lives.
 *
 * Hosts on the interface's link are reached by MAC address and asked by ARP or neighbour discovery; those behind a router
 * through tunnels (proxy-far-hosts.ts). Which one is which, the kernel's routes say.
 */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import {
  type DeclaredProxyHost,
  type ProxyHost,
  proxySlots,
  proxyTable,
  proxyTunnelOverhead,
} from '../core/forwarding/proxy-hosts.ts';
import type { NeighbourTiming } from '../core/neighbours.ts';
import type { ProxyHostView } from '../core/status.ts';
import type { ForwardingMaps } from '../io/forwarding/forwarding-maps.ts';
import type { HostInterface } from '../io/host-interface.ts';
import { type NeighbourWatch, watchNeighbours } from '../io/neighbours.ts';
import { type NextHop, type NextHopWatch, watchNextHops } from '../io/next-hops.ts';
import { type FarWay, followFarHosts, type ProxyFarMaps } from './proxy-far-hosts.ts';

/** What is needed. */
export interface ProxyHostsParts {
  readonly maps: Pick<ForwardingMaps, 'writeProxyMarks' | 'writeProxySlots'> & ProxyFarMaps;
  readonly clock: Clock;
  readonly logger: Logger;
  /** `segmentLimit` has another answer. */
  readonly onSegments?: () => void;
}

/** What is declared of them. */
export interface DeclaredHosts {
  readonly hosts: readonly DeclaredProxyHost[];
  /** UDP port of tunnels between them. */
  readonly port: number;
  /** Bytes that the ways of tunnels carry; undefined: what the interface does. */
  readonly mtu: number | undefined;
}

/** The largest TCP segments that a client may send. */
export interface SegmentLimit {
  readonly ipv4: number;
  readonly ipv6: number;
}

/** The running watch over the hosts that share connections. */
export interface ProxyHosts {
  /** Takes what is declared and the interface that it is about. Throws SyscallError. */
  follow(declared: DeclaredHosts, on: HostInterface): void;
  /** What is known of each; undefined without any. */
  view(): ProxyHostView[] | undefined;
  /** What fits through the tunnels; undefined: there are none. */
  segmentLimit(): SegmentLimit | undefined;
  /** What is not as declared, in words. */
  warnings(): string[];
  stop(): void;
}

/** A host is asked so often whether it lives; the kernel then asks up to three times, a second apart. */
const confirmEvery = Seconds(1);
/** A host whose entry the kernel has given up is dead: there is no other check of it. */
const timing: NeighbourTiming = {
  probeDelay: Milliseconds(200),
  maxProbeDelay: Seconds(1),
  keepFor: Milliseconds(0),
};
/**
 * Of a host that is new in the list, or after a start, nothing is known yet: the table of before, which is in the kernel,
 * holds until all have answered, or for so long.
 */
const settleAtMost = Seconds(3);
/** Headers of IP and TCP without options. */
const tcpHeaders = { ipv4: 40, ipv6: 60 } as const;
const nothing: DeclaredHosts = { hosts: [], port: 0, mtu: undefined };

/** Starts without hosts; what the kernel holds of before stays until the first `follow`. */
export function followProxyHosts({ maps, clock, logger, onSegments }: ProxyHostsParts): ProxyHosts {
  /** Of neighbours that answer: hosts, and next hops to others. */
  const macs = new Map<string, MacAddress>();
  /** As last known, also of those that do not: what they still send is marked. */
  const lastMacs = new Map<string, MacAddress>();
  /** The way to each, by its address. */
  const hops = new Map<string, NextHop>();
  let declared = nothing;
  let on: HostInterface | undefined;
  let watch: { readonly index: number; readonly neighbours: NeighbourWatch } | undefined;
  let nextHops: NextHopWatch | undefined;
  let timer: Timer | undefined;
  let settledAt = 0;
  let shares = new Map<string, number>();
  let written = '';
  let segments: SegmentLimit | undefined;

  const far = followFarHosts(maps, clock, logger, () => refresh());
  const isOwn = (address: IpAddress) => on?.ownAddresses.has(formatIpAddress(address)) === true;
  const ownAddress = () => declared.hosts.find(({ address }) => isOwn(address))?.address;

  /** Why a host cannot be reached at all; undefined when it can, or is not known yet. */
  function problemOf(address: IpAddress): string | undefined {
    const hop = hops.get(formatIpAddress(address));
    if (isOwn(address) || hop === undefined) return undefined;
    if ('problem' in hop) return hop.problem;
    if (hop.interfaceIndex !== on?.index)
      return `the way to it leads over another interface than ${on?.name}`;
    const own = ownAddress();
    if (own !== undefined && own.family !== address.family && !sameIpAddress(hop.neighbour, address))
      return `it is in another subnet, and ${formatIpAddress(own)} of this host is of another address family`;
    return undefined;
  }

  /** The way through a tunnel; undefined of a host on the link, or one whose way is not known. */
  function wayOf(address: IpAddress): FarWay | undefined {
    const hop = hops.get(formatIpAddress(address));
    const source = ownAddress();
    if (on === undefined || source === undefined || isOwn(address)) return undefined;
    if (hop === undefined || 'problem' in hop || problemOf(address) !== undefined) return undefined;
    if (sameIpAddress(hop.neighbour, address)) return undefined;
    const mtu = Math.min(on.mtu, declared.mtu ?? on.mtu);
    return { remote: address, source, nextHop: hop.neighbour, port: declared.port, mtu };
  }

  const macOf = (address: IpAddress) => macs.get(formatIpAddress(address));
  /** A host that answers, or (`isMarked`) one that did: what it still sends is marked. */
  function hostOf(address: IpAddress, isMarked = false): ProxyHost | undefined {
    if (isOwn(address)) return on === undefined ? undefined : { mac: on.mac, isSelf: true };
    if (problemOf(address) !== undefined) return undefined;
    if (wayOf(address) !== undefined) return isMarked || far.isLive(address) ? far.host(address) : undefined;
    const mac = (isMarked ? lastMacs : macs).get(formatIpAddress(address));
    return mac === undefined ? undefined : { mac, isSelf: false };
  }

  function refresh(): void {
    if (on === undefined) return;
    const { hosts: all } = declared;
    const isMember = ownAddress() !== undefined;
    const isSettled = clock.now() >= settledAt;
    const areWaysKnown = all.every(({ address }) => isOwn(address) || hops.has(formatIpAddress(address)));
    if (isMember && !areWaysKnown && !isSettled) return;
    far.follow(
      all.flatMap(({ address }) => wayOf(address) ?? []),
      macOf,
    );
    limitSegments();
    const live = isMember ? all.filter(({ address }) => hostOf(address) !== undefined) : [];
    if (isMember && live.length < all.length && !isSettled) return;
    const hosts = live.flatMap(({ address }) => hostOf(address) ?? []);
    const known = isMember ? all.flatMap(({ address }) => hostOf(address, true) ?? []) : [];
    const content = JSON.stringify([
      live.map(({ address, state }) => [formatIpAddress(address), state]),
      [hosts, known].map((list) => list.map(({ mac, isSelf, isFar }) => [[...mac], isSelf, isFar])),
    ]);
    if (content === written) return;
    const slots = proxyTable(live);
    maps.writeProxyMarks(known);
    maps.writeProxySlots(hosts, slots);
    maps.setFeature('proxy-hosts', hosts.length > 0);
    written = content;
    const wasShared = shares.size > 0;
    shares = new Map(
      live.map(({ address }, index) => [
        formatIpAddress(address),
        slots.filter(({ owner }) => owner === index).length / proxySlots,
      ]),
    );
    const names = live.map(({ address, state }) => `${formatIpAddress(address)} ${state}`);
    if (names.length > 0) logger.info({ hosts: names }, 'connections of l7 VIPs are shared over these hosts');
    else if (wasShared) logger.info('connections of l7 VIPs are no longer shared over several hosts');
  }

  function limitSegments(): void {
    const inner = declared.hosts.flatMap(({ address }) => {
      const mtu = far.mtu(address);
      return mtu === undefined ? [] : [mtu - proxyTunnelOverhead(address.family)];
    });
    const least = Math.min(...inner);
    const next =
      inner.length === 0 ? undefined : { ipv4: least - tcpHeaders.ipv4, ipv6: least - tcpHeaders.ipv6 };
    if (next?.ipv4 === segments?.ipv4) return;
    segments = next;
    onSegments?.();
  }

  /** Hosts on the link, and the next hops to the others. */
  function watchTargets(): void {
    const targets = declared.hosts.flatMap(({ address }) => {
      if (isOwn(address) || problemOf(address) !== undefined) return [];
      const hop = hops.get(formatIpAddress(address));
      return hop !== undefined && 'neighbour' in hop ? [hop.neighbour] : [];
    });
    const unique = new Map(targets.map((address) => [formatIpAddress(address), address]));
    watch?.neighbours.setTargets([...unique.values()]);
    for (const known of [macs, lastMacs]) {
      for (const text of known.keys()) if (!unique.has(text)) known.delete(text);
    }
  }

  function watchOn(interfaceIndex: number): void {
    nextHops ??= watchNextHops({
      logger,
      onChange(target, hop) {
        hops.set(formatIpAddress(target), hop);
        watchTargets();
        refresh();
      },
    });
    if (watch?.index === interfaceIndex) return;
    watch?.neighbours.stop();
    macs.clear();
    const neighbours = watchNeighbours({
      interfaceIndex,
      logger,
      timing,
      onChange(address, mac) {
        const text = formatIpAddress(address);
        if (mac === undefined) macs.delete(text);
        else {
          macs.set(text, mac);
          lastMacs.set(text, mac);
        }
        refresh();
      },
    });
    watch = { index: interfaceIndex, neighbours };
  }

  function tick(): void {
    timer = clock.after(confirmEvery, tick);
    watch?.neighbours.confirm();
    refresh();
  }

  function stop(): void {
    timer?.cancel();
    timer = undefined;
    watch?.neighbours.stop();
    watch = undefined;
    nextHops?.stop();
    nextHops = undefined;
    macs.clear();
    hops.clear();
  }

  function followHops(before: readonly IpAddress[]): void {
    const wanted = declared.hosts.map(({ address }) => address).filter((address) => !isOwn(address));
    const texts = new Set(wanted.map(formatIpAddress));
    const gone = before.filter((address) => !texts.has(formatIpAddress(address)));
    for (const address of gone) hops.delete(formatIpAddress(address));
    nextHops?.change(gone, wanted);
  }

  return {
    follow(wanted, current) {
      const before = new Set(declared.hosts.map(({ address }) => formatIpAddress(address)));
      const old = declared.hosts.map(({ address }) => address);
      const isAnother = current.index !== on?.index;
      declared = wanted;
      on = current;
      if (isAnother || declared.hosts.some(({ address }) => !before.has(formatIpAddress(address))))
        settledAt = clock.now() + settleAtMost;
      if (declared.hosts.length === 0) stop();
      else {
        watchOn(current.index);
        followHops(old);
        watchTargets();
        timer ??= clock.after(confirmEvery, tick);
      }
      refresh();
    },
    view() {
      if (declared.hosts.length === 0) return undefined;
      return declared.hosts.map(({ address, state }) => {
        const mtu = far.mtu(address);
        return {
          address: formatIpAddress(address),
          state,
          isSelf: isOwn(address),
          isLive: hostOf(address) !== undefined,
          share: shares.get(formatIpAddress(address)) ?? 0,
          ...(mtu === undefined ? {} : { tunnelMtu: mtu }),
        };
      });
    },
    segmentLimit: () => segments,
    warnings() {
      if (on === undefined || declared.hosts.length === 0) return [];
      const { name, ownAddresses } = on;
      if (ownAddress() === undefined) {
        return [
          `host.proxy.hosts holds no address of ${name} (${[...ownAddresses].join(', ')}): this host keeps the connections that it gets`,
        ];
      }
      return declared.hosts.flatMap(({ address }) => {
        const text = formatIpAddress(address);
        if (hostOf(address) === undefined) {
          const why =
            problemOf(address) ??
            (far.host(address) === undefined
              ? `it does not answer on ${name}`
              : `it does not answer probes at UDP port ${declared.port}`);
          return [`host.proxy.hosts: ${text}: ${why}; the other hosts take its connections`];
        }
        if (!far.isTooSmall(address)) return [];
        return [
          `host.proxy.hosts: the way to ${text} carries no packets of ${Math.min(on?.mtu ?? 0, declared.mtu ?? Number.POSITIVE_INFINITY)} bytes: ${far.mtu(address)} are used; declare host.tunnel.mtu`,
        ];
      });
    },
    stop() {
      stop();
      far.stop();
    },
  };
}
