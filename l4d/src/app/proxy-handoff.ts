import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { HostProxy } from '../core/desired/host-proxy.ts';
import { backendPort, type Vip } from '../core/desired/vip.ts';
import { type ProxiedVip, proxyDesired } from '../core/proxy-desired.ts';
import type { ProxyFollower } from '../io/companions.ts';
import type { ListenerTable, ProxyListener } from '../io/forwarding/listener-table.ts';
import type { SourcedService } from '../io/forwarding/source-return.ts';

/** The l7 VIPs of this host, and what its proxy is to be. */
export interface ProxiedVips {
  readonly vips: readonly ProxiedVip[];
  /** Undefined: without desired state; there are no VIPs then. */
  readonly proxy: HostProxy | undefined;
}

/** Hands l7 VIPs to the proxy: its configuration, the kernel's routes, the listeners of sk_lookup. */
export interface ProxyHandoff {
  /**
   * Makes it so; `ending` are listeners that are withdrawn but still served. `isShared`: whether clients of an address
   * also get to backends directly. Resolves with how many listeners changed. `force`: also when nothing seems to have
   * changed. Rejects with SyscallError.
   */
  sync(
    wanted: ProxiedVips,
    ending: readonly ProxyListener[],
    isShared: (address: IpAddress) => boolean,
    force: boolean,
  ): Promise<number>;
  /** Why the proxy cannot serve an l7 VIP; undefined when it can. */
  problem(vip: Vip): string | undefined;
}

/** How long VIPs stay announced while the proxy's supervisor does not answer and its workers serve on. */
const unsupervised = Seconds(30);
/** How often it is looked whether they still do. */
const lookAgain = Milliseconds(500);

/** What the handoff works with. */
export interface ProxyHandoffOptions {
  readonly proxy: ProxyFollower;
  readonly listeners: ListenerTable;
  /** Whether a worker of the proxy lives whose sockets the kernel steers to. */
  readonly workersLive: () => boolean;
  /** The largest TCP segments that clients may send; undefined: any. */
  readonly segmentLimit?: () => { readonly ipv4: number; readonly ipv6: number } | undefined;
  /** Has the kernel deliver these addresses, and no others of ours, to its stack. */
  readonly replaceRoutes: (addresses: readonly IpAddress[]) => Promise<void>;
  /** Makes the way back of connections to backends that come from their clients' addresses. */
  readonly settleSources: (services: readonly SourcedService[]) => Promise<void>;
  /** Of the host's interfaces. */
  readonly subnets: () => readonly IpPrefix[];
  readonly clock: Clock;
  /** As replaceRoutes, only for what comes in by these interfaces. */
  readonly replaceSharedRoutes: (
    addresses: readonly IpAddress[],
    interfaces: readonly string[],
  ) => Promise<void>;
  /** Names of the interfaces by which VIPs' packets come. */
  readonly interfaces: () => readonly string[];
  /** Called when `problem` may have another answer and nothing else would tell. */
  readonly onChange: () => void;
}

