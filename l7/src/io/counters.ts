import {
  type DatagramDrop,
  datagramDrops,
  type ProxyStatus,
  type ProxyTlsStatus,
  type SourceRefusal,
  sourceRefusals,
} from '@l4d/kit/proxy-api.ts';
import { addCounts, type Counts } from '../core/counts.ts';
import type { Listener, PolicyTable } from '../core/policy.ts';

export interface BackendCounters {
  requests: number;
  errors: number;
  /** Why TLS with it failed last. */
  tlsProblem: string | undefined;
}

/** Counts of a listener's handshakes. */
export interface TlsCounters {
  /** Done ones, by version. */
  readonly handshakes: Map<string, number>;
  resumed: number;
  readonly failures: Map<string, number>;
}

/** Counts of a listener's datagrams; fields as in ProxyDatagrams. */
export interface DatagramCounters {
  received: number;
  receivedBytes: number;
  sent: number;
  sentBytes: number;
  repicked: number;
  evicted: number;
  readonly dropped: Record<DatagramDrop, number>;
}

/** Counts of one listener since the process started or the listener was first declared. */
export interface ListenerCounters {
  activeConnections: number;
  connections: number;
  denied: number;
  requests: number;
  /** Further tries, and those that the budget did not allow. */
  retries: number;
  retriesRefused: number;
  /** Connections that no backend was found for. */
  unserved: number;
  /** Times that a backend was passed over because it cannot be spoken to from the client's address. */
  readonly sourceRefused: Map<SourceRefusal, number>;
  /** Tunnels that the kernel relays, by itself; those that it could not; those reset because too much waited there. */
  kernelRelays: number;
  kernelRelaysRefused: number;
  kernelRelaysOverLimit: number;
  /** By class of status: the first is of 1xx. */
  readonly responses: [number, number, number, number, number];
  readonly tls: TlsCounters;
  /** Of mode udp alone. */
  datagrams: DatagramCounters | undefined;
  /** By Backend.key. */
  readonly backends: Map<string, BackendCounters>;
}

/** Counts of all listeners, by Listener.key. */
export type Counters = Map<string, ListenerCounters>;

/** The counters of a listener, made at first use. */
export function listenerCounters(counters: Counters, key: string): ListenerCounters {
  let found = counters.get(key);
  if (found === undefined) {
    found = noCounts();
    counters.set(key, found);
  }
  return found;
}

function noCounts(): ListenerCounters {
  return {
    activeConnections: 0,
    connections: 0,
    denied: 0,
    requests: 0,
    retries: 0,
    retriesRefused: 0,
    unserved: 0,
    sourceRefused: new Map(),
    kernelRelays: 0,
    kernelRelaysRefused: 0,
    kernelRelaysOverLimit: 0,
    responses: [0, 0, 0, 0, 0],
    tls: { handshakes: new Map(), resumed: 0, failures: new Map() },
    datagrams: undefined,
    backends: new Map(),
  };
}

/** The counters of a listener's datagrams, made at first use. */
export function datagramCounters(counters: ListenerCounters): DatagramCounters {
  counters.datagrams ??= {
    received: 0,
    receivedBytes: 0,
    sent: 0,
    sentBytes: 0,
    repicked: 0,
    evicted: 0,
    dropped: Object.fromEntries(datagramDrops.map((reason) => [reason, 0])) as Record<DatagramDrop, number>,
  };
  return counters.datagrams;
}

/** The counters of a backend, made at first use. */
export function backendCounters(counters: ListenerCounters, key: string): BackendCounters {
  let found = counters.backends.get(key);
  if (found === undefined) {
    found = { requests: 0, errors: 0, tlsProblem: undefined };
    counters.backends.set(key, found);
  }
  return found;
}

/** Counts a backend that was passed over because it cannot be spoken to from the client's address. */
export function countSourceRefusal({ sourceRefused }: ListenerCounters, refusal: SourceRefusal): void {
  sourceRefused.set(refusal, (sourceRefused.get(refusal) ?? 0) + 1);
}

/** Counts one answer of status 100 to 599 under its class. */
export function countResponse(counters: ListenerCounters, status: number): void {
  const kind = (Math.floor(status / 100) - 1) as 0 | 1 | 2 | 3 | 4;
  counters.responses[kind] += 1;
}

/** Counts a handshake that was done. */
export function countHandshake(counters: TlsCounters, version: string, resumed: boolean): void {
  counters.handshakes.set(version, (counters.handshakes.get(version) ?? 0) + 1);
  if (resumed) counters.resumed += 1;
}

/** Reasons that are told one by one; peers choose them. */
const maxReasons = 32;

/** Counts a handshake that failed. */
export function countHandshakeFailure(counters: TlsCounters, reason: string): void {
  const { failures } = counters;
  const name = failures.has(reason) || failures.size < maxReasons ? reason : 'other';
  failures.set(name, (failures.get(name) ?? 0) + 1);
}

