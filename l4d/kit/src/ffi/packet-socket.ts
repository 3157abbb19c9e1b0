/** AF_PACKET sockets: whole Ethernet frames of one interface, past the stack. */
import type { MacAddress } from '../mac-address.ts';
import { bind, closeFd, constant, sendTo, setSocketOption, setSocketOptionInt, socket } from './libc.ts';
import { attachFilter } from './socket-filter.ts';

const AF_PACKET = 17;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_MR_UNICAST = 3;

/** One instruction of a classic filter program: code, jumps when true and false, operand (<linux/filter.h>). */
export type FilterInstruction = readonly [code: number, jumpTrue: number, jumpFalse: number, operand: number];

/** The instructions that simple filters are made of. */
export const filterCode = { loadByte: 0x30, loadHalf: 0x28, jumpIfEqual: 0x15, accept: 0x06 } as const;

/** Operand of loadByte: whose the frame is, such as `otherHost`. */
export const filterPacketType = 0xfffff000 + 4;

/**
 * PACKET_OTHERHOST: to a MAC address that is not the interface's; also every frame with the tag of a VLAN that this host
 * does not have, without its tag by then.
 */
export const otherHost = 3;

/** struct sockaddr_ll without a link-layer address. */
function linkLayerAddress(interfaceIndex: number, etherType: number): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, etherType);
  view.setInt32(4, interfaceIndex, true);
  return bytes;
}

/**
 * A non-blocking socket that receives the frames of one type that arrive at an interface and pass the filter.
 * Throws SyscallError.
 */
export function openPacketReceiver(
  interfaceIndex: number,
  etherType: number,
  filter: readonly FilterInstruction[],
): number {
  // Without a protocol nothing arrives before the filter is in place.
  const fd = openPacket();
  try {
    setSocketOptionInt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    attachFilter(fd, encodeFilter(filter));
    bind(fd, linkLayerAddress(interfaceIndex, etherType));
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** A socket that sends frames by an interface and receives none. Throws SyscallError. */
export function openPacketSender(interfaceIndex: number): number {
  const fd = openPacket();
  try {
    bind(fd, linkLayerAddress(interfaceIndex, 0));
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Sends one frame, its Ethernet header included. Throws SyscallError. */
export function sendFrame(fd: number, interfaceIndex: number, frame: Uint8Array): void {
  sendTo(fd, frame, linkLayerAddress(interfaceIndex, 0));
}

/** Has the interface take frames for one more MAC address, for as long as the socket is open. Throws SyscallError. */
export function receiveForMac(fd: number, interfaceIndex: number, mac: MacAddress): void {
  const request = new Uint8Array(16);
  const view = new DataView(request.buffer);
  view.setInt32(0, interfaceIndex, true);
  view.setUint16(4, PACKET_MR_UNICAST, true);
  view.setUint16(6, mac.length, true);
  request.set(mac, 8);
  setSocketOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, request);
}

function openPacket(): number {
  return socket(AF_PACKET, constant.SOCK_RAW | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
}

/** An array of struct sock_filter. */
function encodeFilter(filter: readonly FilterInstruction[]): Uint8Array {
  const program = new Uint8Array(filter.length * 8);
  const view = new DataView(program.buffer);
  for (const [index, [operation, jumpTrue, jumpFalse, operand]] of filter.entries()) {
    view.setUint16(index * 8, operation, true);
    view.setUint8(index * 8 + 2, jumpTrue);
    view.setUint8(index * 8 + 3, jumpFalse);
    view.setUint32(index * 8 + 4, operand, true);
  }
  return program;
}
