/**
 * Looping back of echo packets (RFC 5880 section 6.4, RFC 5881 section 4), on whole IP packets. A router sends them to
 * itself by way of us; FRR sends them to us and takes what comes back from there.
 */
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { echoPort } from './packet-filter.ts';

const udp = 17;
const sentTtl = 255;

/** What a neighbour sends, it sends with 255; the forwarding takes one away. */
const returnedTtl = sentTtl - 1;

/** Where the fields are, by IP version. */
const layout = {
  4: { ttl: 8, protocol: 9, source: 12, destination: 16, addressBytes: 4 },
  6: { ttl: 7, protocol: 6, source: 8, destination: 24, addressBytes: 16 },
} as const;

/** An echo packet on its way back. */
export interface ReturnedEcho {
  readonly peer: IpAddress;
  readonly bytes: Uint8Array;
}

/**
 * The packet as it goes back by the way that it came; undefined when it is not for us to loop back. To one of the
 * peers: it is forwarded. From one of them to an address of this host: addresses and ports change places.
 */
export function returnEcho(
  bytes: Uint8Array,
  isPeer: (address: IpAddress) => boolean,
  isOwn: (address: IpAddress) => boolean,
): ReturnedEcho | undefined {
  const packet = udpPacket(bytes);
  if (packet === undefined) return undefined;
  const { data, version, header, view } = packet;
  const fields = layout[version];
  if (data[fields.ttl] !== sentTtl || view.getUint16(header + 2) !== echoPort) return undefined;
  const at = (offset: number) => data.subarray(offset, offset + fields.addressBytes);
  const source = ipAddressFromBytes(at(fields.source));
  const destination = ipAddressFromBytes(at(fields.destination));
  const forwarded = isPeer(destination);
  if (!forwarded && !(isPeer(source) && isOwn(destination))) return undefined;
  finishChecksum(packet);
  if (!forwarded) {
    data.set(destination.bytes, fields.source);
    data.set(source.bytes, fields.destination);
    const sourcePort = view.getUint16(header);
    view.setUint16(header, echoPort);
    view.setUint16(header + 2, sourcePort);
  }
  data[fields.ttl] = returnedTtl;
  if (version === 4) {
    view.setUint16(10, 0);
    view.setUint16(10, ~fold(sum(data, 0, header)) & 0xffff);
  }
  return { peer: forwarded ? destination : source, bytes: data };
}

interface UdpPacket {
  /** A copy, cut to the length of the IP packet. */
  readonly data: Uint8Array;
  readonly view: DataView;
  readonly version: 4 | 6;
  /** Where the UDP header starts. */
  readonly header: number;
}

/** A whole packet of UDP right behind the IP header. */
function udpPacket(bytes: Uint8Array): UdpPacket | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  if ((version !== 4 && version !== 6) || bytes.length < (version === 4 ? 28 : 48)) return undefined;
  const header = version === 4 ? 4 * ((bytes[0] ?? 0) & 0xf) : 40;
  if (bytes[layout[version].protocol] !== udp || header < 20) return undefined;
  const given = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = version === 4 ? given.getUint16(2) : 40 + given.getUint16(4);
  if (length > bytes.length || length < header + 8) return undefined;
  const isFragment = version === 4 && (given.getUint16(6) & 0x3fff) !== 0;
  if (isFragment || given.getUint16(header + 4) !== length - header) return undefined;
  const data = Uint8Array.from(bytes.subarray(0, length));
  return { data, version, header, view: new DataView(data.buffer) };
}

/**
 * What comes from the same machine (veth, a virtual NIC) may have the sum of its pseudo header alone, which hardware
 * would have completed (CHECKSUM_PARTIAL). Anything else stays as it was sent, so that the sender sees what broke.
 */
function finishChecksum({ data, view, version, header }: UdpPacket): void {
  const { source, addressBytes } = layout[version];
  const length = data.length - header;
  const pseudo = fold(sum(data, source, source + 2 * addressBytes) + udp + length);
  if (view.getUint16(header + 6) !== pseudo) return;
  // The field holds the pseudo header's sum, so that the sum over the datagram includes it.
  const checksum = ~fold(sum(data, header, data.length)) & 0xffff;
  view.setUint16(header + 6, checksum === 0 ? 0xffff : checksum);
}

function sum(bytes: Uint8Array, start: number, end: number): number {
  let total = 0;
  for (let at = start; at < end; at += 2)
    total += ((bytes[at] ?? 0) << 8) | (at + 1 < end ? (bytes[at + 1] ?? 0) : 0);
  return total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}
