import {
  formatIpAddress,
  fromMappedBytes,
  type IpAddress,
  ipAddressFromBytes,
  parseIpAddress,
  toMappedBytes,
} from './ip-address.ts';

/*
 * The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): what a proxy says first on a
 * connection, about the connection that it serves.
 */

/** Versions that backends can be spoken to in. */
export const proxyProtocols = ['v1', 'v2'] as const;
export type ProxyProtocol = (typeof proxyProtocols)[number];

/** One end of a connection, or of a datagram's way. */
export interface Endpoint {
  readonly address: IpAddress;
  readonly port: number;
}

/** The 12 bytes with which a header of version 2 begins. */
const signature = Uint8Array.of(13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10);
/** "The maximum line lengths the receiver must support including the CRLF", section 2.1. */
const maxLineBytes = 107;
/** What is behind the addresses (TLVs) is read over; a sender needs no more than this. */
const maxBinaryBytes = 2048;

/** Most bytes of a header that is read. */
export const maxProxyHeaderBytes = maxBinaryBytes + 16;

const command = { local: 0x20, proxy: 0x21 } as const;
const family = { unspecified: 0x00, tcp4: 0x11, tcp6: 0x21, udp4: 0x12, udp6: 0x22 } as const;

/**
 * The header about a TCP connection from `source` to `destination`. It has one family for both: where they differ (a
 * proxy in front has told of a client of the other one) that is IPv6, the IPv4 address mapped (RFC 4291 section 2.5.5.2).
 */
export function proxyHeader(version: ProxyProtocol, source: Endpoint, destination: Endpoint): Uint8Array {
  const isIpv4 = source.address.family === 4 && destination.address.family === 4;
  const [from, to] = [source, destination].map(({ address }) =>
    isIpv4 ? address.bytes : toMappedBytes(address),
  ) as [Uint8Array, Uint8Array];
  if (version === 'v1') {
    const addresses = [from, to].map((bytes) => formatIpAddress(ipAddressFromBytes(bytes))).join(' ');
    const line = `PROXY TCP${isIpv4 ? 4 : 6} ${addresses} ${source.port} ${destination.port}\r\n`;
    return new TextEncoder().encode(line);
  }
  const addressBytes = [...from, ...to];
  const ports = [source.port, destination.port].flatMap((port) => [port >> 8, port & 0xff]);
  return binaryHeader(command.proxy, isIpv4 ? family.tcp4 : family.tcp6, [...addressBytes, ...ports]);
}

/** The header (version 2) before a datagram from `source` to `destination`; families as in `proxyHeader`. */
export function datagramProxyHeader(source: Endpoint, destination: Endpoint): Uint8Array {
  const header = proxyHeader('v2', source, destination);
  // Section 2.2: the low four bits are the transport, 1 of streams and 2 of datagrams.
  header[13] = header[13] === family.tcp4 ? family.udp4 : family.udp6;
  return header;
}

/** The header of a connection that the sender makes for itself, such as a health check. */
export function localProxyHeader(version: ProxyProtocol): Uint8Array {
  if (version === 'v1') return new TextEncoder().encode('PROXY UNKNOWN\r\n');
  return binaryHeader(command.local, family.unspecified, []);
}

function binaryHeader(verb: number, kind: number, body: readonly number[]): Uint8Array {
  return Uint8Array.of(...signature, verb, kind, body.length >> 8, body.length & 0xff, ...body);
}

/** What the begin of a connection says. */
export type ProxyHeaderReading =
  /** Not whole yet; nothing of it is wrong. */
  | { readonly kind: 'partial' }
  | { readonly kind: 'invalid'; readonly reason: string }
  /** `length` bytes; without a source the connection is the sender's own, or of a kind that is not told. */
  | { readonly kind: 'header'; readonly length: number; readonly source: Endpoint | undefined };

const partial = { kind: 'partial' } as const;

/** Reads the header at the begin of what a connection has sent so far. Hostile bytes do no harm. */
export function readProxyHeader(bytes: Uint8Array): ProxyHeaderReading {
  if (bytes.length === 0) return partial;
  return bytes[0] === signature[0] ? readBinary(bytes) : readLine(bytes);
}

function invalid(reason: string): ProxyHeaderReading {
  return { kind: 'invalid', reason };
}

function readBinary(bytes: Uint8Array): ProxyHeaderReading {
  for (let i = 0; i < Math.min(signature.length, bytes.length); i++)
    if (bytes[i] !== signature[i]) return invalid('it does not begin with a PROXY header');
  if (bytes.length < 16) return partial;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const verb = view.getUint8(12);
  const size = view.getUint16(14);
  if (verb >> 4 !== 2) return invalid('a version of the PROXY protocol that is not known');
  if (verb !== command.local && verb !== command.proxy) return invalid('a command that is not known');
  if (size > maxBinaryBytes) return invalid('a PROXY header that is too long');
  const length = 16 + size;
  if (bytes.length < length) return partial;
  const kind = view.getUint8(13);
  const addressBytes =
    kind === family.tcp4 || kind === family.udp4 ? 4 : kind === family.tcp6 || kind === family.udp6 ? 16 : 0;
  // Section 2.2: LOCAL, and families that the receiver does not know, leave the connection's own addresses.
  if (verb === command.local || addressBytes === 0) return { kind: 'header', length, source: undefined };
  if (size < 2 * addressBytes + 4) return invalid('a PROXY header that is shorter than its addresses');
  const address = plain(ipAddressFromBytes(bytes.slice(16, 16 + addressBytes)));
  return { kind: 'header', length, source: { address, port: view.getUint16(16 + 2 * addressBytes) } };
}

const start = 'PROXY ';

function readLine(bytes: Uint8Array): ProxyHeaderReading {
  const text = String.fromCharCode(...bytes.subarray(0, maxLineBytes));
  if (!text.startsWith(start.slice(0, text.length))) return invalid('it does not begin with a PROXY header');
  const end = text.indexOf('\r\n');
  if (end < 0) return text.length >= maxLineBytes ? invalid('a PROXY line that does not end') : partial;
  const length = end + 2;
  const words = text.slice(start.length, end).split(' ');
  if (words[0] === 'UNKNOWN') return { kind: 'header', length, source: undefined };
  const [kind = '', from = '', to = '', fromPort = '', toPort = '', ...more] = words;
  const wanted = kind === 'TCP4' ? 4 : kind === 'TCP6' ? 6 : undefined;
  if (wanted === undefined || more.length > 0) return invalid('a PROXY line that is not well formed');
  const source = parseIpAddress(from);
  const destination = parseIpAddress(to);
  const port = portOf(fromPort);
  if (!source.ok || !destination.ok || port === undefined || portOf(toPort) === undefined)
    return invalid('a PROXY line with an address or port that is none');
  if (source.value.family !== wanted || destination.value.family !== wanted)
    return invalid('a PROXY line with addresses of another family than it says');
  return { kind: 'header', length, source: { address: plain(source.value), port } };
}

/** Senders that listen for both families tell IPv4 clients mapped: access lists are to know them all the same. */
function plain(address: IpAddress): IpAddress {
  return fromMappedBytes(toMappedBytes(address));
}

function portOf(text: string): number | undefined {
  const port = /^(?:0|[1-9]\d{0,4})$/.test(text) ? Number(text) : 65_536;
  return port < 65_536 ? port : undefined;
}
