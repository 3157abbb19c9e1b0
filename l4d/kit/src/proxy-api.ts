import { z } from 'zod';
import type { ConfigProblem } from './errors.ts';
import { formatIpAddress, fromMappedBytes, parseIpAddress, toMappedBytes } from './ip-address.ts';
import { formatIpPrefix, parseIpPrefix } from './ip-prefix.ts';
import { proxyProtocols } from './proxy-protocol.ts';
import { err, ok, type Result } from './result.ts';
import { tlsPolicies, tlsVersions } from './tls/cipher-policy.ts';

/*
 * The proxy's API on its unix socket (HTTP and JSON), shared by the proxy and by those who speak
 * to it:
 *
 *   PUT /v1/desired   the whole desired state; idempotent; 200 { revision }, 400 problem+json
 *   GET /v1/status    what the proxy does and has done
 *   POST /v1/renew    replaces every worker, one after another; 200 { renewed }, 503 problem+json
 *   POST /v1/leave    the supervisor ends, its workers serve on and are the next one's; 200 { pid }
 */

/** Most workers of a proxy: each has a fair share of the kernel's buckets then. */
export const maxProxyWorkers = 64;

const address = z.string().transform((text, context) => {
  const parsed = parseIpAddress(text);
  if (!parsed.ok) {
    context.issues.push({ code: 'custom', message: parsed.error, input: text });
    return z.NEVER;
  }
  // One spelling an address: a listener written as ::ffff:a.b.c.d is the IPv4 one.
  return formatIpAddress(fromMappedBytes(toMappedBytes(parsed.value)));
});

const prefix = z.string().transform((text, context) => {
  const parsed = parseIpPrefix(text);
  if (!parsed.ok) {
    context.issues.push({ code: 'custom', message: parsed.error, input: text });
    return z.NEVER;
  }
  return formatIpPrefix(parsed.value);
});

const name = z.string().min(1).max(128);
const port = z.int().min(1).max(65535);
/** A proxy's name in Via. */
export const viaNamePattern = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/i;
/** A host name, an address as a URI writes it, or `*.` and a suffix; compared without regard to case. */
const hostPattern = z
  .string()
  .max(255)
  .regex(
    /^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$|^\[[0-9a-f:.]+\]$/i,
    'must be a host name, or *. and a suffix',
  )
  .transform((text) => text.toLowerCase());
