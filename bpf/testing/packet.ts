import { type IpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { parseMacAddress } from '@l4d/kit/mac-address.ts';
import { internetChecksum } from './checksum.ts';

/**
 * Builds frames from their parts, right by default: lengths and checksums are filled in unless a
 * part says otherwise, which is how fixtures make wrong ones.
 */

/** Ethertypes and IP protocol numbers (IANA) that fixtures use. */
export const etherType = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, qinq: 0x88a8, ipv6: 0x86dd } as const;
export const protocolNumber = {
  hopByHop: 0,
  icmp: 1,
  tcp: 6,
  udp: 17,
  routing: 43,
  fragment: 44,
  icmp6: 58,
  noNext: 59,
  authentication: 51,
  destinationOptions: 60,
} as const;

/** TCP flags in the header's 14th byte. */
export const tcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;

/** Joins parts to one array. */
export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Bytes of an address given as text. */
export function mac(text: string): Uint8Array {
  const bytes = parseMacAddress(text);
  if (bytes === undefined) throw new TypeError(`${text} is no MAC address`);
  return bytes;
}

/** `length` bytes that count up from `first`. */
export function counting(length: number, first = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => first + index);
}

/** What stands around a network packet. */
export interface EthernetParts {
  readonly destination: string;
  readonly source: string;
  readonly type: number;
  /** Outer tag first: ethertype of the tag and VLAN id. */
  readonly tags?: ReadonlyArray<readonly [type: number, id: number]>;
}

/** An Ethernet II frame without its frame check sequence. */
export function ethernet(parts: EthernetParts, payload: Uint8Array): Uint8Array {
  const tags = (parts.tags ?? []).map(([type, id]) => join(word(type), word(id)));
  return join(mac(parts.destination), mac(parts.source), ...tags, word(parts.type), payload);
}

/** An IPv4 header's fields; lengths and checksum follow from the content when they are not given. */
export interface Ipv4Parts {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ttl?: number;
  /** Multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly identification?: number;
  /** Flags and offset, such as 0x2000 for "more fragments". */
  readonly fragment?: number;
  readonly version?: number;
  readonly headerWords?: number;
  readonly totalLength?: number;
}

/** An IPv4 packet. */
export function ipv4(parts: Ipv4Parts, payload: Uint8Array): Uint8Array {
  const options = parts.options ?? new Uint8Array(0);
  const words = parts.headerWords ?? 5 + options.length / 4;
  const header = join(
    Uint8Array.of(((parts.version ?? 4) << 4) | words, 0),
    word(parts.totalLength ?? 20 + options.length + payload.length),
    word(parts.identification ?? 0x1d0f),
    word(parts.fragment ?? 0x4000),
    Uint8Array.of(parts.ttl ?? 63, parts.protocol),
    word(0),
    ipAddress(parts.source).bytes,
    ipAddress(parts.destination).bytes,
    options,
  );
  header.set(word(internetChecksum(header)), 10);
  return join(header, payload);
}

/** An IPv6 header's fields. */
export interface Ipv6Parts {
  readonly source: string;
  readonly destination: string;
  readonly nextHeader: number;
  readonly hopLimit?: number;
  /** Extension headers in order: type and content after the first two bytes, 6 + 8n bytes. */
  readonly extensions?: ReadonlyArray<readonly [type: number, content: Uint8Array]>;
  readonly version?: number;
  readonly payloadLength?: number;
}

