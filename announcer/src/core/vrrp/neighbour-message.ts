/** ARP (RFC 826, 5227) and neighbour discovery (RFC 4861) as far as virtual addresses need them. Whole frames. */
import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { type IpAddress, ipAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { foldChecksum, sumPseudoHeader, sumWords } from './checksum.ts';
import { broadcastMac, encodeEthernet, encodeIpv6Header, etherType, multicastMac } from './frame.ts';

/** Somebody asks for the MAC address of an address. */
export interface NeighbourQuestion {
  readonly target: IpAddress;
  /** The asker's address; 0.0.0.0 or :: when it looks whether somebody has the address (RFC 5227, 4862). */
  readonly client: IpAddress;
  /** Where the question came from, and the answer goes to. */
  readonly clientMac: MacAddress;
}

const icmpv6 = 58;
const messageType = { solicitation: 135, advertisement: 136 } as const;
const arpOperation = { request: 1, reply: 2 } as const;
const ethernetBytes = 14;
const allNodes = ipAddress('ff02::1');

/** Reads an ARP request or a neighbour solicitation from an Ethernet frame; undefined for what is neither. */
export function decodeQuestion(frame: Uint8Array): NeighbourQuestion | undefined {
  const reader = new ByteReader(frame);
  const destination = reader.take(6);
  const source = reader.take(6);
  const type = reader.u16();
  if (destination === undefined || source === undefined) return undefined;
  // Of a group address nobody can be the sender.
  if (((source[0] ?? 0) & 1) === 1) return undefined;
  const clientMac = Uint8Array.from(source);
  if (type === etherType.arp) return decodeArp(reader, clientMac);
  return type === etherType.ipv6 ? decodeSolicitation(frame.subarray(ethernetBytes), clientMac) : undefined;
}

function decodeArp(reader: ByteReader, clientMac: MacAddress): NeighbourQuestion | undefined {
  const isEthernet = reader.u16() === 1 && reader.u16() === etherType.ipv4 && reader.u16() === 0x0604;
  if (!isEthernet || reader.u16() !== arpOperation.request) return undefined;
  reader.take(6);
  const sender = reader.take(4);
  reader.take(6);
  const target = reader.take(4);
  if (sender === undefined || target === undefined) return undefined;
  return { target: ipAddressFromBytes(target), client: ipAddressFromBytes(sender), clientMac };
}

/** RFC 4861 section 7.1.1; the checksum is looked at, for a wrong one would be answered by nobody else either. */
function decodeSolicitation(packet: Uint8Array, clientMac: MacAddress): NeighbourQuestion | undefined {
  const length = ((packet[4] ?? 0) << 8) | (packet[5] ?? 0);
  if (packet.length < 40 + 24 || length < 24 || packet.length < 40 + length) return undefined;
  if (packet[6] !== icmpv6 || packet[7] !== 255) return undefined;
  const message = packet.subarray(40, 40 + length);
  if (message[0] !== messageType.solicitation || message[1] !== 0) return undefined;
  const client = ipAddressFromBytes(packet.subarray(8, 24));
  const destination = ipAddressFromBytes(packet.subarray(24, 40));
  if (foldChecksum(sumWords(message, sumPseudoHeader(client, destination, icmpv6, length))) !== 0)
    return undefined;
  const target = ipAddressFromBytes(message.subarray(8, 24));
  if (target.bytes[0] === 0xff) return undefined;
  return { target, client, clientMac };
}

/** The answer to a question: an ARP reply, or a solicited neighbour advertisement. */
export function encodeAnswer(question: NeighbourQuestion, mac: MacAddress, isShared: boolean): Uint8Array {
  const { target, client, clientMac } = question;
  if (target.family === 4) {
    return arpFrame(clientMac, mac, {
      operation: arpOperation.reply,
      sender: target,
      targetMac: clientMac,
      target: client,
    });
  }
  // RFC 4861 section 7.2.4: to an asker without an address the answer goes to all nodes, unsolicited. It must not
  // override what others know of a shared address.
  const isUnspecified = client.bytes.every((byte) => byte === 0);
  if (!isUnspecified)
    return advertisementFrame(clientMac, mac, target, client, flag.solicited | flag.override);
  return advertisementFrame(multicastMac(allNodes), mac, target, allNodes, isShared ? 0 : flag.override);
}

/** Gratuitous ARP, or an unsolicited neighbour advertisement, to all on the segment (RFC 9568 section 6.4.2). */
export function encodeAnnouncement(address: IpAddress, mac: MacAddress): Uint8Array {
  if (address.family === 6)
    return advertisementFrame(multicastMac(allNodes), mac, address, allNodes, flag.override);
  const targetMac = new Uint8Array(6);
  const { request } = arpOperation;
  return arpFrame(broadcastMac, mac, { operation: request, sender: address, targetMac, target: address });
}

/** The same to one client, for those that take no word to all. */
export function encodeUnicastAnnouncement(
  address: IpAddress,
  mac: MacAddress,
  client: IpAddress,
  clientMac: MacAddress,
): Uint8Array {
  if (address.family === 6) return advertisementFrame(clientMac, mac, address, client, flag.override);
  const { reply } = arpOperation;
  return arpFrame(clientMac, mac, {
    operation: reply,
    sender: address,
    targetMac: clientMac,
    target: client,
  });
}

/** The group that neighbour solicitations for an IPv6 address go to (RFC 4291 section 2.7.1). */
export function solicitedNodeGroup(address: IpAddress): IpAddress {
  const group = Uint8Array.from(ipAddress('ff02::1:ff00:0').bytes);
  group.set(address.bytes.subarray(13), 13);
  return ipAddressFromBytes(group);
}

interface ArpMessage {
  readonly operation: number;
  readonly sender: IpAddress;
  readonly targetMac: MacAddress;
  readonly target: IpAddress;
}

function arpFrame(to: MacAddress, mac: MacAddress, message: ArpMessage): Uint8Array {
  const writer = new ByteWriter(60);
  encodeEthernet(writer, to, mac, etherType.arp);
  writer.u16(1).u16(etherType.ipv4).u16(0x0604).u16(message.operation);
  writer.raw(mac).raw(message.sender.bytes).raw(message.targetMac).raw(message.target.bytes);
  return writer.finish();
}

const flag = { router: 0x80, solicited: 0x40, override: 0x20 } as const;

/** With the Router flag, as RFC 9568 section 6.4.2 asks, and the MAC address as an option (section 4.6.1 of RFC 4861). */
function advertisementFrame(
  to: MacAddress,
  mac: MacAddress,
  address: IpAddress,
  destination: IpAddress,
  flags: number,
): Uint8Array {
  const message = new ByteWriter(32);
  message.u8(messageType.advertisement).u8(0).u16(0);
  message
    .u8(flag.router | flags)
    .u8(0)
    .u16(0)
    .raw(address.bytes);
  message.u8(2).u8(1).raw(mac);
  const sum = sumPseudoHeader(address, destination, icmpv6, message.length);
  message.patchU16(2, foldChecksum(sumWords(message.finish(), sum)));
  const writer = new ByteWriter(96);
  encodeEthernet(writer, to, mac, etherType.ipv6);
  encodeIpv6Header(writer, address, destination, icmpv6, message.length);
  return writer.raw(message.finish()).finish();
}
