/** Frames of NAT, each built from nothing: what the program makes of one must be the other, to the byte. */
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ownMac } from './data-plane.ts';
import {
  ethernet,
  etherType,
  icmp4,
  icmp6,
  ipv4,
  ipv6,
  protocolNumber,
  type TcpParts,
  tcp,
  tcpFlag,
  udp,
} from './packet.ts';
import { backendMacs, clientPort, type Family, type FrameChanges, routerMac, vipPort } from './world.ts';

/** This host's address and the one port of NAT in the fixtures. */
export const natSource = { ipv4: '10.0.0.11', ipv6: 'fd00::11' } as const;
export const natPort = 20_000;
/** Where the fixtures' backends listen. */
export const backendPort = 8080;

/** Addresses and ports of a packet. */
export interface Ends {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** Who a packet of a connection goes from and to: before and behind the host, in both directions. */
export function endsOfConnection(family: Family, n: 0 | 1 = 0, port = natPort) {
  const client = { address: family.client, port: clientPort };
  const vip = { address: family.vip, port: vipPort };
  const host = { address: natSource[family.name], port };
  const backend = { address: family.backends[n], port: backendPort };
  const between = (from: typeof client, to: typeof client): Ends => ({
    source: from.address,
    sourcePort: from.port,
    destination: to.address,
    destinationPort: to.port,
  });
  return {
    request: between(client, vip),
    translatedRequest: between(host, backend),
    answer: between(backend, host),
    translatedAnswer: between(vip, client),
  };
}

/** One packet's content, whoever it goes between. */
export type Content =
  | { readonly kind: 'tcp'; readonly parts?: Partial<TcpParts>; readonly payload?: Uint8Array }
  | { readonly kind: 'udp'; readonly payload: Uint8Array; readonly isUnsummed?: boolean };

/** The transport message of that content. */
export function transportOf(ends: Ends, content: Content): Uint8Array {
  if (content.kind === 'tcp') {
    const ports = { sourcePort: ends.sourcePort, destinationPort: ends.destinationPort };
    return tcp(
      ends,
      { flags: tcpFlag.ack, acknowledged: 0x55667788, ...content.parts, ...ports },
      content.payload,
    );
  }
  const datagram = udp(ends, ends.sourcePort, ends.destinationPort, content.payload);
  if (content.isUnsummed === true) datagram.fill(0, 6, 8);
  return datagram;
}

/** The network packet of that content. */
export function packetOf(ends: Ends, content: Content, changes: FrameChanges = {}): Uint8Array {
  const transport = transportOf(ends, content);
  return wrapped(ends, content.kind === 'tcp' ? protocolNumber.tcp : protocolNumber.udp, transport, changes);
}

function wrapped(ends: Ends, protocol: number, message: Uint8Array, changes: FrameChanges): Uint8Array {
  const { destinationMac: _, tags: __, ...network } = changes;
  const addresses = { source: ends.source, destination: ends.destination };
  return ipAddress(ends.source).family === 4
    ? ipv4({ ...addresses, protocol, ...network }, message)
    : ipv6({ ...addresses, nextHeader: protocol, ...network }, message);
}

/** Who hands a frame to whom, and how many hops it has left. */
export interface Hop {
  readonly from: string;
  readonly to: string;
  readonly hops: number;
}

/** The four legs of a connection. */
export const leg = {
  fromClient: { from: routerMac, to: ownMac, hops: 63 },
  toBackend: { from: ownMac, to: backendMacs[0], hops: 62 },
  fromBackend: { from: backendMacs[0], to: ownMac, hops: 63 },
  toClient: { from: ownMac, to: routerMac, hops: 62 },
} as const satisfies Record<string, Hop>;

/** A frame around a network packet's content. */
export function frameOf(hop: Hop, ends: Ends, content: Content, changes: FrameChanges = {}): Uint8Array {
  return around(
    hop,
    packetOf(ends, content, { ttl: hop.hops, hopLimit: hop.hops, ...changes }),
    changes.tags,
  );
}

/** An ICMP error from `reporter` about a packet between `quoted`, of which so many transport bytes are quoted. */
export function errorFrameOf(
  hop: Hop,
  ends: { readonly source: string; readonly destination: string },
  kind: { readonly type: number; readonly code: number; readonly rest?: Uint8Array },
  quoted: Ends,
  content: Content,
  transportBytes?: number,
  changes: FrameChanges = {},
): Uint8Array {
  const whole = packetOf(quoted, content, changes);
  const transport = transportOf(quoted, content).length;
  const part = whole.slice(0, whole.length - transport + (transportBytes ?? transport));
  const rest = kind.rest ?? Uint8Array.of(0, 0, 5, 120);
  const isFour = ipAddress(ends.source).family === 4;
  const message = isFour
    ? icmp4(kind.type, kind.code, rest, part)
    : icmp6(ends, kind.type, kind.code, rest, part);
  const protocol = isFour ? protocolNumber.icmp : protocolNumber.icmp6;
  const outer = { sourcePort: 0, destinationPort: 0, ...ends };
  return around(hop, wrapped(outer, protocol, message, { ttl: hop.hops, hopLimit: hop.hops }));
}

function around(hop: Hop, packet: Uint8Array, tags?: FrameChanges['tags']): Uint8Array {
  const type = (packet[0] ?? 0) >> 4 === 4 ? etherType.ipv4 : etherType.ipv6;
  return ethernet(
    { destination: hop.to, source: hop.from, type, ...(tags === undefined ? {} : { tags }) },
    packet,
  );
}