/** An IPv6 packet. */
export function ipv6(parts: Ipv6Parts, payload: Uint8Array): Uint8Array {
  const chain = parts.extensions ?? [];
  const types = [...chain.map(([type]) => type), parts.nextHeader];
  const extensions = chain.map(([type, content], index) => {
    // The fragment header's second byte is reserved; the others hold their length.
    const length =
      type === protocolNumber.fragment
        ? 0
        : type === protocolNumber.authentication
          ? (content.length + 2) / 4 - 2
          : (content.length + 2) / 8 - 1;
    return join(Uint8Array.of(types[index + 1] ?? 0, length), content);
  });
  const body = join(...extensions, payload);
  return join(
    Uint8Array.of((parts.version ?? 6) << 4, 0, 0, 0),
    word(parts.payloadLength ?? body.length),
    Uint8Array.of(types[0] ?? 0, parts.hopLimit ?? 63),
    ipAddress(parts.source).bytes,
    ipAddress(parts.destination).bytes,
    body,
  );
}

/** The addresses of a packet, for pseudo-headers (RFC 9293 section 3.1, RFC 8200 section 8.1). */
export interface Ends {
  readonly source: string;
  readonly destination: string;
}

/** A TCP header's fields. */
export interface TcpParts {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly flags: number;
  readonly sequence?: number;
  readonly acknowledged?: number;
  readonly window?: number;
  readonly options?: Uint8Array;
  readonly offsetWords?: number;
}

/** A TCP segment. */
export function tcp(ends: Ends, parts: TcpParts, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const options = parts.options ?? new Uint8Array(0);
  const segment = join(
    word(parts.sourcePort),
    word(parts.destinationPort),
    long(parts.sequence ?? 0x11223344),
    long(parts.acknowledged ?? 0),
    Uint8Array.of((parts.offsetWords ?? 5 + options.length / 4) << 4, parts.flags),
    word(parts.window ?? 0xfaf0),
    word(0),
    word(0),
    options,
    payload,
  );
  segment.set(word(transportChecksum(ends, protocolNumber.tcp, segment)), 16);
  return segment;
}

/** A UDP datagram. */
export function udp(
  ends: Ends,
  sourcePort: number,
  destinationPort: number,
  payload: Uint8Array,
): Uint8Array {
  const datagram = join(word(sourcePort), word(destinationPort), word(8 + payload.length), word(0), payload);
  const checksum = transportChecksum(ends, protocolNumber.udp, datagram);
  datagram.set(word(checksum === 0 ? 0xffff : checksum), 6);
  return datagram;
}

/** An ICMP message (RFC 792): type, code, the 4 bytes after the checksum, the rest. */
export function icmp4(type: number, code: number, rest: Uint8Array, payload: Uint8Array): Uint8Array {
  const message = join(Uint8Array.of(type, code), word(0), rest, payload);
  message.set(word(internetChecksum(message)), 2);
  return message;
}

/** An ICMPv6 message (RFC 4443), with its pseudo-header's ends. */
export function icmp6(
  ends: Ends,
  type: number,
  code: number,
  rest: Uint8Array,
  payload: Uint8Array,
): Uint8Array {
  const message = join(Uint8Array.of(type, code), word(0), rest, payload);
  message.set(word(transportChecksum(ends, protocolNumber.icmp6, message)), 2);
  return message;
}

/** The checksum of a transport message with its pseudo-header; 0 when the message holds the right one. */
export function transportChecksum(ends: Ends, protocol: number, message: Uint8Array): number {
  return internetChecksum(
    pseudoHeader(ipAddress(ends.source), ipAddress(ends.destination), protocol, message),
    message,
  );
}

function pseudoHeader(
  source: IpAddress,
  destination: IpAddress,
  protocol: number,
  message: Uint8Array,
): Uint8Array {
  const addresses = join(source.bytes, destination.bytes);
  if (source.family === 4) return join(addresses, Uint8Array.of(0, protocol), word(message.length));
  return join(addresses, long(message.length), Uint8Array.of(0, 0, 0, protocol));
}

/** Two bytes in network order. */
export function word(value: number): Uint8Array {
  return Uint8Array.of((value >> 8) & 0xff, value & 0xff);
}

/** Four bytes in network order. */
export function long(value: number): Uint8Array {
  return join(word(value >>> 16), word(value & 0xffff));
}
