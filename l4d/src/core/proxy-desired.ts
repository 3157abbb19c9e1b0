import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import type { ProxyDesiredInput } from '@l4d/kit/proxy-api.ts';
import type { HostProxy } from './desired/host-proxy.ts';
import { backendPool, backendPort, type Vip } from './desired/vip.ts';
import type { VipTls } from './desired/vip-tls.ts';

type ListenerInput = ProxyDesiredInput['listeners'][number];
type PoolInput = NonNullable<ListenerInput['pools']>[number];

/** An l7 VIP and which of its backends may be used, in the order of its backends. */
export interface ProxiedVip {
  readonly vip: Vip;
  readonly healthy: readonly boolean[];
}

/** The body of the proxy's `PUT /v1/desired`: each pool with its healthy backends. `subnets`: of the host's interfaces. */
export function proxyDesired(
  vips: readonly ProxiedVip[],
  proxy: HostProxy,
  segmentLimit?: ProxyDesiredInput['segmentLimit'],
  subnets: readonly IpPrefix[] = [],
): ProxyDesiredInput {
  return {
    ...(segmentLimit === undefined ? {} : { segmentLimit }),
    ...(proxy.workers === undefined ? {} : { workers: proxy.workers }),
    drainMs: proxy.drainAtMost,
    listeners: vips.map(({ vip, healthy }) => {
      const pools = new Map<string, { address: string; port: number; weight: number }[]>();
      for (const [index, backend] of vip.backends.entries()) {
        const pool = pools.get(backendPool(backend)) ?? [];
        pools.set(backendPool(backend), pool);
        if (!healthy[index]) continue;
        pool.push({
          address: formatIpAddress(backend.address),
          port: backendPort(vip, backend),
          weight: backend.weight,
        });
      }
      return {
        name: vip.name,
        address: formatIpAddress(vip.address),
        port: vip.port,
        ...(vip.mode === undefined ? {} : { mode: vip.mode }),
        ...(vip.mode === 'udp' ? { udp: { ...vip.udp } } : {}),
        timeouts: timeoutsOf(vip),
        // What is not declared is not said: a proxy that is still of an older version would not take it.
        ...limitsOf(vip),
        ...(vip.retries === undefined ? {} : { retries: { ...vip.retries } }),
        ...(vip.relay === undefined ? {} : { relay: vip.relay }),
        access: {
          allow: (vip.access?.allow ?? []).map(formatIpPrefix),
          deny: (vip.access?.deny ?? []).map(formatIpPrefix),
        },
        destinations: (vip.destinations ?? []).map((destination) => ({
          hosts: [...(destination.hosts ?? [])],
          prefixes: (destination.prefixes ?? []).map(formatIpPrefix),
          ports: (destination.ports ?? []).map(([first, last]): [number, number] => [first, last]),
        })),
        routes: (vip.routes ?? []).map((route) => ({ ...route })),
        pools: [...pools].map(([name, backends]) => ({ name, ...poolTls(vip, name), backends })),
        trustedProxies: (vip.trustedProxies ?? []).map(formatIpPrefix),
        acceptProxyProtocol: vip.acceptProxyProtocol ?? false,
        forwarded: vip.forwardedHeader ?? false,
        ...(vip.via === undefined ? {} : { via: vip.via }),
        ...(vip.proxyProtocol === undefined ? {} : { proxyProtocol: vip.proxyProtocol }),
        ...(vip.source === undefined ? {} : { clientSource: { subnets: directSubnets(vip, subnets) } }),
        ...(vip.tls === undefined ? {} : { tls: listenerTls(vip.tls) }),
        ...(vip.redirectToHttps === undefined ? {} : { redirectToHttps: vip.redirectToHttps }),
      };
    }),
  };
}

function limitsOf({ limits, relayBytes }: Vip): Pick<ListenerInput, 'limits'> {
  if (limits === undefined && relayBytes === undefined) return {};
  return { limits: { ...limits, ...(relayBytes === undefined ? {} : { relayBytes }) } };
}

function timeoutsOf({ idleTimeout, keepAliveTimeout, timeouts = {} }: Vip): ListenerInput['timeouts'] {
  const named = {
    idleMs: idleTimeout,
    keepAliveMs: keepAliveTimeout,
    handshakeMs: timeouts.handshake,
    headMs: timeouts.requestHead,
    connectMs: timeouts.connect,
    responseMs: timeouts.response,
    requestMs: timeouts.request,
    tunnelMs: timeouts.tunnel,
    backendIdleMs: timeouts.backendIdle,
  };
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined));
}

function listenerTls({ certificates, ...rest }: VipTls): NonNullable<ListenerInput['tls']> {
  return { ...rest, certificates: certificates.map(({ key, ...one }) => ({ ...one, key: key ?? one.cert })) };
}

function poolTls({ backendTls }: Vip, pool: string): Pick<PoolInput, 'tls'> {
  if (backendTls === undefined) return {};
  const { pools, ...tls } = backendTls;
  return pools === undefined || pools.includes(pool) ? { tls } : {};
}

/** Subnets whose machines answer each other past this host, as far as nothing proves that they do not. */
function directSubnets({ sourceProbes = [] }: Vip, subnets: readonly IpPrefix[]): string[] {
  const unproven = subnets.filter((subnet) => !sourceProbes.some((probe) => prefixContains(subnet, probe)));
  return [...new Set(unproven.map(formatIpPrefix))];
}
