import { encodeFilter, filterOp } from '@l4d/kit/classic-bpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { attachFilter } from '@l4d/kit/ffi/socket-filter.ts';
import {
  boundUdpSocket,
  setReceiveQueue,
  takeRuns,
  tellDestinations,
  udpSocket,
} from '@l4d/kit/ffi/udp-socket.ts';
import { type IpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { descriptorRoom } from '../descriptor-room.ts';

/** A socket for datagrams to VIPs, bound where nobody is meant to send to. Throws SyscallError. */
export function datagramSocket(family: 4 | 6, queueBytes: number): number {
  const fd = boundUdpSocket(family, encodeSockaddr(ipAddress(family === 4 ? '127.0.0.1' : '::1'), 0));
  tellDestinations(fd, family);
  takeRuns(fd);
  setReceiveQueue(fd, queueBytes);
  return fd;
}

/** A socket that sends from an address and port, and receives nothing. Throws SyscallError: another has the port alone. */
export function replyingSocket(address: IpAddress, port: number): number {
  const fd = boundUdpSocket(address.family, encodeSockaddr(address, port));
  try {
    // While the kernel steers nothing comes here; nothing is to, ever.
    attachFilter(fd, dropAll);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

const dropAll = encodeFilter([[filterOp.RETURN, 0, 0, 0]]);

/** A socket for a backend; undefined: no descriptor is left for it. */
export function backendSocket(family: 4 | 6): number | undefined {
  let fd: number;
  try {
    fd = udpSocket(family);
  } catch {
    return undefined;
  }
  if (fd < descriptorRoom().backends) return fd;
  closeFd(fd);
  return undefined;
}
