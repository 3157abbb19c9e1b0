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

const getsockopt = libc.func(
  'int getsockopt(int fd, int level, int name, void *value, _Inout_ uint32_t *length)',
);
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
/** struct tcp_info up to the end of tcpi_bytes_acked, and where that is. */
const information = new DataView(new ArrayBuffer(4096), 0, 128);
const bytesAcknowledged = 120;

/**
 * Octets that were ever written to a TCP socket, acknowledged or not; while some are just being acknowledged it can be
 * too few, never too many. Throws SyscallError.
 */
export function writtenBytes(fd: number): number {
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, new Uint8Array(information.buffer, 0, 128), [128]) < 0)
    throw new SyscallError('getsockopt(TCP_INFO)', koffi.errno());
  return Number(information.getBigUint64(bytesAcknowledged, true)) + unacknowledgedBytes(fd);
}
