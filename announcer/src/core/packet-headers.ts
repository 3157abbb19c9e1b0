/** Ethernet, IP, TCP and UDP headers around octets that are to look as they did on the wire. */
import { ByteWriter } from '@l4d/kit/bytes.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';

/** Flags of TCP. */
export const tcpFlag = { syn: 0x02, push: 0x08, ack: 0x10 } as const;

const protocolNumber = { tcp: 6, udp: 17 } as const;
const etherType = { 4: 0x0800, 6: 0x86dd } as const;

/** Locally administered: made up. */
const ownMac = Uint8Array.of(2, 0, 0, 0, 0, 1);
const otherMac = Uint8Array.of(2, 0, 0, 0, 0, 2);

/** IP precedence "Internetwork Control", as routing protocols have it. */
const trafficClass = 0xc0;

interface Ends {
  readonly from: IpAddress;
  readonly to: IpAddress;
}

/** A whole frame around an IP payload; both addresses are of one family. */
export function ethernetFrame(
  packet: Ends & {
    /** Whether it is ours: decides on the made-up MAC addresses. */
    readonly sent: boolean;
    readonly ttl: number;
    readonly protocol: 'tcp' | 'udp';
    readonly payload: Uint8Array;
  },
): Uint8Array {
  const { from, to, sent, payload } = packet;
  const writer = new ByteWriter(54 + payload.length);
  writer
    .raw(sent ? otherMac : ownMac)
    .raw(sent ? ownMac : otherMac)
    .u16(etherType[from.family]);
  if (from.family === 4) writer.raw(ipv4Header(packet));
  else {
    writer.u32(0x6000_0000 | (trafficClass << 20)).u16(payload.length);
    writer.u8(protocolNumber[packet.protocol]).u8(packet.ttl).raw(from.bytes).raw(to.bytes);
  }
  return writer.raw(payload).finish();
}

function ipv4Header(packet: Parameters<typeof ethernetFrame>[0]): Uint8Array {
  const writer = new ByteWriter(20);
  // Do not fragment, no options.
  writer
    .u8(0x45)
    .u8(trafficClass)
    .u16(20 + packet.payload.length)
    .u16(0)
    .u16(0x4000);
  writer
    .u8(packet.ttl)
    .u8(protocolNumber[packet.protocol])
    .u16(0)
    .raw(packet.from.bytes)
    .raw(packet.to.bytes);
  return writer.patchU16(10, checksum(writer.finish())).finish();
}

/** A TCP segment without options. */
export function tcpSegment(
  segment: Ends & {
    readonly fromPort: number;
    readonly toPort: number;
    readonly sequence: number;
    readonly acknowledged: number;
    readonly flags: number;
    readonly data: Uint8Array;
  },
): Uint8Array {
  const writer = new ByteWriter(20 + segment.data.length);
  writer.u16(segment.fromPort).u16(segment.toPort);
  writer.u32(segment.sequence >>> 0).u32(segment.acknowledged >>> 0);
  writer.u8(0x50).u8(segment.flags).u16(0xffff).u16(0).u16(0).raw(segment.data);
  return writer.patchU16(16, transportChecksum(segment, 'tcp', writer.finish())).finish();
}

/** A UDP datagram. */
export function udpDatagram(
  datagram: Ends & { readonly fromPort: number; readonly toPort: number; readonly data: Uint8Array },
): Uint8Array {
  const length = 8 + datagram.data.length;
  const writer = new ByteWriter(length).u16(datagram.fromPort).u16(datagram.toPort).u16(length).u16(0);
  writer.raw(datagram.data);
  // RFC 768: a sum of zero goes as all ones, because zero says that there is none.
  return writer.patchU16(6, transportChecksum(datagram, 'udp', writer.finish()) || 0xffff).finish();
}

/** Over the pseudo header of RFC 9293 section 3.1 or RFC 8200 section 8.1, and the octets. */
function transportChecksum({ from, to }: Ends, protocol: 'tcp' | 'udp', bytes: Uint8Array): number {
  const writer = new ByteWriter(40 + bytes.length).raw(from.bytes).raw(to.bytes);
  writer.u32(bytes.length).u32(protocolNumber[protocol]).raw(bytes);
  return checksum(writer.finish());
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
