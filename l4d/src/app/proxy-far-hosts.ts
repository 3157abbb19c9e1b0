/** Keeps the data plane's ways to hosts of other subnets, which share the proxy's connections, as they are. */
import type { Clock } from '@l4d/kit/clock.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import {
  maxProxyHosts,
  type ProxyFar,
  type ProxyHost,
  proxyFarMac,
  proxyTunnelOverhead,
} from '../core/forwarding/proxy-hosts.ts';
import type { ForwardingMaps } from '../io/forwarding/forwarding-maps.ts';
import { probeHosts } from '../io/host-probes.ts';

/** The maps that are written. */
export type ProxyFarMaps = Pick<ForwardingMaps, 'writeProxyFar' | 'readProxyFarNumbers' | 'setFeature'>;

/** What is declared of a host in another subnet, and how it is reached. */
export interface FarWay {
  readonly remote: IpAddress;
  readonly source: IpAddress;
  readonly nextHop: IpAddress;
  readonly port: number;
  readonly mtu: number;
}

/** The hosts of other subnets. */
export interface ProxyFarHosts {
  /** Takes all of them, and the MAC addresses of next hops that are known. */
  follow(ways: readonly FarWay[], macOf: (nextHop: IpAddress) => MacAddress | undefined): void;
  /** As the table of connections has it; undefined when there is no such host. */
  host(remote: IpAddress): ProxyHost | undefined;
  /** Its program answers, and its next hop is known. */
  isLive(remote: IpAddress): boolean;
  /** Bytes of outer packets that its way carries; undefined when there is no such host. */
  mtu(remote: IpAddress): number | undefined;
  /** Packets as large as declared do not arrive. */
  isTooSmall(remote: IpAddress): boolean;
  stop(): void;
}

/**
 * What a way carries that is found to carry less than declared: a packet of 1280 bytes, which is the least that IPv6 may be
 * told of, within the outer headers.
 */
const leastInner = 1280;

/** Starts without hosts; what the kernel holds of before stays until the first `follow`. */
export function followFarHosts(
  maps: ProxyFarMaps,
  clock: Clock,
  logger: Logger,
  onChange: () => void,
): ProxyFarHosts {
  const probes = probeHosts({ clock, logger, onChange });
  /** As before the start, so that no packet on its way gets another meaning. */
  const numbers = new Map(
    maps.readProxyFarNumbers().map(({ remote, number }) => [formatIpAddress(remote), number]),
  );
  let lastNumber = Math.max(-1, ...numbers.values());
  let hosts = new Map<string, ProxyFar>();

  /** Not one that was let go of lately: the table of connections may name it until it is written again. */
  function numberOf(text: string): number {
    const known = numbers.get(text);
    if (known !== undefined) return known;
    const taken = new Set(numbers.values());
    do lastNumber = (lastNumber + 1) % maxProxyHosts;
    while (taken.has(lastNumber) && taken.size < maxProxyHosts);
    numbers.set(text, lastNumber);
    return lastNumber;
  }

  return {
    follow(ways, macOf) {
      const texts = new Set(ways.map(({ remote }) => formatIpAddress(remote)));
      for (const text of numbers.keys()) if (!texts.has(text)) numbers.delete(text);
      probes.setTargets(ways.map(({ remote, source, port, mtu }) => ({ remote, source, port, mtu })));
      hosts = new Map(
        ways.map(({ remote, source, nextHop, port, mtu }) => {
          const text = formatIpAddress(remote);
          const { fits } = probes.host(remote);
          const least = Math.min(mtu, leastInner + proxyTunnelOverhead(source.family));
          return [
            text,
            {
              ...{ remote, source, port },
              number: numberOf(text),
              mac: macOf(nextHop),
              mtu: fits ? mtu : least,
            },
          ];
        }),
      );
      maps.writeProxyFar([...hosts.values()]);
      maps.setFeature('proxy-far', hosts.size > 0);
    },
    host(remote) {
      const far = hosts.get(formatIpAddress(remote));
      return far === undefined ? undefined : { mac: proxyFarMac(far.number), isSelf: false, isFar: true };
    },
    isLive: (remote) => hosts.get(formatIpAddress(remote))?.mac !== undefined && probes.host(remote).isLive,
    mtu: (remote) => hosts.get(formatIpAddress(remote))?.mtu,
    isTooSmall: (remote) => !probes.host(remote).fits,
    stop: probes.stop,
  };
}
