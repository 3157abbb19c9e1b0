import { ByteWriter } from '@l4d/kit/bytes.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { foldChecksum, sumWords, vrrpProtocol } from './checksum.ts';
import { vrrpGroup, vrrpTtl } from './packet.ts';

/** EtherType numbers. */
export const etherType = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;

/** All on the segment. */
export const broadcastMac: MacAddress = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff);

/** Internetwork Control (CS6), as routing protocols have it. */
const trafficClass = 0xc0;

/** The MAC address of a multicast group (RFC 1112 section 6.4, RFC 2464 section 7). */
export function multicastMac(group: IpAddress): MacAddress {
  const [, , , , , , , , , , , , a = 0, b = 0, c = 0, d = 0] = group.bytes;
  if (group.family === 6) return Uint8Array.of(0x33, 0x33, a, b, c, d);
  const [, second = 0, third = 0, fourth = 0] = group.bytes;
  return Uint8Array.of(0x01, 0x00, 0x5e, second & 0x7f, third, fourth);
}

/** Appends an Ethernet header. */
export function encodeEthernet(writer: ByteWriter, to: MacAddress, from: MacAddress, type: number): void {
  writer.raw(to).raw(from).u16(type);
}

/** Appends an IPv6 header with hop limit 255. */
export function encodeIpv6Header(
  writer: ByteWriter,
  source: IpAddress,
  destination: IpAddress,
  nextHeader: number,
  payloadBytes: number,
): void {
  writer
    .u8(0x60 | (trafficClass >> 4))
    .u8((trafficClass & 0x0f) << 4)
    .u16(0);
  writer.u16(payloadBytes).u8(nextHeader).u8(vrrpTtl);
  writer.raw(source.bytes).raw(destination.bytes);
}

/** A VRRP message as an Ethernet frame from `mac` (RFC 9568 sections 5.1.1, 5.1.2 and 7.2). */
export function advertisementFrame(message: Uint8Array, source: IpAddress, mac: MacAddress): Uint8Array {
  const destination = vrrpGroup[source.family];
  const writer = new ByteWriter(54 + message.length);
  encodeEthernet(
    writer,
    multicastMac(destination),
    mac,
    source.family === 4 ? etherType.ipv4 : etherType.ipv6,
  );
  if (source.family === 6) encodeIpv6Header(writer, source, destination, vrrpProtocol, message.length);
  else encodeIpv4Header(writer, source, destination, message.length);
  return writer.raw(message).finish();
}

function encodeIpv4Header(
  writer: ByteWriter,
  source: IpAddress,
  destination: IpAddress,
  payloadBytes: number,
): void {
  const header = new ByteWriter(20);
  header
    .u8(0x45)
    .u8(trafficClass)
    .u16(20 + payloadBytes);
  header.u16(0).u16(0).u8(vrrpTtl).u8(vrrpProtocol).u16(0);
  header.raw(source.bytes).raw(destination.bytes);
  header.patchU16(10, foldChecksum(sumWords(header.finish())));
  writer.raw(header.finish());
}
