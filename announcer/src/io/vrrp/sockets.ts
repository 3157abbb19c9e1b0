/** Sockets of one interface: advertisements in (raw IP, protocol 112), questions in and frames out (AF_PACKET). */
import { SyscallError } from '@l4d/kit/errors.ts';
import { createDatagramReader, IPV6_RECVPKTINFO, ttlOption } from '@l4d/kit/ffi/datagram.ts';
import {
  closeFd,
  constant,
  receive,
  setSocketOption,
  setSocketOptionInt,
  socket,
} from '@l4d/kit/ffi/libc.ts';
import {
  type FilterInstruction,
  filterCode,
  filterPacketType,
  openPacketReceiver,
  openPacketSender,
  otherHost,
  receiveForMac,
  sendFrame,
} from '@l4d/kit/ffi/packet-socket.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import { type IpAddress, type IpFamily, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { vrrpProtocol } from '../../core/vrrp/checksum.ts';
import { etherType } from '../../core/vrrp/frame.ts';
import { type AdvertisementEnvelope, maxAdvertisementBytes, vrrpGroup } from '../../core/vrrp/packet.ts';

const IP_ADD_MEMBERSHIP = 35;
const IPV6_ADD_MEMBERSHIP = 20;

/** Taken between two looks at the timers: a flood must not starve them. */
const packetsPerTurn = 64;

/** Longest IPv4 header. */
const maxHeaderBytes = 60;

/** Longest frame of interest: questions are short, what is longer is cut. */
const maxQuestionBytes = 256;

const reader = createDatagramReader(maxHeaderBytes + maxAdvertisementBytes);

/** A socket that is read. */
export interface Receiver {
  /** Takes what has arrived, as far as a turn goes. */
  drain(): void;
  close(): void;
}

/** Receives what is sent to the VRRP group of a family. Throws SyscallError. */
export function openAdvertisementReceiver(
  family: IpFamily,
  interfaceName: string,
  interfaceIndex: number,
  onPacket: (bytes: Uint8Array, envelope: AdvertisementEnvelope) => void,
): Receiver {
  const domain = family === 4 ? constant.AF_INET : constant.AF_INET6;
  const fd = socket(domain, constant.SOCK_RAW | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC, vrrpProtocol);
  try {
    const name = new TextEncoder().encode(`${interfaceName}\0`);
    setSocketOption(fd, constant.SOL_SOCKET, constant.SO_BINDTODEVICE, name);
    if (family === 6) {
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, ttlOption.IPV6_RECVHOPLIMIT, 1);
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    }
    joinGroup(fd, vrrpGroup[family], interfaceIndex);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return receiver(fd, () => {
    const datagram = reader.read(fd);
    if (datagram === undefined) return false;
    const { bytes, source, ttl, destination } = datagram;
    if (family === 6) {
      if (destination !== undefined) onPacket(bytes, { source, destination, ttl });
      return true;
    }
    // A raw socket of IPv4 gives the header too, which the kernel has checked.
    const headerBytes = ((bytes[0] ?? 0) & 0x0f) * 4;
    const to = ipAddressFromBytes(bytes.subarray(16, 20));
    onPacket(bytes.subarray(headerBytes), { source, destination: to, ttl: bytes[8] });
    return true;
  });
}

const { loadByte, loadHalf, jumpIfEqual, accept } = filterCode;

/**
 * Frames for other hosts are of interest when they go to a virtual MAC address (00:00:5e:00:...); the others are of VLANs
 * that this host does not have, or are seen because something else listens to all. `left`: instructions to the last one.
 */
const ours = (left: number): readonly FilterInstruction[] => [
  [loadByte, 0, 0, filterPacketType],
  [jumpIfEqual, 0, 4, otherHost],
  [loadHalf, 0, 0, 0],
  [jumpIfEqual, 0, left + 1, 0x0000],
  [loadHalf, 0, 0, 2],
  [jumpIfEqual, 0, left - 1, 0x5e00],
];

/** ARP requests. */
const arpRequests: readonly FilterInstruction[] = [
  ...ours(4),
  [loadHalf, 0, 0, 20],
  [jumpIfEqual, 0, 1, 1],
  [accept, 0, 0, maxQuestionBytes],
  [accept, 0, 0, 0],
];

