import { Socket } from 'node:net';
import { bind, closeFd, constant, socket as openSocket, setSocketOptionInt } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';

/** IPV6_UNICAST_HOPS of <linux/in6.h>. */
const ipv6UnicastHops = 16;

/** RFC 4271 appendix E: BGP goes with IP precedence "Internetwork Control": 0xc0 in the old TOS octet. */
const internetworkControl = 0xc0;

/** How the TCP connections with a peer are made. */
export interface TcpOptions {
  readonly address: IpAddress;
  readonly port: number;
  /** Source address. */
  readonly localAddress?: IpAddress;
  /** TTL or hop limit of what is sent, 1 to 255. */
  readonly ttl: number;
  /** TCP_USER_TIMEOUT in milliseconds; 0 leaves the system's. */
  readonly userTimeoutMs: number;
}

/** Begins to connect; `connect`, `error` and `close` of the socket tell the rest. Throws SyscallError. */
export function connectTcp(options: TcpOptions): Socket {
  const domain = options.address.family === 4 ? constant.AF_INET : constant.AF_INET6;
  const fd = openSocket(domain, constant.SOCK_STREAM | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
  let socket: Socket;
  try {
    applyOptions(fd, options);
    if (options.localAddress !== undefined) bind(fd, encodeSockaddr(options.localAddress, 0));
    socket = new Socket({ fd, manualStart: true } as ConstructorParameters<typeof Socket>[0]);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  socket.setNoDelay(true);
  socket.connect({ host: formatIpAddress(options.address), port: options.port });
  return socket;
}

/** Gives an accepted connection the options that an outgoing one gets. Throws SyscallError. */
export function adoptTcp(socket: Socket, options: TcpOptions): void {
  // An announce of a few octets must not wait for the acknowledgement of the one before (Nagle).
  socket.setNoDelay(true);
  const fd = descriptorOf(socket);
  if (fd !== undefined) applyOptions(fd, options);
}

function applyOptions(fd: number, options: TcpOptions): void {
  if (options.address.family === 4) {
    setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TTL, options.ttl);
    setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TOS, internetworkControl);
  } else {
    setSocketOptionInt(fd, constant.IPPROTO_IPV6, ipv6UnicastHops, options.ttl);
    setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_TCLASS, internetworkControl);
  }
  if (options.userTimeoutMs > 0) {
    setSocketOptionInt(fd, constant.IPPROTO_TCP, constant.TCP_USER_TIMEOUT, options.userTimeoutMs);
  }
}

/** Node keeps the descriptor to itself; there is no public way to a socket option that it does not know. */
function descriptorOf(socket: Socket): number | undefined {
  const fd = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
}
