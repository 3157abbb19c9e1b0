/** A route of the kernel's main table. */
export interface KernelRoute {
  /** `default`, an address, or a prefix. */
  readonly destination: string;
  /** Who made it: `bgp`, `kernel`, `static`, `boot`, ... */
  readonly protocol: string;
  readonly nextHops: readonly {
    readonly gateway?: string;
    readonly device: string;
    readonly weight: number;
  }[];
}

/** Reads what `ip -j route show` prints. An ECMP route has several next hops; throws for other text. */
export function parseKernelRoutes(text: string): KernelRoute[] {
  const routes = text.trim() === '' ? [] : (JSON.parse(text) as readonly RouteJson[]);
  return routes.map((route) => ({
    destination: route.dst,
    protocol: route.protocol ?? 'unspec',
    nextHops: (route.nexthops ?? [route]).map((hop) => {
      const gateway = hop.gateway ?? hop.via?.host;
      return {
        ...(gateway === undefined ? {} : { gateway }),
        device: hop.dev ?? '',
        weight: hop.weight ?? 1,
      };
    }),
  }));
}

interface HopJson {
  readonly gateway?: string;
  /** A next hop of the other family. */
  readonly via?: { readonly host: string };
  readonly dev?: string;
  readonly weight?: number;
}

interface RouteJson extends HopJson {
  readonly dst: string;
  readonly protocol?: string;
  readonly nexthops?: readonly HopJson[];
}
