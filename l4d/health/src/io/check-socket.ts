import { SyscallError } from '@l4d/kit/errors.ts';
import {
  bind,
  closeFd,
  connect,
  constant,
  getSocketOptionInt,
  interfaceIndex,
  setSocketOption,
  setSocketOptionInt,
  socket,
} from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { checkPort, type HealthTarget } from '../core/target.ts';

/**
 * A non-blocking socket, marked and bound as the target wants, on which connect has been called:
 * a mark must be set before the first packet, which Node's own sockets do not allow.
 * Throws SyscallError; then nothing is left open.
 */
export function openCheckSocket(target: HealthTarget, type: 'stream' | 'datagram'): number {
  const domain = target.address.family === 4 ? constant.AF_INET : constant.AF_INET6;
  const kind = type === 'stream' ? constant.SOCK_STREAM : constant.SOCK_DGRAM;
  const fd = socket(domain, kind | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
  try {
    if (target.mark !== undefined) setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_MARK, target.mark);
    let scopeId = 0;
    if (target.interfaceName !== undefined) {
      scopeId = interfaceIndex(target.interfaceName);
      const name = new TextEncoder().encode(`${target.interfaceName}\0`);
      setSocketOption(fd, constant.SOL_SOCKET, constant.SO_BINDTODEVICE, name);
    }
    if (target.source !== undefined) bindTransparent(fd, target.source);
    connect(fd, encodeSockaddr(target.address, checkPort(target), scopeId));
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Has a socket send from an address that need not be this host's; its port is chosen as it connects. */
function bindTransparent(fd: number, source: IpAddress): void {
  if (source.family === 4) setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TRANSPARENT, 1);
  else setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_TRANSPARENT, 1);
  setSocketOptionInt(fd, constant.SOL_IP, constant.IP_BIND_ADDRESS_NO_PORT, 1);
  bind(fd, encodeSockaddr(source, 0));
}

/**
 * Calls back once when the connection of a socket of openCheckSocket is there, or with the error
 * that ended the attempt. The returned function stops waiting; the descriptor stays the caller's.
 */
export function whenConnected(fd: number, onSettled: (error: SyscallError | undefined) => void): () => void {
  const unwatch = watchSocket(fd, 'writable', () => {
    const errno = getSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_ERROR);
    unwatch();
    onSettled(errno === 0 ? undefined : new SyscallError('connect', errno));
  });
  return unwatch;
}
