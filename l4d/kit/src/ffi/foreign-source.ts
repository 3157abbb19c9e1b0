import { SyscallError } from '../errors.ts';
import { constant, setSocketOptionInt } from './libc.ts';

/**
 * Lets a socket, and connections that it accepts, send from IPv4 addresses that the host does not have: those of VIPs that
 * are local only for what comes in. IPv6 asks for nothing. Without CAP_NET_ADMIN it is left: then such VIPs alone are not
 * answered. Throws SyscallError for what else the kernel refuses.
 */
export function allowForeignSource(fd: number): void {
  try {
    setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TRANSPARENT, 1);
  } catch (error) {
    if (!(error instanceof SyscallError) || error.code !== 'EPERM') throw error;
  }
}
