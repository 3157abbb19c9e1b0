import type { AdvertisedRoute, ReceivedRoute, RoutePage } from '@l4d/announcer/core/route-views.ts';
import { askBgp } from './bgp-source.ts';
import type { Ctl } from './ctl.ts';
import { renderTable } from './table.ts';

/** Which way the routes go. */
export type RouteDirection = 'advertised' | 'received';

/** Routes of one peer as they are shown. */
export interface PeerRoutes {
  readonly peer: string;
  readonly total: number;
  readonly routes: readonly (AdvertisedRoute | ReceivedRoute)[];
}

/** All routes of a peer, page by page. */
export async function allRoutes(ctl: Ctl, peer: string, direction: RouteDirection): Promise<PeerRoutes> {
  const routes: (AdvertisedRoute | ReceivedRoute)[] = [];
  for (let offset: number | undefined = 0; ; ) {
    const path: string = `/peers/${encodeURIComponent(peer)}/${direction}?offset=${offset}&limit=10000`;
    const page = (await askBgp(ctl, 'GET', path)) as RoutePage<AdvertisedRoute | ReceivedRoute>;
    routes.push(...page.routes);
    offset = page.nextOffset;
    if (offset === undefined) return { peer, total: page.total, routes };
  }
}

const columns = [
  { head: '  Network' },
  { head: 'Next Hop' },
  { head: 'Metric', right: true },
  { head: 'LocPrf', right: true },
  { head: 'Weight', right: true },
  { head: 'Path' },
];

const originCodes: Readonly<Record<string, string>> = { IGP: 'i', EGP: 'e', incomplete: '?' };

/** Routes in the columns of FRR's `show bgp neighbors … advertised-routes`; `wide` adds the attributes. */
export function routesText(
  { peer, total, routes }: PeerRoutes,
  direction: RouteDirection,
  wide = false,
): string {
  const what = direction === 'advertised' ? `told to ${peer}` : `that ${peer} announces (none is imported)`;
  if (routes.length === 0) return `no prefixes ${what}\n`;
  const shown = wide ? [...columns, { head: 'Communities' }] : columns;
  const rows = routes.map((route) =>
    'nextHop' in route ? advertisedRow(route, wide) : [`  ${route.prefix}`],
  );
  const used = direction === 'advertised' ? shown : [{ head: '  Network' }];
  return `${renderTable(used, rows)}\nTotal number of prefixes ${total} ${what}\n`;
}

function advertisedRow(route: AdvertisedRoute, wide: boolean): string[] {
  const { prefix, pathId, nextHop, med, localPref, asPath, origin, attributes } = route;
  const communities = attributes.flatMap(({ value }) => ('communities' in value ? value.communities : []));
  return [
    `*>${prefix}${pathId === undefined ? '' : `#${pathId}`}`,
    nextHop,
    med === undefined ? '' : String(med),
    localPref === undefined ? '' : String(localPref),
    '0',
    `${asPath} ${originCodes[origin] ?? '?'}`.trim(),
    ...(wide ? [communities.join(' ')] : []),
  ];
}
