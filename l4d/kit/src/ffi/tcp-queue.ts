import koffi from 'koffi';
import { SyscallError } from '../errors.ts';

const libc = koffi.load(null);
const ioctl = libc.func('int ioctl(int fd, unsigned long request, _Out_ int *value)');

/** SIOCOUTQ of <linux/sockios.h>. */
const outgoingQueue = 0x5411;

/** Octets that the kernel has taken on a TCP socket and the other side has not acknowledged. Throws SyscallError. */
export function unacknowledgedBytes(fd: number): number {
  const value: [number] = [0];
  if (ioctl(fd, outgoingQueue, value) < 0) throw new SyscallError('ioctl(SIOCOUTQ)', koffi.errno());
  return value[0];
}
