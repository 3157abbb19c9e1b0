import { formatIpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { internetChecksum } from './checksum.ts';
import { ethernet, etherType, join, long, protocolNumber, transportChecksum, word } from './packet.ts';

/** Outer headers, built apart from the program: fixtures hold its packets against these. */

/** IP protocol numbers of what is within. */
export const withinNumber = { 4: 4, 6: 41 } as const;

/** What an outer header is made of. */
export interface OuterParts {
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly trafficClass: number;
  /** IPv6 alone. */
  readonly flowLabel?: number;
  readonly ttl?: number;
  readonly gue?: {
    readonly sourcePort: number;
    readonly variant: 0 | 1;
    readonly hasChecksum?: boolean;
    /** Of packets between hosts that share connections for the proxy: what is said in private data. */
    readonly mark?: number;
  };
  readonly vxlan?: VxlanParts;
}

/** What VXLAN puts around a packet (RFC 7348). */
export interface VxlanParts {
  readonly sourcePort: number;
  readonly vni: number;
  readonly destinationMac: string;
  readonly sourceMac: string;
  readonly hasChecksum?: boolean;
}

/** A packet of IP around `inner`, also one of IP. */
export function encapsulated(parts: OuterParts, inner: Uint8Array): Uint8Array {
  const within = (inner[0] ?? 0) >> 4 === 4 ? withinNumber[4] : withinNumber[6];
  const { gue: gueParts, vxlan: vxlanParts } = parts;
  const body =
    vxlanParts !== undefined
      ? vxlan(parts, vxlanParts, inner)
      : gueParts !== undefined
        ? gue(parts, gueParts, within, inner)
        : inner;
  const protocol = body === inner ? within : protocolNumber.udp;
  const ttl = parts.ttl ?? 64;
  const source = addressBytes(parts.source);
  const destination = addressBytes(parts.destination);
  if (parts.family === 6) {
    const first = (0x60000000 | (parts.trafficClass << 20) | (parts.flowLabel ?? 0)) >>> 0;
    return join(long(first), word(body.length), Uint8Array.of(protocol, ttl), source, destination, body);
  }
  const header = join(
    Uint8Array.of(0x45, parts.trafficClass),
    word(20 + body.length),
    word(0),
    word(0x4000),
    Uint8Array.of(ttl, protocol),
    word(0),
    source,
    destination,
  );
  header.set(word(internetChecksum(header)), 10);
  return join(header, body);
}

function gue(
  parts: OuterParts,
  { sourcePort, variant, hasChecksum, mark }: NonNullable<OuterParts['gue']>,
  within: number,
  inner: Uint8Array,
): Uint8Array {
  const header =
    mark === undefined ? Uint8Array.of(0, within, 0, 0) : Uint8Array.of(1, within, 0, 0, mark, 0, 0, 0);
  const payload = variant === 1 ? inner : join(header, inner);
  return datagramOf(parts, sourcePort, 6080, payload, hasChecksum);
}

function vxlan(parts: OuterParts, given: VxlanParts, inner: Uint8Array): Uint8Array {
  const type = (inner[0] ?? 0) >> 4 === 4 ? etherType.ipv4 : etherType.ipv6;
  const frame = ethernet({ destination: given.destinationMac, source: given.sourceMac, type }, inner);
  const header = join(long(0x08000000), long(given.vni * 256));
  return datagramOf(parts, given.sourcePort, 4789, join(header, frame), given.hasChecksum);
}

function datagramOf(
  parts: OuterParts,
  sourcePort: number,
  destinationPort: number,
  payload: Uint8Array,
  hasChecksum: boolean | undefined,
): Uint8Array {
  const datagram = join(word(sourcePort), word(destinationPort), word(8 + payload.length), word(0), payload);
  if (hasChecksum === true) {
    const checksum = transportChecksum(parts, protocolNumber.udp, datagram);
    datagram.set(word(checksum === 0 ? 0xffff : checksum), 6);
  }
  return datagram;
}

/** What the sender of an outer header chose by the flow. */
export interface SeenOuter {
  readonly family: 4 | 6;
  readonly source: string;
  readonly flowLabel: number;
  readonly sourcePort: number;
}

/** Reads that from a frame, from behind its Ethernet header and tags. */
export function readOuter(frame: Uint8Array): SeenOuter {
  const network = networkOf(frame);
  const view = new DataView(network.buffer, network.byteOffset);
  const family = view.getUint8(0) >> 4 === 4 ? 4 : 6;
  const source = family === 4 ? network.slice(12, 16) : network.slice(8, 24);
  return {
    family,
    source: formatIpAddress(ipAddressFromBytes(source)),
    flowLabel: family === 4 ? 0 : view.getUint32(0) & 0xfffff,
    sourcePort: view.getUint16(family === 4 ? 20 : 40),
  };
}

/** The network packet of a frame. */
export function networkOf(frame: Uint8Array): Uint8Array {
  return frame.subarray(networkOffset(frame));
}

/** Where the network packet begins. */
export function networkOffset(frame: Uint8Array): number {
  const view = new DataView(frame.buffer, frame.byteOffset);
  let at = 12;
  while (view.getUint16(at) === etherType.vlan || view.getUint16(at) === etherType.qinq) at += 4;
  return at + 2;
}

function addressBytes(text: string): Uint8Array {
  return text.includes(':') ? six(text) : Uint8Array.from(text.split('.').map(Number));
}

function six(text: string): Uint8Array {
  const [left = '', right] = text.split('::');
  const words = (part: string) =>
    part
      .split(':')
      .filter(Boolean)
      .map((hex) => Number.parseInt(hex, 16));
  const head = words(left);
  const tail = right === undefined ? [] : words(right);
  const middle = new Array<number>(8 - head.length - tail.length).fill(0);
  return join(...[...head, ...middle, ...tail].map(word));
}
