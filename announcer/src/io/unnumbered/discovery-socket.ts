import { SyscallError } from '@l4d/kit/errors.ts';
import { createDatagramReader, type Datagram, ttlOption } from '@l4d/kit/ffi/datagram.ts';
import { closeFd, constant, sendTo, setSocketOption, setSocketOptionInt, socket } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { discoveryHopLimit, icmpType, maxDiscoveryBytes } from '../../core/router-discovery.ts';

const icmpV6 = 58;
/** ICMPV6_FILTER of <linux/icmpv6.h>: a bit for each type that is not wanted. */
const icmpV6Filter = 1;
/** IPV6_MULTICAST_IF, _HOPS, _LOOP, IPV6_ADD_MEMBERSHIP of <linux/in6.h>. */
const multicast = { interface: 17, hops: 18, loop: 19, join: 20 } as const;

/** Who a message goes to (RFC 4291 section 2.7.1). */
const groups = { nodes: ipAddress('ff02::1'), routers: ipAddress('ff02::2') } as const;

/** Datagrams taken in a turn; a flood must not keep the sessions waiting. */
const datagramsPerTurn = 32;
const receiveBufferBytes = 32 * 1024;

const reader = createDatagramReader(maxDiscoveryBytes);

/** A socket for router discovery on one interface. */
export interface DiscoverySocket {
  /** Whether the kernel took it; the error's name when not. */
  send(bytes: Uint8Array, to: keyof typeof groups): string | undefined;
  close(): void;
}

/** Opens a raw ICMPv6 socket that hears router advertisements and solicitations alone. Throws SyscallError. */
export function openDiscoverySocket(
  name: string,
  index: number,
  onDatagram: (datagram: Datagram) => void,
): DiscoverySocket {
  const type = constant.SOCK_RAW | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC;
  const fd = socket(constant.AF_INET6, type, icmpV6);
  try {
    setSocketOption(fd, icmpV6, icmpV6Filter, discoveryFilter());
    setSocketOption(fd, constant.SOL_SOCKET, constant.SO_BINDTODEVICE, new TextEncoder().encode(name));
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_RCVBUF, receiveBufferBytes);
    const ipv6 = (option: number, value: number) =>
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, option, value);
    ipv6(ttlOption.IPV6_RECVHOPLIMIT, 1);
    ipv6(multicast.interface, index);
    ipv6(multicast.hops, discoveryHopLimit);
    ipv6(multicast.loop, 0);
    for (const group of Object.values(groups)) {
      // struct ipv6_mreq: address, then the index.
      const request = new Uint8Array(20);
      request.set(group.bytes, 0);
      new DataView(request.buffer).setUint32(16, index, true);
      setSocketOption(fd, constant.IPPROTO_IPV6, multicast.join, request);
    }
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  let closed = false;
  const unwatch = watchSocket(fd, 'readable', () => {
    try {
      for (let i = 0; i < datagramsPerTurn && !closed; i++) {
        const datagram = reader.read(fd);
        if (datagram === undefined) return;
        onDatagram(datagram);
      }
    } catch (error) {
      // An error pending on the socket (the interface went down) is taken off it by the read.
      if (!(error instanceof SyscallError)) throw error;
    }
  });
  return {
    send(bytes, to) {
      try {
        sendTo(fd, bytes, encodeSockaddr(groups[to], 0, index));
        return undefined;
      } catch (error) {
        if (error instanceof SyscallError) return error.code;
        throw error;
      }
    },
    close() {
      closed = true;
      unwatch();
      closeFd(fd);
    },
  };
}

function discoveryFilter(): Uint8Array {
  const filter = new Uint8Array(32).fill(0xff);
  const view = new DataView(filter.buffer);
  for (const type of Object.values(icmpType)) {
    const at = (type >> 5) * 4;
    view.setUint32(at, view.getUint32(at, true) & ~(1 << (type & 31)), true);
  }
  return filter;
}
