/** Keeps the data plane's table of the hosts that share the proxy's connections in line with who lives. */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import {
  type DeclaredProxyHost,
  type ProxyHost,
  proxySlots,
  proxyTable,
} from '../core/forwarding/proxy-hosts.ts';
import type { NeighbourTiming } from '../core/neighbours.ts';
import type { ProxyHostView } from '../core/status.ts';
import type { ForwardingMaps } from '../io/forwarding/forwarding-maps.ts';
import type { HostInterface } from '../io/host-interface.ts';
import { type NeighbourWatch, watchNeighbours } from '../io/neighbours.ts';

/** What is needed. */
export interface ProxyHostsParts {
  readonly maps: Pick<ForwardingMaps, 'writeProxyMarks' | 'writeProxySlots' | 'setFeature'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The running watch over the hosts that share connections. */
export interface ProxyHosts {
  /** Takes what is declared and the interface that it is about. Throws SyscallError. */
  follow(declared: readonly DeclaredProxyHost[], on: HostInterface): void;
  /** What is known of each; undefined without any. */
  view(): ProxyHostView[] | undefined;
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

/** Starts without hosts; what the kernel holds of before stays until the first `follow`. */
export function followProxyHosts({ maps, clock, logger }: ProxyHostsParts): ProxyHosts {
  /** Of hosts that answer. */
  const macs = new Map<string, MacAddress>();
  /** As last known, also of those that do not: what they still send is marked. */
  const lastMacs = new Map<string, MacAddress>();
  let declared: readonly DeclaredProxyHost[] = [];
  let on: HostInterface | undefined;
  let watch: { readonly index: number; readonly neighbours: NeighbourWatch } | undefined;
  let timer: Timer | undefined;
  let settledAt = 0;
  let shares = new Map<string, number>();
  let written = '';

  const isOwn = (address: IpAddress) => on?.ownAddresses.has(formatIpAddress(address)) === true;
  const hostOf = (address: IpAddress, known: ReadonlyMap<string, MacAddress>): ProxyHost | undefined => {
    const isSelf = isOwn(address);
    const mac = isSelf ? on?.mac : known.get(formatIpAddress(address));
    return mac === undefined ? undefined : { mac, isSelf };
  };

  function refresh(): void {
    if (on === undefined) return;
    const isMember = declared.some(({ address }) => isOwn(address));
    const live = isMember ? declared.filter(({ address }) => hostOf(address, macs) !== undefined) : [];
    if (isMember && live.length < declared.length && clock.now() < settledAt) return;
    const hosts = live.flatMap(({ address }) => hostOf(address, macs) ?? []);
    const known = isMember ? declared.flatMap(({ address }) => hostOf(address, lastMacs) ?? []) : [];
    const content = JSON.stringify([
      live.map(({ address, state }) => [formatIpAddress(address), state]),
      [hosts, known].map((list) => list.map(({ mac, isSelf }) => [[...mac], isSelf])),
    ]);
    if (content === written) return;
    const slots = proxyTable(live);
    maps.writeProxyMarks(known);
    maps.writeProxySlots(hosts, slots);
    maps.setFeature('proxy-hosts', hosts.length > 0);
    written = content;
    shares = new Map(
      live.map(({ address }, index) => [
        formatIpAddress(address),
        slots.filter(({ owner }) => owner === index).length / proxySlots,
      ]),
    );
    logger.info(
      { hosts: live.map(({ address, state }) => `${formatIpAddress(address)} ${state}`) },
      'connections of l7 VIPs are shared over these hosts',
    );
  }

  function watchOn(interfaceIndex: number): void {
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
    macs.clear();
  }

  return {
    follow(wanted, current) {
      const before = new Set(declared.map(({ address }) => formatIpAddress(address)));
      const isAnother = current.index !== on?.index;
      declared = wanted;
      on = current;
      if (isAnother || declared.some(({ address }) => !before.has(formatIpAddress(address))))
        settledAt = clock.now() + settleAtMost;
      if (declared.length === 0) stop();
      else {
        watchOn(current.index);
        watch?.neighbours.setTargets(
          declared.map(({ address }) => address).filter((address) => !isOwn(address)),
        );
        const texts = new Set(declared.map(({ address }) => formatIpAddress(address)));
        for (const known of [macs, lastMacs]) {
          for (const text of known.keys()) if (!texts.has(text)) known.delete(text);
        }
        timer ??= clock.after(confirmEvery, tick);
      }
      refresh();
    },
    view() {
      if (declared.length === 0) return undefined;
      return declared.map(({ address, state }) => ({
        address: formatIpAddress(address),
        state,
        isSelf: isOwn(address),
        isLive: hostOf(address, macs) !== undefined,
        share: shares.get(formatIpAddress(address)) ?? 0,
      }));
    },
    warnings() {
      if (on === undefined || declared.length === 0) return [];
      const { name, ownAddresses } = on;
      if (!declared.some(({ address }) => isOwn(address))) {
        return [
          `host.proxy.hosts holds no address of ${name} (${[...ownAddresses].join(', ')}): this host keeps the connections that it gets`,
        ];
      }
      return declared
        .filter(({ address }) => hostOf(address, macs) === undefined)
        .map(
          ({ address }) =>
            `host.proxy.hosts: ${formatIpAddress(address)} does not answer on ${name}: the other hosts take its connections`,
        );
    },
    stop,
  };
}