const pathPrefix = z
  .string()
  .max(1024)
  .regex(/^\/[^\s?#]*$/, 'must begin with / and hold no query, fragment or white space');

const backendSchema = z.strictObject({
  address,
  port,
  /** Share of new requests against the pool's other backends; 0 gets none. */
  weight: z.int().min(0).max(1000).default(1),
});

/** Path of a file on the proxy's host. */
const filePath = z.string().max(4096).regex(/^\//, 'must be an absolute path');

const certificateSchema = z.strictObject({
  /** PEM: the certificate, then its chain. */
  cert: filePath,
  /** PEM; it may be the same file. */
  key: filePath,
  /** OCSP response in DER, to be stapled. */
  ocsp: filePath.optional(),
});

/** Facts of the client's TLS connection that backends can be told. */
export const tlsHeaders = ['version', 'cipher', 'server-name', 'client-certificate'] as const;

const listenerTlsSchema = z.strictObject({
  /** The first is for clients that name no server. */
  certificates: z.array(certificateSchema).min(1).max(10_000),
  policy: z.enum(tlsPolicies).default('intermediate'),
  /** In place of what the policy says. */
  minVersion: z.enum(tlsVersions).optional(),
  ciphers: z
    .array(z.string().regex(/^[A-Z0-9-]+$/))
    .min(1)
    .max(100)
    .optional(),
  cipherSuites: z
    .array(z.string().regex(/^TLS_[A-Z0-9_]+$/))
    .min(1)
    .max(10)
    .optional(),
  unknownNames: z.enum(['default', 'refuse']).default('default'),
  tickets: z.boolean().default(true),
  /** Keys of session tickets, a line each; without it the process makes its own. */
  ticketKeys: filePath.optional(),
  clientCertificates: z
    .strictObject({ ca: filePath, mode: z.enum(['optional', 'required']).default('required') })
    .optional(),
  headers: z.array(z.enum(tlsHeaders)).default([]),
});

const backendTlsSchema = z.strictObject({
  /** Name that is asked for and that the certificate must have; without it the backend's address. */
  serverName: z.string().min(1).max(253).optional(),
  /** Without it the authorities of the system. */
  ca: filePath.optional(),
  verify: z.boolean().default(true),
  /** What is shown to backends that ask for a certificate. */
  cert: filePath.optional(),
  key: filePath.optional(),
  policy: z.enum(tlsPolicies).default('intermediate'),
  minVersion: z.enum(tlsVersions).optional(),
});

const poolSchema = z.strictObject({
  name,
  /** Connections to the backends are TLS. */
  tls: backendTlsSchema.optional(),
  /** The healthy ones: the proxy does not check, it goes on to the next when one does not answer. */
  backends: z.array(backendSchema).max(10_000).default([]),
});

const routeSchema = z.strictObject({
  host: hostPattern.optional(),
  pathPrefix: pathPrefix.optional(),
  pool: name,
});

/**
 * What is looked at: `http`, requests; `tcp`, nothing (with `tls`: the name that the client asks for);
 * `tls-passthrough`, the name in a TLS client's first message, which backends get as it came; `connect` (HTTP
 * CONNECT) and `socks` (versions 4, 4a, 5), the destination that the client asks for; `udp`, nothing: datagrams.
 */
export const proxyListenerModes = ['http', 'tcp', 'tls-passthrough', 'connect', 'socks', 'udp'] as const;

/** Which datagrams to a backend begin with a PROXY header: the first of a session, or every one. */
export const datagramHeaders = ['first', 'every'] as const;

/** Most sessions of a listener in one process. */
export const maxUdpSessions = 262_144;

/** Why a datagram of a client, or the answer to one, goes no further. */
export const datagramDrops = [
  /** No session is free, and none that rests. */
  'full',
  /** The client has as many sessions as it may. */
  'client-limit',
  /** The session is faster than it may be. */
  'rate',
  /** A socket takes no more for now. */
  'backlog',
  /** The kernel refused it: too big, or no way there. */
  'refused',
  /** It waited for a worker that is gone; meanwhile the client began a session with another one. */
  'elsewhere',
] as const;
export type DatagramDrop = (typeof datagramDrops)[number];

/** Why a backend is not spoken to from a client's own address. */
export const sourceRefusals = [
  /** The client's address is of the other family than the backend's. */
  'family',
  /** Client and backend are in one subnet: the backend would answer the client past the proxy. */
  'subnet',
  /** No host can be reached at the client's address, or it is the backend's own. */
  'address',
  /** All ports of that client's address towards the backend are in use. */
  'ports',
  /** The kernel refuses the address (CAP_NET_ADMIN is missing). */
  'kernel',
] as const;
export type SourceRefusal = (typeof sourceRefusals)[number];

const clientSourceSchema = z.strictObject({
  /** Subnets of which a backend that is in one reaches clients that are in the same past this host. */
  subnets: z.array(prefix).max(10_000).default([]),
});

const udpSchema = z.strictObject({
  /** Of each process. */
  maxSessions: z.int().min(1).max(maxUdpSessions).default(16_384),
  /** Of one client address, in each process; left out: as many as there are. */
  maxSessionsPerClient: z.int().min(1).max(maxUdpSessions).exactOptional(),
  /** What a client may send in one session; left out: without end. */
  datagramsPerSecond: z.int().min(1).max(10_000_000).exactOptional(),
  /** A session ends when so many datagrams have come from the backend; left out: never by that. */
  responses: z.int().min(1).max(1_000_000).exactOptional(),
  /** Which datagrams begin with the header that `proxyProtocol` says. */
  proxyHeader: z.enum(datagramHeaders).default('first'),
});

const destinationSchema = z.strictObject({
  hosts: z.array(hostPattern).max(1000).default([]),
  prefixes: z.array(prefix).max(1000).default([]),
  /** First and last of each range; empty: every port. */
  ports: z
    .array(z.tuple([port, port]).refine(([first, last]) => first <= last, 'must not end before it begins'))
    .max(100)
    .default([]),
});

/** Most bytes, and field lines, that the head of a message may be allowed. */
export const maxHeadBytes = 48 * 1024;
export const maxHeadFields = 1000;

/** Who passes on the bytes of a tunnel. */
export const relays = ['proxy', 'kernel'] as const;

/** Bounds of what may wait in the kernel in each direction of a tunnel, in bytes. */
export const minRelayBytes = 65_536;
export const maxRelayBytes = 1_073_741_824;

const listenerSchema = z.strictObject({
  name,
  address,
  port,
  mode: z.enum(proxyListenerModes).default('http'),
  /** Of mode udp: bounds of its sessions. */
  udp: udpSchema.exactOptional(),
  /** What comes is TLS. */
  tls: listenerTlsSchema.optional(),
  /** Every request is answered with 308 to https and this port. */
  redirectToHttps: port.optional(),
  access: z
    .strictObject({ allow: z.array(prefix).default([]), deny: z.array(prefix).default([]) })
    .prefault({}),
  /** Whose X-Forwarded-* and Forwarded stay; those of all others are replaced. */
  trustedProxies: z.array(prefix).max(1000).default([]),
  /** Connections of trusted proxies begin with a PROXY header, which says who the client is. */
  acceptProxyProtocol: z.boolean().default(false),
  /** Backends get a Forwarded field (RFC 7239) too. */
  forwarded: z.boolean().default(false),
  /** Backends get a Via field (RFC 9110 section 7.6.3) with this name; a request that has it already is refused. */
  via: z.string().regex(viaNamePattern).exactOptional(),
  /** Connections to backends begin with a PROXY header of this version. */
  proxyProtocol: z.enum(proxyProtocols).exactOptional(),
  /** Connections to backends come from the address of the client. */
  clientSource: clientSourceSchema.exactOptional(),
  /** Who passes on the bytes of a tunnel that is not TLS here; by default the proxy. */
  relay: z.enum(relays).exactOptional(),
  /** Of modes connect and socks: what clients may reach; a destination that fits none is refused. */
  destinations: z.array(destinationSchema).max(1000).default([]),
  /** Empty: everything goes to the pool named "default", where there is one. */
  routes: z.array(routeSchema).max(10_000).default([]),
  pools: z.array(poolSchema).max(1000).default([]),
  timeouts: z
    .strictObject({
      /** Until a backend has accepted the connection; then the next backend is tried. */
      connectMs: z.int().min(1).max(600_000).default(5000),
      /** Without a byte from the backend that was given the request. */
      responseMs: z.int().min(1).max(3_600_000).default(60_000),
      /** Without a byte either way, of a tunnel where the mode is not `http`. */
      idleMs: z.int().min(1).max(86_400_000).default(900_000),
      /** Between two requests of a client's connection. */
      keepAliveMs: z.int().min(1).max(86_400_000).default(15_000),
      /**
       * From a request, or the last byte of its body, to the begin of its answer, over all tries; by default 60 s, or
       * `responseMs` where that is longer. What follows has a default in the proxy, too.
       */
      requestMs: z.int().min(1).max(3_600_000).exactOptional(),
      /** Until a TLS handshake is done, a PROXY header, or what a forward proxy's client asks for, has come. */
      handshakeMs: z.int().min(1).max(600_000).exactOptional(),
      /** Until the head of a request is whole. */
      headMs: z.int().min(1).max(600_000).exactOptional(),
      /** Without a byte either way, of a tunnel of mode `http`. */
      tunnelMs: z.int().min(1).max(86_400_000).exactOptional(),
      /** Of a kept connection to a backend, between two requests. */
      backendIdleMs: z.int().min(1).max(86_400_000).exactOptional(),
    })
    .prefault({}),
  /** What is above is refused, never cut short; what is left out has a default in the proxy. */
  limits: z
    .strictObject({
      /** In bytes, without its line end; 414 above. */
      requestLineBytes: z.int().min(64).max(maxHeadBytes).exactOptional(),
      /** In bytes, with all line ends; 431 above. */
      requestHeadBytes: z.int().min(256).max(maxHeadBytes).exactOptional(),
      requestFields: z.int().min(1).max(maxHeadFields).exactOptional(),
      /** Of an answer; 502 above. */
      answerHeadBytes: z.int().min(256).max(maxHeadBytes).exactOptional(),
      answerFields: z.int().min(1).max(maxHeadFields).exactOptional(),
      /** Then a client's connection ends. */
      requestsPerConnection: z.int().min(1).max(1_000_000_000).exactOptional(),
      /** In bytes/s over a minute in which a client is waited for; 0: any. */
      minimumRate: z.int().min(0).max(1_000_000_000).exactOptional(),
      /** What may wait in each direction of a tunnel that the kernel relays; then it is reset. */
      relayBytes: z.int().min(minRelayBytes).max(maxRelayBytes).exactOptional(),
    })
    .prefault({}),
  /** What happens to a request, or a connection, that a backend fails. */
  retries: z
    .strictObject({
      /** Backends that are asked for it, the first included. */
      tries: z.int().min(1).max(10).default(3),
      /** Further tries, in percent of what came; a few a second are always allowed, with 0 none. */
      budgetPercent: z.int().min(0).max(100).default(20),
    })
    .prefault({}),
});

/** The desired state of the proxy as `PUT /v1/desired` takes it. */
export const proxyDesiredSchema = z
  .strictObject({
    listeners: z.array(listenerSchema).max(65_536),
    /** Processes that serve connections; left out: one for each core. */
    workers: z.int().min(1).max(maxProxyWorkers).exactOptional(),
    /** How long a process that is replaced or ended may take to finish its connections. */
    drainMs: z.int().min(0).max(86_400_000).default(30_000),
    /** The largest TCP segments that clients are told to send; left out: what the interface allows. */
    segmentLimit: z
      .strictObject({ ipv4: z.int().min(88).max(65_495), ipv6: z.int().min(88).max(65_475) })
      .exactOptional(),
  })
  .superRefine((desired, context) => {
    const refuse = (path: (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    const names = new Set<string>();
    const places = new Set<string>();
    for (const [i, listener] of desired.listeners.entries()) {
      const isUdp = listener.mode === 'udp';
      const place = `${listener.address} port ${listener.port}${isUdp ? ' udp' : ''}`;
      if (names.has(listener.name)) refuse(['listeners', i, 'name'], `"${listener.name}" is used twice`);
      if (places.has(place)) refuse(['listeners', i, 'address'], `${place} has a listener already`);
      names.add(listener.name);
      places.add(place);
      if (listener.mode !== 'http') {
        if (listener.redirectToHttps !== undefined)
          refuse(['listeners', i, 'redirectToHttps'], `there are no requests in mode ${listener.mode}`);
        for (const [j, route] of listener.routes.entries()) {
          if (route.pathPrefix !== undefined)
            refuse(
              ['listeners', i, 'routes', j, 'pathPrefix'],
              `there are no paths in mode ${listener.mode}`,
            );
        }
      }
      if (listener.relay === 'kernel' && (isUdp || listener.tls !== undefined))
        refuse(
          ['listeners', i, 'relay'],
          isUdp ? 'there are no connections in mode udp' : 'what is TLS here only the proxy can relay',
        );
      if (!isUdp && listener.udp !== undefined)
        refuse(['listeners', i, 'udp'], `there are no datagrams in mode ${listener.mode}`);
      if (isUdp) {
        if (listener.tls !== undefined)
          refuse(['listeners', i, 'tls'], 'there are no connections in mode udp');
        if (listener.acceptProxyProtocol)
          refuse(['listeners', i, 'acceptProxyProtocol'], 'there are no connections in mode udp');
        if (listener.proxyProtocol === 'v1')
          refuse(['listeners', i, 'proxyProtocol'], 'version 1 knows no datagrams');
        for (const [j, pool] of listener.pools.entries())
          if (pool.tls !== undefined)
            refuse(['listeners', i, 'pools', j, 'tls'], 'there are no connections in mode udp');
      }
      if (listener.mode === 'tls-passthrough' && listener.tls !== undefined)
        refuse(['listeners', i, 'tls'], 'mode tls-passthrough leaves TLS to the backends');
      if (listener.clientSource !== undefined && !['http', 'tcp', 'tls-passthrough'].includes(listener.mode))
        refuse(['listeners', i, 'clientSource'], `is not for mode ${listener.mode}`);
      const isForwardProxy = listener.mode === 'connect' || listener.mode === 'socks';
      if (isForwardProxy && listener.destinations.length === 0)
        refuse(['listeners', i, 'destinations'], `mode ${listener.mode} needs at least one`);
      if (!isForwardProxy && listener.destinations.length > 0)
        refuse(['listeners', i, 'destinations'], `mode ${listener.mode} has backends instead`);
      if (isForwardProxy && listener.pools.length > 0)
        refuse(['listeners', i, 'pools'], `mode ${listener.mode} has destinations instead`);
      if (isUdp || (listener.mode === 'tcp' && listener.tls === undefined)) {
        for (const [j, route] of listener.routes.entries()) {
          if (route.host !== undefined)
            refuse(
              ['listeners', i, 'routes', j, 'host'],
              isUdp ? 'mode udp knows no names' : 'mode tcp without tls knows no names',
            );
        }
      }
      const pools = new Set<string>();
      for (const [j, pool] of listener.pools.entries()) {
        if (pools.has(pool.name))
          refuse(['listeners', i, 'pools', j, 'name'], `"${pool.name}" is used twice`);
        pools.add(pool.name);
      }
      for (const [j, route] of listener.routes.entries()) {
        if (!pools.has(route.pool)) {
          refuse(['listeners', i, 'routes', j, 'pool'], `there is no pool "${route.pool}" in this listener`);
        }
      }
    }
  });

/** Desired state as written by a client: what has a default may be left out. */
export type ProxyDesiredInput = z.input<typeof proxyDesiredSchema>;
/** Desired state after validation: defaults filled in, addresses and prefixes in canonical text. */
export type ProxyDesired = z.output<typeof proxyDesiredSchema>;
export type ProxyListener = ProxyDesired['listeners'][number];
/** What is looked at of a listener's connections. */
export type ProxyListenerMode = ProxyListener['mode'];
/** TLS towards clients. */
export type ProxyListenerTls = NonNullable<ProxyListener['tls']>;
/** TLS towards backends. */
export type ProxyBackendTls = NonNullable<ProxyPool['tls']>;
/** Bounds of the sessions of a listener of mode udp. */
export type ProxyUdp = NonNullable<ProxyListener['udp']>;
export type ProxyRoute = ProxyListener['routes'][number];
export type ProxyPool = ProxyListener['pools'][number];
export type ProxyBackend = ProxyPool['backends'][number];

/** Validates a parsed JSON document; every problem is told, with its path. */
export function parseProxyDesired(document: unknown): Result<ProxyDesired, readonly ConfigProblem[]> {
  const parsed = proxyDesiredSchema.safeParse(document);
  if (parsed.success) return ok(parsed.data);
  return err(parsed.error.issues.map((issue) => ({ path: formatPath(issue.path), message: issue.message })));
}

function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

const count = z.int().min(0);

const tlsStatusSchema = z.object({
  /** False: there is nothing that connections could be served with, and they are reset. */
  serving: z.boolean(),
  /** Why the files as they are now are not in force. */
  problem: z.string().optional(),
  /** What is left out of what is in force, such as an OCSP response that has ended. */
  warnings: z.array(z.string()),
  /** RFC 3339 times, as all below. */
  loadedAt: z.string().optional(),
  reloads: count,
  failedReloads: count,
  /** Keys that tickets are read with. */
  ticketKeys: count,
  certificates: z.array(
    z.object({
      path: z.string(),
      subject: z.string(),
      issuer: z.string(),
      names: z.array(z.string()),
      keyType: z.string(),
      notBefore: z.string(),
      notAfter: z.string(),
      /** Until when the OCSP response beside it is good. */
      ocspNextUpdate: z.string().optional(),
    }),
  ),
});

/** TLS of a listener, without its counts. */
export type ProxyTlsStatus = z.output<typeof tlsStatusSchema>;

const workerSchema = z.object({
  /** 0 up; a successor has the place of the one before it. */
  place: count,
  pid: z.int(),
  /** RFC 3339 time. */
  startedAt: z.string(),
  state: z.enum(['serving', 'draining']),
  activeConnections: count,
  /** Since it was started, as those that follow. */
  connections: count,
  requests: count,
});

const datagramsSchema = z.object({
  /** From clients, and their payload. */
  received: count,
  receivedBytes: count,
  /** To clients. */
  sent: count,
  sentBytes: count,
  /** Sessions that got another backend because nobody was there (ICMP port unreachable). */
  repicked: count,
  /** Sessions that ended for new ones. */
  evicted: count,
  /** Datagrams that went no further, by DatagramDrop. */
  dropped: z.record(z.string(), count),
});

/** Datagrams of a listener of mode udp. */
export type ProxyDatagrams = z.output<typeof datagramsSchema>;

/** One process that serves connections. */
export type ProxyWorker = z.output<typeof workerSchema>;

/**
 * Body of `GET /v1/status`. Counters are those of all workers, those that are gone too; they survive changes of
 * desired state and, while a worker lives, the supervisor.
 */
export const proxyStatusSchema = z.object({
  /** Of the supervisor. */
  pid: z.int(),
  /** RFC 3339 time. */
  startedAt: z.string(),
  /** How many desired states were taken; 0: none yet. */
  revision: count,
  /** Whether the listening sockets are in the pinned map that the kernel steers by. */
  registered: z.boolean(),
  /** Empty: a proxy of one process, of a version before there were workers. */
  workers: z.array(workerSchema).default([]),
  /** How many are wanted. */
  wantedWorkers: count.default(1),
  /** Workers that died unasked. */
  deaths: count.default(0),
  /** Connections that arrived for an address and port without a listener; they were reset. */
  unknownConnections: count,
  listeners: z.array(
    z.object({
      name: z.string(),
      address: z.string(),
      port: z.int(),
      activeConnections: count,
      /** Accepted ones, without the denied. */
      connections: count,
      /** Refused by the access list before a byte was read. */
      denied: count,
      requests: count,
      /** Further tries of requests and connections that a backend had failed. */
      retries: count.default(0),
      /** Those that were not tried again for want of budget. */
      retriesRefused: count.default(0),
      /** Connections (where the mode is not `http`) for which there was no route, or no backend that could be reached. */
      unserved: count.default(0),
      /** With `clientSource`: times that a backend was passed over because of it, by SourceRefusal. */
      sourceRefused: z.record(z.string(), count).optional(),
      /** Tunnels that the kernel has relayed, those it could not, and those reset because too much waited there. */
      kernelRelays: count.default(0),
      kernelRelaysRefused: count.default(0),
      kernelRelaysOverLimit: count.default(0),
      /** By class of status, `1xx` (switching protocols) to `5xx`. */
      responses: z.record(z.string(), count),
      /** Of mode udp, whose sessions are counted as connections. */
      datagrams: datagramsSchema.optional(),
      tls: tlsStatusSchema
        .extend({
          /** Handshakes that were done, by version such as `TLSv1.3`. */
          handshakes: z.record(z.string(), count),
          /** Those of them that resumed a session. */
          resumed: count,
          /** Handshakes that failed, by reason: of OpenSSL, or `timeout`. */
          failures: z.record(z.string(), count),
        })
        .optional(),
      backends: z.array(
        z.object({
          address: z.string(),
          port: z.int(),
          /** Times that it was chosen, second tries included. */
          requests: count,
          /** Times that it could not be reached, broke off, answered no HTTP or not in time. */
          errors: count,
          /** Why TLS with it failed last. */
          tlsProblem: z.string().optional(),
        }),
      ),
    }),
  ),
});

/** What the proxy does and has done. */
export type ProxyStatus = z.output<typeof proxyStatusSchema>;

/** Body of a 400 answer (RFC 9457, application/problem+json). */
export const proxyProblemSchema = z.object({
  title: z.string(),
  detail: z.string(),
  problems: z.array(z.object({ path: z.string(), message: z.string() })).default([]),
});