/** The numbers of a listener's counters as JSON. */
export function listenerCounts(counters: ListenerCounters): Counts {
  const { tls, backends, datagrams, sourceRefused, ...numbers } = counters;
  return {
    ...numbers,
    sourceRefused: Object.fromEntries(sourceRefused),
    ...(datagrams === undefined ? {} : { datagrams: { ...datagrams, dropped: { ...datagrams.dropped } } }),
    tls: {
      handshakes: Object.fromEntries(tls.handshakes),
      resumed: tls.resumed,
      failures: Object.fromEntries(tls.failures),
    },
    backends: Object.fromEntries(
      [...backends].map(([key, { requests, errors }]) => [key, { requests, errors }]),
    ),
  };
}

/** What `listenerCounts` makes. */
type ListenerNumbers = Omit<ListenerCounters, 'tls' | 'backends' | 'datagrams' | 'sourceRefused'> & {
  readonly sourceRefused: Readonly<Record<string, number>>;
  readonly datagrams?: DatagramCounters;
  readonly tls: {
    readonly handshakes: Readonly<Record<string, number>>;
    readonly resumed: number;
    readonly failures: Readonly<Record<string, number>>;
  };
  readonly backends: Readonly<Record<string, { readonly requests: number; readonly errors: number }>>;
};

/** The counters of a listener from what `listenerCounts` made, here or in another version: what is not there is 0. */
export function listenerCountersOf(
  counts: Counts,
  tlsProblems: Readonly<Record<string, string>> = {},
): ListenerCounters {
  const whole = addCounts<Counts>(listenerCounts(noCounts()), counts) as unknown as ListenerNumbers;
  return {
    ...whole,
    datagrams: whole.datagrams,
    sourceRefused: new Map(
      sourceRefusals.flatMap((refusal): [SourceRefusal, number][] => {
        const count = whole.sourceRefused[refusal];
        return count === undefined ? [] : [[refusal, count]];
      }),
    ),
    tls: {
      handshakes: new Map(Object.entries(whole.tls.handshakes)),
      resumed: whole.tls.resumed,
      failures: new Map(Object.entries(whole.tls.failures)),
    },
    backends: new Map(
      Object.entries(whole.backends).map(([key, numbers]) => [
        key,
        { ...numbers, tlsProblem: tlsProblems[key] },
      ]),
    ),
  };
}

/** Forgets listeners and backends that are no longer declared. */
export function pruneCounters(counters: Counters, table: PolicyTable): void {
  for (const [key, counted] of counters) {
    const listener = table.get(key);
    if (listener === undefined) {
      counters.delete(key);
      continue;
    }
    const declared = new Set(listener.pools.flatMap((pool) => pool.backends.map((backend) => backend.key)));
    for (const backendKey of counted.backends.keys()) {
      if (!declared.has(backendKey)) counted.backends.delete(backendKey);
    }
  }
}

/** One listener as the status tells it. */
export function listenerStatus(
  listener: Listener,
  counters: Counters,
  tls?: ProxyTlsStatus,
): ProxyStatus['listeners'][number] {
  const counted = listenerCounters(counters, listener.key);
  const backends = new Map(
    listener.pools.flatMap((pool) => pool.backends).map((backend) => [backend.key, backend]),
  );
  return {
    name: listener.name,
    address: listener.address,
    port: listener.port,
    activeConnections: counted.activeConnections,
    connections: counted.connections,
    denied: counted.denied,
    requests: counted.requests,
    retries: counted.retries,
    retriesRefused: counted.retriesRefused,
    unserved: counted.unserved,
    ...(listener.pools.some(({ backends: all }) => all.some(({ sourced }) => sourced !== undefined))
      ? { sourceRefused: Object.fromEntries(counted.sourceRefused) }
      : {}),
    kernelRelays: counted.kernelRelays,
    kernelRelaysRefused: counted.kernelRelaysRefused,
    kernelRelaysOverLimit: counted.kernelRelaysOverLimit,
    responses: Object.fromEntries(
      counted.responses.flatMap((count, kind) => (count === 0 ? [] : [[`${kind + 1}xx`, count]])),
    ),
    ...(counted.datagrams === undefined ? {} : { datagrams: counted.datagrams }),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            ...tls,
            handshakes: Object.fromEntries(counted.tls.handshakes),
            resumed: counted.tls.resumed,
            failures: Object.fromEntries(counted.tls.failures),
          },
        }),
    backends: [...backends.values()].map(({ key, address, port }) => {
      const { requests, errors, tlsProblem } = backendCounters(counted, key);
      return { address, port, requests, errors, ...(tlsProblem === undefined ? {} : { tlsProblem }) };
    }),
  };
}
