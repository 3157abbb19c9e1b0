import koffi from 'koffi';
import { SyscallError } from '../errors.ts';
import { bind, closeFd, constant, sendTo, socket } from './libc.ts';
import { attachFilter } from './socket-filter.ts';

const libc = koffi.load(null);
const recvfrom = libc.func(
  'long recvfrom(int fd, void *data, size_t size, int flags, void *address, uint32_t *length)',
);

const AF_PACKET = 17;

/** Octets of struct sockaddr_ll. */
const addressBytes = 20;

const etherType = { 4: 0x0800, 6: 0x86dd } as const;

/** Whether `from` of a packet names a group of hosts, or all: what is sent there reaches more than one. */
export function isFromGroup(from: Uint8Array): boolean {
  // struct sockaddr_ll: length of the address, then the address, whose first octet has the group bit.
  return (from[11] ?? 0) >= 6 && ((from[12] ?? 0) & 1) !== 0;
}

/** IP packets of all interfaces of a network namespace, as they arrive, without their link-layer header. */
export interface IpPacketSocket {
  readonly fd: number;
  /** The next packet and where it came from; undefined when none is there. Valid until the next call. Throws SyscallError. */
  read(): { readonly bytes: Uint8Array; readonly from: Uint8Array } | undefined;
  /** Sends to whom `from` of a packet names: by that interface, to that link-layer address. Throws SyscallError. */
  send(bytes: Uint8Array, to: Uint8Array): void;
  /** Replaces the filter. Throws SyscallError. */
  filter(program: Uint8Array): void;
  close(): void;
}

/** Opens a packet socket whose filter (encodeFilter) works on data from the IP header on; needs CAP_NET_RAW. Throws SyscallError. */
export function openIpPacketSocket(family: 4 | 6, maxBytes: number, filter: Uint8Array): IpPacketSocket {
  // Without a protocol it hears nothing until it is bound, with its filter.
  const fd = socket(AF_PACKET, constant.SOCK_DGRAM | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
  try {
    attachFilter(fd, filter);
    const all = new Uint8Array(addressBytes);
    const view = new DataView(all.buffer);
    view.setUint16(0, AF_PACKET, true);
    view.setUint16(2, etherType[family]);
    bind(fd, all);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return useIpPacketSocket(fd, maxBytes);
}

/** A socket that `openIpPacketSocket` has made, here or in another process; owns it. */
export function useIpPacketSocket(fd: number, maxBytes: number): IpPacketSocket {
  const buffer = new Uint8Array(maxBytes);
  const from = new Uint8Array(addressBytes);
  return {
    fd,
    read() {
      const length = Uint32Array.of(addressBytes);
      const count = Number(recvfrom(fd, buffer, buffer.length, constant.MSG_DONTWAIT, from, length));
      if (count >= 0) return { bytes: buffer.subarray(0, count), from };
      const errno = koffi.errno();
      if (errno === constant.EAGAIN) return undefined;
      throw new SyscallError('recvfrom', errno);
    },
    send(bytes, to) {
      sendTo(fd, bytes, to);
    },
    filter(program) {
      attachFilter(fd, program);
    },
    close: () => closeFd(fd),
  };
}
