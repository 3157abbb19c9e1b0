/** Routes of one session as they are shown. */
import { formatIpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { OutRoute } from './adj-rib-out.ts';
import type { AttributeJson } from './codec/attribute-json.ts';
import { attributeToJson } from './codec/attribute-json.ts';

/** A route that the peer was told of. */
export interface AdvertisedRoute {
  readonly prefix: string;
  readonly pathId?: number;
  readonly nextHop: string;
  readonly origin: string;
  /** As `65001 65001`; empty towards internal peers. */
  readonly asPath: string;
  readonly med?: number;
  readonly localPref?: number;
  /** All path attributes, also those above. */
  readonly attributes: readonly AttributeJson[];
}

/** A page of routes. */
export interface RoutePage<Route> {
  readonly peer: string;
  /** All there are, on this page or not. */
  readonly total: number;
  readonly routes: readonly Route[];
  /** There is more: `offset` of the next page. */
  readonly nextOffset?: number;
}

/** A prefix that the peer has announced; none is imported, and its attributes are not kept. */
export interface ReceivedRoute {
  readonly prefix: string;
}

const originNames = ['IGP', 'EGP', 'incomplete'];

/** The view of a route in Adj-RIB-Out. */
export function advertisedRoute({ prefix, attributes, mpNextHop }: OutRoute): AdvertisedRoute {
  let nextHop = mpNextHop === undefined ? '' : formatIpAddress(ipAddressFromBytes(mpNextHop.subarray(0, 16)));
  let origin = '';
  let asPath = '';
  const numbers: { med?: number; localPref?: number } = {};
  for (const { value } of attributes) {
    if (value.kind === 'next-hop') nextHop = formatIpAddress(value.address);
    else if (value.kind === 'origin') origin = originNames[value.origin] ?? String(value.origin);
    else if (value.kind === 'as-path')
      asPath = value.segments.flatMap(({ asNumbers }) => asNumbers).join(' ');
    else if (value.kind === 'med') numbers.med = value.med;
    else if (value.kind === 'local-pref') numbers.localPref = value.localPref;
  }
  return {
    prefix: formatIpPrefix(prefix),
    ...(prefix.pathId === undefined ? {} : { pathId: prefix.pathId }),
    nextHop,
    origin,
    asPath,
    ...numbers,
    attributes: attributes.map(attributeToJson),
  };
}

/** The routes from `offset` on, at most `limit`; only those are made. */
export function pageOf<Source, Route>(
  peer: string,
  source: { readonly size: number; values(): Iterable<Source> },
  offset: number,
  limit: number,
  view: (one: Source) => Route,
): RoutePage<Route> {
  const routes: Route[] = [];
  let index = 0;
  for (const one of source.values()) {
    if (routes.length >= limit) break;
    if (index++ >= offset) routes.push(view(one));
  }
  const next = offset + routes.length;
  return { peer, total: source.size, routes, ...(next < source.size ? { nextOffset: next } : {}) };
}
