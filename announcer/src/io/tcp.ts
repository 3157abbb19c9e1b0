import { Socket } from 'node:net';
import { SyscallError } from '@l4d/kit/errors.ts';
import {
  bind,
  closeFd,
  constant,
  interfaceIndex,
  socket as openSocket,
  setSocketOptionInt,
} from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { type IpAddress, type IpFamily, ipAddress } from '@l4d/kit/ip-address.ts';
import { formatScopedAddress } from '../core/peer-address.ts';
import type { TcpAoKey } from '../core/security.ts';
import { descriptorOf } from './socket-descriptor.ts';
import { addAoKey, setMd5Key } from './tcp-keys.ts';

/** IPV6_UNICAST_HOPS and IPV6_MINHOPCOUNT of <linux/in6.h>. */
const ipv6UnicastHops = 16;
const ipv6MinHopCount = 73;

/** RFC 4271 appendix E: BGP goes with IP precedence "Internetwork Control": 0xc0 in the old TOS octet. */
const internetworkControl = 0xc0;

/** How the TCP connections with a peer are made. */
export interface TcpOptions {
  readonly address: IpAddress;
  /** Interface of a link-local address. */
  readonly zone?: string;
  readonly port: number;
  /** Source address. */
  readonly localAddress?: IpAddress;
  /** TTL or hop limit of what is sent, 1 to 255. */
  readonly ttl: number;
  /** Segments with a lower TTL or hop limit are dropped (GTSM, RFC 5082). */
  readonly minimumTtl?: number;
  /** TCP MD5 (RFC 2385). */
  readonly password?: string;
  /** TCP-AO (RFC 5925). */
  readonly tcpAo?: TcpAoKey;
  /** TCP_USER_TIMEOUT in milliseconds. */
  readonly userTimeoutMs: number;
}

/** Begins to connect; `connect`, `error` and `close` of the socket tell the rest. Throws SyscallError. */
export function connectTcp(options: TcpOptions): Socket {
  const domain = options.address.family === 4 ? constant.AF_INET : constant.AF_INET6;
  const fd = openSocket(domain, constant.SOCK_STREAM | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
  let socket: Socket;
  try {
    scopeOf(options);
    applyOptions(fd, options);
    if (options.tcpAo !== undefined) addAoKey(fd, { address: options.address }, options.tcpAo);
    if (options.localAddress !== undefined)
      bind(fd, encodeSockaddr(options.localAddress, 0, scopeOf(options)));
    socket = new Socket({ fd, manualStart: true } as ConstructorParameters<typeof Socket>[0]);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  socket.setNoDelay(true);
  const { address, zone, port } = options;
  socket.connect({ host: formatScopedAddress(zone === undefined ? { address } : { address, zone }), port });
  return socket;
}

/** Index of the interface that a link-local address is on, 0 for others. Throws SyscallError when there is none. */
function scopeOf({ zone }: TcpOptions): number {
  const index = zone === undefined ? 0 : interfaceIndex(zone);
  if (zone !== undefined && index === 0) throw new SyscallError(`connect over ${zone}`, constant.ENODEV);
  return index;
}

/** A socket bound to a port on all addresses of a family, which does not listen yet. Throws SyscallError. */
export function bindTcp(family: IpFamily, port: number): number {
  const domain = family === 4 ? constant.AF_INET : constant.AF_INET6;
  const fd = openSocket(domain, constant.SOCK_STREAM | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
  try {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_REUSEADDR, 1);
    if (family === 6) setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_V6ONLY, 1);
    bind(fd, encodeSockaddr(ipAddress(family === 4 ? '0.0.0.0' : '::'), port));
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Gives an accepted connection the options that an outgoing one gets. Throws SyscallError. */
export function adoptTcp(socket: Socket, options: TcpOptions): void {
  // An announce of a few octets must not wait for the acknowledgement of the one before (Nagle).
  socket.setNoDelay(true);
  const fd = descriptorOf(socket);
  if (fd !== undefined) applyOptions(fd, options);
}

/** Changes the TCP MD5 password of a connection. Throws SyscallError. */
export function changeTcpPassword(socket: Socket, { address, password }: TcpOptions): void {
  const fd = descriptorOf(socket);
  if (fd !== undefined && password !== undefined) setMd5Key(fd, { address }, password);
}

function applyOptions(fd: number, options: TcpOptions): void {
  const { address, ttl, minimumTtl, password } = options;
  setTtl(fd, address.family, ttl);
  markInternetworkControl(fd, address.family);
  if (minimumTtl !== undefined) {
    if (address.family === 4) setSocketOptionInt(fd, constant.SOL_IP, constant.IP_MINTTL, minimumTtl);
    else setSocketOptionInt(fd, constant.IPPROTO_IPV6, ipv6MinHopCount, minimumTtl);
  }
  // An accepted connection that came before the listener had its key needs it from here on.
  if (password !== undefined) setMd5Key(fd, { address }, password);
  setSocketOptionInt(fd, constant.IPPROTO_TCP, constant.TCP_USER_TIMEOUT, options.userTimeoutMs);
}

/** Marks what a socket sends as internetwork control, a listening one its part of the handshake. Throws SyscallError. */
export function markInternetworkControl(fd: number, family: IpFamily): void {
  if (family === 4) setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TOS, internetworkControl);
  else setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_TCLASS, internetworkControl);
}

/** Sets the TTL or hop limit of what a socket sends. Throws SyscallError. */
export function setTtl(fd: number, family: IpFamily, ttl: number): void {
  if (family === 4) setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TTL, ttl);
  else setSocketOptionInt(fd, constant.IPPROTO_IPV6, ipv6UnicastHops, ttl);
}
