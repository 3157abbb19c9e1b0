import { type IpAddress, type IpFamily, ipAddressFromBytes } from '../ip-address.ts';
import type { IpPrefix } from '../ip-prefix.ts';
import { err, ok, type Result } from '../result.ts';
import { decodeAttributes, decodeU32, encodePayload, encodeU32, viewOf } from './codec.ts';
import { addressLength, familyNumber } from './codec-address.ts';
import { headerLength, ROUTE_ONLINK, routeProtocol, routeScope, routeTable, routeType } from './constants.ts';

/** A route to make or to remove. */
export interface RouteSpec {
  readonly destination: IpPrefix;
  /** Table number; main (254) by default, local (255) for a route of type local. */
  readonly table?: number;
  /** `unicast` by default. */
  readonly type?: 'unicast' | 'local' | 'blackhole' | 'unreachable';
  readonly gateway?: IpAddress;
  /** The gateway counts as on the link even when no route says so. */
  readonly onLink?: boolean;
  readonly interfaceIndex?: number;
  readonly preferredSource?: IpAddress;
  /** Metric; the kernel's default when missing. */
  readonly priority?: number;
  /** RTPROT_*; static (4) by default. */
  readonly protocol?: number;
}

/** A route as the kernel tells it. */
export interface Route {
  readonly destination: IpPrefix;
  readonly table: number;
  /** RTN_* number, see `routeType`. */
  readonly type: number;
  readonly gateway: IpAddress | undefined;
  readonly onLink: boolean;
  /** Undefined for a blackhole or a multipath route. */
  readonly interfaceIndex: number | undefined;
  /** Interfaces of a multipath route, one a next hop, in the kernel's order; empty for any other. */
  readonly pathInterfaces: readonly number[];
  readonly preferredSource: IpAddress | undefined;
  readonly priority: number | undefined;
  readonly protocol: number;
}

/** Bytes of struct rtnexthop: length, flags, hops, interface index; attributes of the next hop follow. */
const nextHopLength = 8;

const attribute = {
  DST: 1,
  OIF: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFSRC: 7,
  MULTIPATH: 9,
  TABLE: 15,
  VIA: 18,
} as const;

/** Payload of RTM_GETROUTE for a dump; a table is honoured with strict checking. */
export function encodeRouteRequest(family: IpFamily, table?: number): Uint8Array {
  const header = new Uint8Array(headerLength.ROUTE);
  header[0] = familyNumber(family);
  return encodePayload(header, table === undefined ? [] : [[attribute.TABLE, encodeU32(table)]]);
}

/** Payload of RTM_GETROUTE for the one route that packets to an address take. */
export function encodeRouteLookup(address: IpAddress): Uint8Array {
  const header = new Uint8Array(headerLength.ROUTE);
  header[0] = familyNumber(address.family);
  header[1] = address.bytes.length * 8;
  return encodePayload(header, [[attribute.DST, address.bytes]]);
}

/** Payload of RTM_NEWROUTE and RTM_DELROUTE. */
export function encodeRoute(route: RouteSpec): Uint8Array {
  const type = route.type ?? 'unicast';
  const table = route.table ?? (type === 'local' ? routeTable.LOCAL : routeTable.MAIN);
  const header = new Uint8Array(headerLength.ROUTE);
  const view = new DataView(header.buffer);
  view.setUint8(0, familyNumber(route.destination.address.family));
  view.setUint8(1, route.destination.length);
  // Numbers above 255 live in RTA_TABLE alone.
  view.setUint8(4, table < 256 ? table : 0);
  view.setUint8(5, route.protocol ?? routeProtocol.STATIC);
  view.setUint8(6, scopeOf(route));
  view.setUint8(7, routeType[type]);
  view.setUint32(8, route.onLink === true ? ROUTE_ONLINK : 0, true);
  const attributes: [number, Uint8Array][] = [[attribute.TABLE, encodeU32(table)]];
  if (route.destination.length > 0) attributes.push([attribute.DST, route.destination.address.bytes]);
  if (route.gateway !== undefined) attributes.push([attribute.GATEWAY, route.gateway.bytes]);
  if (route.interfaceIndex !== undefined) attributes.push([attribute.OIF, encodeU32(route.interfaceIndex)]);
  if (route.preferredSource !== undefined) attributes.push([attribute.PREFSRC, route.preferredSource.bytes]);
  if (route.priority !== undefined) attributes.push([attribute.PRIORITY, encodeU32(route.priority)]);
  return encodePayload(header, attributes);
}