/** Works with the proxy and the kernel's table of listeners. */
export function createProxyHandoff(options: ProxyHandoffOptions): ProxyHandoff {
  const { proxy, listeners, clock } = options;
  let last: string | undefined;
  /**
   * Listeners that the proxy serves, as far as it has said that all is well. One by one: another VIP that leaves while the
   * supervisor is away takes nothing from those that stay.
   */
  const served = new Set<string>();
  /** The addresses as they are routed, and those of them that are shared. */
  let routed: string | undefined;
  let lastShared: readonly IpAddress[] = [];
  /** Since when it has not. */
  let troubledSince: number | undefined;
  let looking = false;
  /** Backends of listeners that are spoken to from clients' addresses, by the text of the listener. */
  let sourced = new Map<string, readonly SourcedService[]>();

  /** Those of VIPs, and of what ends still, as long as connections may be there. */
  function sourcedServices(
    proxied: readonly ProxiedVip[],
    ending: readonly ProxyListener[],
  ): SourcedService[] {
    const kept = ending.map(
      (listener) => [listenerText(listener), sourced.get(listenerText(listener))] as const,
    );
    const wanted = proxied.flatMap(({ vip }) =>
      vip.source === undefined
        ? []
        : [
            [
              listenerText(vip),
              vip.backends.map((one) => ({ address: one.address, port: backendPort(vip, one) })),
            ] as const,
          ],
    );
    sourced = new Map([
      ...kept.flatMap(([text, all]) => (all === undefined ? [] : [[text, all] as const])),
      ...wanted,
    ]);
    return [...sourced.values()].flat();
  }

  function toldProblem(): string | undefined {
    if (!proxy.inSync()) return 'it does not answer';
    return proxy.status()?.registered === true ? undefined : 'no worker serves';
  }

  /** An address is local in one way or the other, never in none. */
  async function routeAddresses(
    toServe: readonly ProxyListener[],
    isShared: (address: IpAddress) => boolean,
    force: boolean,
  ): Promise<void> {
    const addresses = toServe.map(({ address }) => address);
    const shared = addresses.filter(isShared);
    const others = addresses.filter((address) => !isShared(address));
    const interfaces = options.interfaces();
    const text = [interfaces, ...[shared, others].map((some) => some.map(formatIpAddress))].join(' ');
    if (text === routed && !force) return;
    routed = undefined;
    // Those that cease to be shared stay so until they are local.
    const leaving = lastShared.filter((address) => others.some((other) => sameIpAddress(other, address)));
    await options.replaceSharedRoutes([...shared, ...leaving], interfaces);
    await options.replaceRoutes(others);
    if (leaving.length > 0) await options.replaceSharedRoutes(shared, interfaces);
    lastShared = shared;
    routed = text;
  }

  /** Without a certificate to show nobody is served. */
  function tlsProblem(vip: Vip): string | undefined {
    if (vip.tls === undefined) return undefined;
    const tls = proxy.status()?.listeners.find(({ name }) => name === vip.name)?.tls;
    return tls?.serving === false ? `TLS: ${tls.problem}` : undefined;
  }

  return {
    async sync({ vips: proxied, proxy: settings }, ending, isShared, force) {
      const toServe: ProxyListener[] = [...proxied.map(({ vip }) => vip), ...ending];
      if (force) proxy.tellAgain();
      // Before a backend is asked whether its answers come back, and before the proxy speaks to it.
      await options.settleSources(sourcedServices(proxied, ending));
      // A VIP that ends keeps its listener in the proxy until the end, without new desired state for it.
      if (toServe.length === 0) await proxy.follow(undefined);
      else if (ending.length === 0 && settings !== undefined)
        await proxy.follow(proxyDesired(proxied, settings, options.segmentLimit?.(), options.subnets()));
      const texts = toServe.map(listenerText);
      const text = texts.join();
      await routeAddresses(toServe, isShared, force);
      if (text === last && !force) return 0;
      const changes = listeners.replace(
        toServe.map(({ address, port, protocol }) => ({ address, port, protocol })),
      );
      last = text;
      for (const one of served) if (!texts.includes(one)) served.delete(one);
      // VIPs may not be looked at for long: whether the proxy has these is known now.
      if (toldProblem() === undefined) for (const one of texts) served.add(one);
      return changes;
    },
    problem(vip) {
      const refusal = proxy.refusal();
      if (refusal !== undefined) return `it refuses its configuration: ${refusal}`;
      const problem = toldProblem();
      const now = clock.now();
      if (problem === undefined) {
        served.add(listenerText(vip));
        troubledSince = undefined;
        return tlsProblem(vip);
      }
      // A supervisor that was killed or is upgraded takes its workers over: they serve what they were told.
      troubledSince ??= now;
      const servesOn = served.has(listenerText(vip)) && now - troubledSince < unsupervised;
      if (!servesOn || !options.workersLive()) return problem;
      if (!looking) {
        looking = true;
        clock.after(lookAgain, () => {
          looking = false;
          options.onChange();
        });
      }
      return undefined;
    },
  };
}

function listenerText({ address, port, protocol }: ProxyListener): string {
  return `${formatIpAddress(address)} ${port} ${protocol}`;
}
