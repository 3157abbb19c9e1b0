import { z } from 'zod';
import type { ConfigProblem } from './errors.ts';
import { formatIpAddress, fromMappedBytes, parseIpAddress, toMappedBytes } from './ip-address.ts';
import { formatIpPrefix, parseIpPrefix } from './ip-prefix.ts';
import { err, ok, type Result } from './result.ts';

/*
 * The proxy's API on its unix socket (HTTP and JSON), shared by the proxy and by those who speak
 * to it:
 *
 *   PUT /v1/desired   the whole desired state; idempotent; 200 { revision }, 400 problem+json
 *   GET /v1/status    what the proxy does and has done
 */

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

const poolSchema = z.strictObject({
  name,
  /** The healthy ones: the proxy does not check, it goes on to the next when one does not answer. */
  backends: z.array(backendSchema).max(10_000).default([]),
});

const routeSchema = z.strictObject({
  host: hostPattern.optional(),
  pathPrefix: pathPrefix.optional(),
  pool: name,
});

const listenerSchema = z.strictObject({
  name,
  address,
  port,
  access: z
    .strictObject({ allow: z.array(prefix).default([]), deny: z.array(prefix).default([]) })
    .prefault({}),
  /** Empty: everything goes to the pool named "default", where there is one. */
  routes: z.array(routeSchema).max(10_000).default([]),
  pools: z.array(poolSchema).max(1000).default([]),
  timeouts: z
    .strictObject({
      /** Until a backend has accepted the connection; then the next backend is tried. */
      connectMs: z.int().min(1).max(600_000).default(5000),
      /** Without a byte from the backend that was given the request. */
      responseMs: z.int().min(1).max(3_600_000).default(60_000),
    })
    .prefault({}),
});

/** The desired state of the proxy as `PUT /v1/desired` takes it. */
export const proxyDesiredSchema = z
  .strictObject({ listeners: z.array(listenerSchema).max(65_536) })
  .superRefine((desired, context) => {
    const refuse = (path: (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    const names = new Set<string>();
    const places = new Set<string>();
    for (const [i, listener] of desired.listeners.entries()) {
      const place = `${listener.address} port ${listener.port}`;
      if (names.has(listener.name)) refuse(['listeners', i, 'name'], `"${listener.name}" is used twice`);
      if (places.has(place)) refuse(['listeners', i, 'address'], `${place} has a listener already`);
      names.add(listener.name);
      places.add(place);
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

/** Body of `GET /v1/status`. Counters start at 0 with the process and survive changes of desired state. */
export const proxyStatusSchema = z.object({
  pid: z.int(),
  /** RFC 3339 time. */
  startedAt: z.string(),
  /** How many desired states were taken; 0: none yet. */
  revision: count,
  /** Whether the listening sockets are in the pinned map that the kernel steers by. */
  registered: z.boolean(),
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
      /** By class of status, `1xx` (switching protocols) to `5xx`. */
      responses: z.record(z.string(), count),
      backends: z.array(
        z.object({
          address: z.string(),
          port: z.int(),
          /** Times that it was chosen, second tries included. */
          requests: count,
          /** Times that it could not be reached, broke off, answered no HTTP or not in time. */
          errors: count,
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
