import { bind, closeFd, constant, setSocketOptionInt, socket } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';

/**
 * A TCP socket bound to a free port of the family's loopback address.
 * Nobody is meant to connect to that port: the kernel is told to hand connections to VIPs over
 * (bpf/l7_lookup.bpf.c), for which the bound address plays no part. Throws SyscallError.
 */
export function bindLoopback(family: 4 | 6): number {
  const domain = family === 4 ? constant.AF_INET : constant.AF_INET6;
  // SOCK_NONBLOCK and SOCK_CLOEXEC are bits of the type argument (socket(2)).
  const fd = socket(domain, constant.SOCK_STREAM + constant.SOCK_NONBLOCK + constant.SOCK_CLOEXEC);
  try {
    // Accepted connections inherit it, and each counts as a user of its VIP's port: without it no
    // other service of the host could bind that port on the wildcard address while they live.
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_REUSEADDR, 1);
    // The kernel takes an IPv6 socket without it for IPv4 connections, too; they have their own.
    if (family === 6) setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_V6ONLY, 1);
    bind(fd, encodeSockaddr(ipAddress(family === 4 ? '127.0.0.1' : '::1'), 0));
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}
