import { checksumHolds } from './checksum.ts';

/**
 * Whether every checksum of a frame holds as its receiver counts it: the IPv4 header's, TCP's,
 * UDP's, ICMP's. Parses from the bytes alone; false for what is none of these.
 */
export function verifiedChecksums(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  let at = 12;
  while ([0x8100, 0x88a8].includes(view.getUint16(at))) at += 4;
  const network = frame.subarray(at + 2);
  const type = view.getUint16(at);
  if (type === 0x0800) return verifiedIpv4(network);
  return type === 0x86dd && verifiedIpv6(network);
}

function verifiedIpv4(packet: Uint8Array): boolean {
  const headerLength = ((packet[0] ?? 0) & 15) * 4;
  const length = ((packet[2] ?? 0) << 8) | (packet[3] ?? 0);
  const protocol = packet[9] ?? 0;
  if (!checksumHolds(packet.subarray(0, headerLength))) return false;
  const message = packet.subarray(headerLength, length);
  if (protocol === 1) return checksumHolds(message);
  const lengthBytes = Uint8Array.of(message.length >> 8, message.length & 0xff);
  return checksumHolds(packet.subarray(12, 20), Uint8Array.of(0, protocol), lengthBytes, message);
}

function verifiedIpv6(packet: Uint8Array): boolean {
  const end = 40 + (((packet[4] ?? 0) << 8) | (packet[5] ?? 0));
  let protocol = packet[6] ?? 0;
  let at = 40;
  // Hop-by-hop options, routing header, destination options.
  while ([0, 43, 60].includes(protocol)) {
    protocol = packet[at] ?? 0;
    at += ((packet[at + 1] ?? 0) + 1) * 8;
  }
  const message = packet.subarray(at, end);
  const tail = Uint8Array.of(0, 0, message.length >> 8, message.length & 0xff, 0, 0, 0, protocol);
  return checksumHolds(packet.subarray(8, 40), tail, message);
}