/** Payload of RTM_NEWROUTE or RTM_DELROUTE; `ok(undefined)` for a family that is not IP. */
export function decodeRoute(payload: Uint8Array): Result<Route | undefined, string> {
  const attributes = decodeAttributes(payload, headerLength.ROUTE);
  if (!attributes.ok) return attributes;
  const view = viewOf(payload);
  const length = addressLength(view.getUint8(0));
  if (length < 0) return ok(undefined);
  const at = (type: number): IpAddress | undefined | 'bad' => {
    const bytes = attributes.value.get(type);
    if (bytes === undefined) return undefined;
    return bytes.length === length ? ipAddressFromBytes(bytes) : 'bad';
  };
  const destination = at(attribute.DST) ?? ipAddressFromBytes(new Uint8Array(length));
  const gateway = at(attribute.GATEWAY) ?? viaOf(attributes.value.get(attribute.VIA));
  const preferredSource = at(attribute.PREFSRC);
  const prefixLength = view.getUint8(1);
  if (destination === 'bad' || gateway === 'bad' || preferredSource === 'bad')
    return err('a route with a misshapen address');
  if (prefixLength > length * 8) return err(`a route with prefix length ${prefixLength}`);
  const pathInterfaces = pathInterfacesOf(attributes.value.get(attribute.MULTIPATH));
  if (pathInterfaces === 'bad') return err('a route with misshapen next hops');
  return ok({
    destination: { address: destination, length: prefixLength },
    table: decodeU32(attributes.value.get(attribute.TABLE)) ?? view.getUint8(4),
    type: view.getUint8(7),
    gateway,
    onLink: (view.getUint32(8, true) & ROUTE_ONLINK) !== 0,
    interfaceIndex: decodeU32(attributes.value.get(attribute.OIF)),
    pathInterfaces,
    preferredSource,
    priority: decodeU32(attributes.value.get(attribute.PRIORITY)),
    protocol: view.getUint8(5),
  });
}

/** RTA_MULTIPATH: struct rtnexthop with its attributes, each padded to 4 bytes. */
function pathInterfacesOf(bytes: Uint8Array | undefined): number[] | 'bad' {
  if (bytes === undefined) return [];
  const view = viewOf(bytes);
  const found: number[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const left = bytes.length - offset;
    if (left < nextHopLength) return 'bad';
    const length = view.getUint16(offset, true);
    if (length < nextHopLength || length > left) return 'bad';
    found.push(view.getInt32(offset + 4, true));
    offset += (length + 3) & ~3;
  }
  return found;
}

/** RTA_VIA: a gateway of another family than the route, behind its two bytes of family. */
function viaOf(bytes: Uint8Array | undefined): IpAddress | undefined | 'bad' {
  if (bytes === undefined) return undefined;
  return bytes.length === 6 || bytes.length === 18 ? ipAddressFromBytes(bytes.slice(2)) : 'bad';
}

/** The scope that ip-route(8) gives: local is host, a unicast without a gateway (IPv4) is link. */
function scopeOf(route: RouteSpec): number {
  if (route.type === 'local') return routeScope.HOST;
  const isRefusal = route.type === 'blackhole' || route.type === 'unreachable';
  const direct = route.gateway === undefined && !isRefusal;
  return direct && route.destination.address.family === 4 ? routeScope.LINK : routeScope.UNIVERSE;
}