/** Neighbour solicitations without extension headers (RFC 6980 lets no others be fragmented). */
const solicitations: readonly FilterInstruction[] = [
  ...ours(6),
  [loadByte, 0, 0, 20],
  [jumpIfEqual, 0, 3, 58],
  [loadByte, 0, 0, 54],
  [jumpIfEqual, 0, 1, 135],
  [accept, 0, 0, maxQuestionBytes],
  [accept, 0, 0, 0],
];

/** Receives the ARP requests or neighbour solicitations that arrive at an interface. Throws SyscallError. */
export function openQuestionReceiver(
  family: IpFamily,
  interfaceIndex: number,
  onFrame: (frame: Uint8Array) => void,
): Receiver {
  const fd =
    family === 4
      ? openPacketReceiver(interfaceIndex, etherType.arp, arpRequests)
      : openPacketReceiver(interfaceIndex, etherType.ipv6, solicitations);
  const buffer = new Uint8Array(maxQuestionBytes);
  return receiver(fd, () => {
    const count = receive(fd, buffer);
    if (count === undefined) return false;
    onFrame(buffer.subarray(0, count));
    return true;
  });
}

/** Sends frames, and keeps the interface open for virtual MAC addresses. */
export interface FrameSender {
  /** Whether the kernel took it; the error's name when not. */
  send(frame: Uint8Array): string | undefined;
  close(): void;
}

/** Opens a sender whose interface takes frames for these MAC addresses too. Throws SyscallError. */
export function openFrameSender(interfaceIndex: number, macs: readonly MacAddress[]): FrameSender {
  const fd = openPacketSender(interfaceIndex);
  try {
    for (const mac of macs) receiveForMac(fd, interfaceIndex, mac);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return {
    send(frame) {
      try {
        sendFrame(fd, interfaceIndex, frame);
        return undefined;
      } catch (error) {
        if (error instanceof SyscallError) return error.code;
        throw error;
      }
    },
    close: () => closeFd(fd),
  };
}

/** Memberships that one socket may have: its option memory ends at some hundreds. */
const groupsPerSocket = 64;

/** Joins groups for as long as it is not closed, so that switches let what is sent to them pass. Throws SyscallError. */
export function joinGroups(groups: readonly IpAddress[], interfaceIndex: number): { close(): void } {
  const fds: number[] = [];
  const close = () => {
    for (const fd of fds) closeFd(fd);
  };
  try {
    for (const [index, group] of groups.entries()) {
      if (index % groupsPerSocket === 0) {
        const domain = group.family === 4 ? constant.AF_INET : constant.AF_INET6;
        fds.push(socket(domain, constant.SOCK_DGRAM | constant.SOCK_CLOEXEC));
      }
      joinGroup(fds.at(-1) as number, group, interfaceIndex);
    }
  } catch (error) {
    close();
    throw error;
  }
  return { close };
}

/** struct ip_mreqn, struct ipv6_mreq. */
function joinGroup(fd: number, group: IpAddress, interfaceIndex: number): void {
  const request = new Uint8Array(group.family === 4 ? 12 : 20);
  request.set(group.bytes);
  new DataView(request.buffer).setInt32(request.length - 4, interfaceIndex, true);
  if (group.family === 4) setSocketOption(fd, constant.SOL_IP, IP_ADD_MEMBERSHIP, request);
  else setSocketOption(fd, constant.IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, request);
}

/** `takeOne` reads and handles one packet; false when none is left. */
function receiver(fd: number, takeOne: () => boolean): Receiver {
  let isClosed = false;
  const drain = () => {
    try {
      for (let i = 0; i < packetsPerTurn && !isClosed; i++) if (!takeOne()) return;
    } catch (error) {
      // An error pending on the socket (ENETDOWN) is taken off it by the read.
      if (!(error instanceof SyscallError)) throw error;
    }
  };
  const unwatch = watchSocket(fd, 'readable', drain);
  return {
    drain,
    close() {
      isClosed = true;
      unwatch();
      closeFd(fd);
    },
  };
}
