import { SyscallError } from '../errors.ts';
import { allowForeignSource } from './foreign-source.ts';
import { bind, closeFd, constant, setSocketOptionInt, socket } from './libc.ts';

/** Options and ancillary data of UDP sockets: <linux/udp.h>, <linux/in.h> and <linux/in6.h>. */
export const udpOption = {
  UDP_SEGMENT: 103,
  UDP_GRO: 104,
  IP_FREEBIND: 15,
  IP_RECVORIGDSTADDR: 20,
  IPV6_RECVORIGDSTADDR: 74,
  IPV6_FREEBIND: 78,
} as const;

/** Most bytes that a datagram can carry over IPv4; over IPv6 20 more. */
export const maxDatagramBytes = 65_507;

/** A UDP socket, non-blocking, not bound. Throws SyscallError. */
export function udpSocket(family: 4 | 6): number {
  const domain = family === 4 ? constant.AF_INET : constant.AF_INET6;
  return socket(domain, constant.SOCK_DGRAM + constant.SOCK_NONBLOCK + constant.SOCK_CLOEXEC);
}

/**
 * A UDP socket bound to an address of `encodeSockaddr`, which others may be bound to as well, and which no interface needs
 * to have. Throws SyscallError.
 */
export function boundUdpSocket(family: 4 | 6, sockaddr: Uint8Array): number {
  const fd = udpSocket(family);
  try {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_REUSEADDR, 1);
    if (family === 4) {
      setSocketOptionInt(fd, constant.SOL_IP, udpOption.IP_FREEBIND, 1);
      allowForeignSource(fd);
    } else {
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_V6ONLY, 1);
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, udpOption.IPV6_FREEBIND, 1);
    }
    bind(fd, sockaddr);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Has each datagram of a socket tell where it was sent to. Throws SyscallError. */
export function tellDestinations(fd: number, family: 4 | 6): void {
  if (family === 4) setSocketOptionInt(fd, constant.SOL_IP, udpOption.IP_RECVORIGDSTADDR, 1);
  else setSocketOptionInt(fd, constant.IPPROTO_IPV6, udpOption.IPV6_RECVORIGDSTADDR, 1);
}

/** Lets the kernel give datagrams of one sender and size in runs; a kernel that cannot gives them one by one. */
export function takeRuns(fd: number): void {
  try {
    setSocketOptionInt(fd, constant.IPPROTO_UDP, udpOption.UDP_GRO, 1);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
  }
}

/** Asks for a receive queue of so many bytes, whatever net.core.rmem_max says; without the right to, for what that allows. */
export function setReceiveQueue(fd: number, bytes: number): void {
  try {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_RCVBUFFORCE, bytes);
  } catch {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_RCVBUF, bytes);
  }
}
