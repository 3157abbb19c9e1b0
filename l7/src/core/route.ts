/** A compiled route: where a request goes that names this host and path. */
export interface Route<Pool> {
  readonly host: HostMatch;
  /** Prefix without its final slash; empty matches every path. */
  readonly pathPrefix: string;
  readonly pool: Pool;
}

/** `exact` matches one name; `suffix` (".example" of "*.example") one or more labels before it. */
export type HostMatch =
  | { readonly kind: 'exact'; readonly name: string }
  | { readonly kind: 'suffix'; readonly suffix: string }
  | { readonly kind: 'any' };

/** Reads a host as desired state writes it: a name, `*.suffix`, or nothing for every host. */
export function hostMatch(pattern: string | undefined): HostMatch {
  if (pattern === undefined) return { kind: 'any' };
  const lower = pattern.toLowerCase();
  return lower.startsWith('*.')
    ? { kind: 'suffix', suffix: lower.slice(1) }
    : { kind: 'exact', name: lower.replace(/\.$/, '') };
}

/**
 * Routes in the order in which they are asked: exact hosts, then suffixes from the longest, then
 * routes for every host; among equals the longer path prefix, then the one written first.
 */
export function orderRoutes<Pool>(routes: readonly Route<Pool>[]): readonly Route<Pool>[] {
  return routes.toSorted(
    (a, b) => hostRank(b.host) - hostRank(a.host) || b.pathPrefix.length - a.pathPrefix.length,
  );
}

/** The first of ordered routes that matches; undefined: the answer is 404. Host in lower case, path normalized. */
export function selectRoute<Pool>(
  ordered: readonly Route<Pool>[],
  host: string,
  path: string,
): Route<Pool> | undefined {
  return ordered.find((route) => hostMatches(route.host, host) && pathMatches(route.pathPrefix, path));
}

function hostRank(host: HostMatch): number {
  if (host.kind === 'exact') return Number.MAX_SAFE_INTEGER;
  return host.kind === 'suffix' ? host.suffix.length : 0;
}

/** Whether a host in lower case is one that is meant. */
export function hostMatches(match: HostMatch, host: string): boolean {
  if (match.kind === 'any') return true;
  if (match.kind === 'exact') return match.name === host;
  return host.length > match.suffix.length && host.endsWith(match.suffix);
}

/** On segment boundaries: /api matches /api and /api/x, never /apix. */
function pathMatches(prefix: string, path: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/');
}

/** A path prefix as routes hold it: `/api/` and `/api` are the same, `/` is every path. */
export function canonicalPathPrefix(prefix: string | undefined): string {
  return (prefix ?? '').replace(/\/+$/, '');
}
