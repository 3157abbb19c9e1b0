import { type IpAddress, ipAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, ipPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import type {
  ProxyBackendTls,
  ProxyDesired,
  ProxyListener,
  ProxyListenerMode,
  ProxyListenerTls,
  ProxyUdp,
} from '@l4d/kit/proxy-api.ts';
import {
  datagramProxyHeader,
  type Endpoint,
  type ProxyProtocol,
  proxyHeader,
} from '@l4d/kit/proxy-protocol.ts';
import type { AccessList } from './access.ts';
import type { SourcedBackend } from './client-source.ts';
import type { DestinationRule } from './forward-proxy/destinations.ts';
import { type ViaName, viaName } from './http1/hops.ts';
import { defaultListenerLimits, type ListenerLimits } from './limits.ts';
import { newRetryBudget, type RetryBudget } from './retries.ts';
import { canonicalPathPrefix, hostMatch, orderRoutes, type Route } from './route.ts';
import type { Weighted } from './weighted-choice.ts';

/** A backend of one pool, with its turn-taking state. */
export interface Backend extends Weighted {
  readonly address: string;
  readonly port: number;
  /** `address port`: the same backend in every pool of a listener. */
  readonly key: string;
  /** `key` and how it is spoken to: connections of the same are used for each other's requests. */
  readonly connectionKey: string;
  /** Undefined: it is spoken to in the clear. */
  readonly tls: ProxyBackendTls | undefined;
  /** It is spoken to from the client's address; undefined: from the host's own. */
  readonly sourced: SourcedBackend | undefined;
}

/** Backends among which requests are shared out. */
export interface Pool {
  readonly name: string;
  readonly backends: readonly Backend[];
  /** What is left for further tries; changed in place. */
  readonly budget: RetryBudget;
}

/** A listener, ready to be asked. */
export interface Listener {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly key: string;
  readonly mode: ProxyListenerMode;
  readonly access: AccessList;
  /** Of a forward proxy: what its clients may reach. */
  readonly destinations: readonly DestinationRule[];
  /** Of mode udp: bounds of its sessions; undefined in every other mode. */
  readonly udp: ProxyUdp | undefined;
  /** In the order in which they are asked. */
  readonly routes: readonly Route<Pool>[];
  readonly pools: readonly Pool[];
  /** Undefined: what comes is plain HTTP. */
  readonly tls: ProxyListenerTls | undefined;
  /** Port of the same service over TLS, to which every request is sent. */
  readonly redirectToHttps: number | undefined;
  /** Whose word about its client counts. */
  readonly trustedProxies: readonly IpPrefix[];
  /** Whether a trusted proxy begins its connections with a PROXY header. */
  readonly acceptProxyProtocol: boolean;
  /** Whether backends get a Forwarded field. */
  readonly withForwarded: boolean;
  /** How the proxy names itself in Via; undefined: it does not. */
  readonly via: ViaName | undefined;
  /** How connections to backends begin; undefined: with the request. */
  readonly proxyProtocol: ProxyProtocol | undefined;
  /** Each connection to a backend is for one client alone, whom it tells of: nobody else's requests may go over it. */
  readonly isClientBound: boolean;
  /** What may wait in each direction of a tunnel that the kernel relays, in bytes; undefined: the proxy relays. */
  readonly kernelRelayBytes: number | undefined;
  readonly connectMs: number;
  readonly responseMs: number;
  /** From a request, or the last byte of its body, to the begin of its answer, over all tries. */
  readonly requestMs: number;
  /** A tunnel of a listener that is not `http` is closed after so long without a byte. */
  readonly idleMs: number;
  /** A client's connection is closed after so long between two requests. */
  readonly keepAliveMs: number;
  readonly limits: ListenerLimits;
  /** Backends that are asked for a request, the first included. */
  readonly tries: number;
  /** Further tries, in percent of the requests. */
  readonly budgetPercent: number;
}

const defaultUdp: ProxyUdp = { maxSessions: 16_384, proxyHeader: 'first' };

/** All listeners by listenerKey. */
export type PolicyTable = ReadonlyMap<string, Listener>;

/** Name of the pool that takes everything when a listener has no routes. */
const defaultPool = 'default';

/** The key of a local address and port, one for every spelling of the address. */
export function listenerKey(address: IpAddress, port: number, protocol: 'tcp' | 'udp' = 'tcp'): string {
  const place = `${toMappedBytes(address).join('.')} ${port}`;
  return protocol === 'tcp' ? place : `${place} udp`;
}

/** What a listener that does not say is answered in: all tries of a request together, in ms. */
const usualRequestMs = 60_000;

/** What a listener that does not say lets wait in the kernel, in each direction of a tunnel. */
const usualRelayBytes = 4 * 1024 * 1024;

/**
 * Compiles validated desired state. Whose turn it is in a pool, who rests and what is left for further tries is taken
 * over from `previous`, so that a state put often does not favour the first backend of each pool. `base`: what holds
 * where a listener declares no limit.
 */
export function compilePolicy(
  desired: ProxyDesired,
  previous: PolicyTable = new Map(),
  base: ListenerLimits = defaultListenerLimits,
): PolicyTable {
  const table = new Map<string, Listener>();
  for (const listener of desired.listeners) {
    const protocol = listener.mode === 'udp' ? 'udp' : 'tcp';
    const key = listenerKey(ipAddress(listener.address), listener.port, protocol);
    table.set(key, compileListener(listener, key, previous.get(key), base));
  }
  return table;
}

function compileListener(
  listener: ProxyListener,
  key: string,
  previous: Listener | undefined,
  base: ListenerLimits,
): Listener {
  const subnets = listener.clientSource?.subnets.map(ipPrefix);
  const pools = listener.pools.map((pool) => {
    const poolBefore = previous?.pools.find((other) => other.name === pool.name);
    const credits = new Map(poolBefore?.backends.map((backend) => [backend.key, backend]));
    return {
      name: pool.name,
      budget: poolBefore?.budget ?? newRetryBudget(),
      backends: pool.backends.map((backend) => {
        const backendKey = `${backend.address} ${backend.port}`;
        const old = credits.get(backendKey);
        const credit = old !== undefined && old.weight === backend.weight ? old.credit : 0;
        const { tls } = pool;
        const connectionKey = tls === undefined ? backendKey : `${backendKey} ${JSON.stringify(tls)}`;
        const address = ipAddress(backend.address);
        const sourced = subnets && {
          address,
          subnets: subnets.filter((subnet) => prefixContains(subnet, address)),
        };
        const restsUntil = old?.restsUntil ?? 0;
        return { ...backend, key: backendKey, connectionKey, tls, sourced, credit, restsUntil };
      }),
    };
  });
  const byName = new Map(pools.map((pool) => [pool.name, pool]));
  const written =
    listener.routes.length > 0 || !byName.has(defaultPool) ? listener.routes : [{ pool: defaultPool }];
  const routes = written.flatMap((route: ProxyListener['routes'][number]) => {
    const pool = byName.get(route.pool);
    if (pool === undefined) return [];
    return [{ host: hostMatch(route.host), pathPrefix: canonicalPathPrefix(route.pathPrefix), pool }];
  });
  return {
    name: listener.name,
    address: listener.address,
    port: listener.port,
    key,
    mode: listener.mode,
    access: { allow: listener.access.allow.map(ipPrefix), deny: listener.access.deny.map(ipPrefix) },
    destinations: listener.destinations.map(({ hosts, prefixes, ports }) => ({
      hosts: hosts.map(hostMatch),
      prefixes: prefixes.map(ipPrefix),
      ports,
    })),
    udp: listener.mode === 'udp' ? (listener.udp ?? defaultUdp) : undefined,
    routes: orderRoutes(routes),
    pools,
    tls: listener.tls,
    redirectToHttps: listener.redirectToHttps,
    trustedProxies: listener.trustedProxies.map(ipPrefix),
    acceptProxyProtocol: listener.acceptProxyProtocol,
    withForwarded: listener.forwarded,
    via: listener.via === undefined ? undefined : viaName(listener.via),
    proxyProtocol: listener.proxyProtocol,
    isClientBound: listener.proxyProtocol !== undefined || listener.clientSource !== undefined,
    kernelRelayBytes:
      listener.relay === 'kernel' ? (listener.limits.relayBytes ?? usualRelayBytes) : undefined,
    connectMs: listener.timeouts.connectMs,
    responseMs: listener.timeouts.responseMs,
    requestMs: listener.timeouts.requestMs ?? Math.max(usualRequestMs, listener.timeouts.responseMs),
    idleMs: listener.timeouts.idleMs,
    keepAliveMs: listener.timeouts.keepAliveMs,
    limits: limitsOf(listener, base),
    tries: listener.retries.tries,
    budgetPercent: listener.retries.budgetPercent,
  };
}

function limitsOf({ timeouts, limits }: ProxyListener, base: ListenerLimits): ListenerLimits {
  const { minimumRate } = limits;
  return {
    headTimeoutMs: timeouts.headMs ?? base.headTimeoutMs,
    handshakeTimeoutMs: timeouts.handshakeMs ?? base.handshakeTimeoutMs,
    maxRequestsPerConnection: limits.requestsPerConnection ?? base.maxRequestsPerConnection,
    transferWindowMs: base.transferWindowMs,
    minTransferBytes:
      minimumRate === undefined ? base.minTransferBytes : (minimumRate * base.transferWindowMs) / 1000,
    tunnelIdleMs: timeouts.tunnelMs ?? base.tunnelIdleMs,
    upstreamIdleMs: timeouts.backendIdleMs ?? base.upstreamIdleMs,
    request: {
      ...base.request,
      maxStartLineBytes: limits.requestLineBytes ?? base.request.maxStartLineBytes,
      maxHeadBytes: limits.requestHeadBytes ?? base.request.maxHeadBytes,
      maxFields: limits.requestFields ?? base.request.maxFields,
    },
    response: {
      ...base.response,
      maxHeadBytes: limits.answerHeadBytes ?? base.response.maxHeadBytes,
      maxFields: limits.answerFields ?? base.response.maxFields,
    },
  };
}

/** Whether what this peer says of its client counts. */
export function isTrusted(listener: Listener, peer: IpAddress): boolean {
  return listener.trustedProxies.some((prefix) => prefixContains(prefix, peer));
}

/** What a connection to a backend, for a client of a listener, begins with; undefined: nothing. */
export function preambleFor(
  listener: Listener,
  clientAddress: string,
  clientPort: number,
): Uint8Array | undefined {
  if (listener.proxyProtocol === undefined) return undefined;
  const source = { address: ipAddress(clientAddress), port: clientPort };
  const destination = { address: ipAddress(listener.address), port: listener.port };
  return proxyHeader(listener.proxyProtocol, source, destination);
}

/** What a datagram to a backend begins with; undefined: nothing. */
export function datagramPreambleFor(listener: Listener, source: Endpoint): Uint8Array | undefined {
  if (listener.proxyProtocol === undefined) return undefined;
  return datagramProxyHeader(source, { address: ipAddress(listener.address), port: listener.port });
}

/** Every way in which backends are spoken to through TLS. */
export function backendTlsOf(table: PolicyTable): ProxyBackendTls[] {
  return [...table.values()].flatMap(({ pools }) =>
    pools.flatMap(({ backends }) => backends.flatMap(({ tls }) => (tls === undefined ? [] : [tls]))),
  );
}
