import koffi from 'koffi';
import { SyscallError } from '../errors.ts';

/** The C library, as loaded in this process. */
const libc = koffi.load(null);

const raw = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, uint32_t length)'),
  connect: libc.func('int connect(int fd, const void *address, uint32_t length)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
  getsockopt: libc.func('int getsockopt(int fd, int level, int name, void *value, uint32_t *length)'),
  shutdown: libc.func('int shutdown(int fd, int how)'),
  sendto: libc.func(
    'long sendto(int fd, const void *data, size_t size, int flags, const void *address, uint32_t length)',
  ),
  recv: libc.func('long recv(int fd, void *data, size_t size, int flags)'),
  mmap: libc.func('void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset)'),
  munmap: libc.func('int munmap(void *address, size_t size)'),
  open: libc.func('int open(const char *path, int flags)'),
  close: libc.func('int close(int fd)'),
  ifNameToIndex: libc.func('uint32_t if_nametoindex(const char *name)'),
  ifIndexToName: libc.func('const char *if_indextoname(uint32_t index, _Out_ char *name)'),
  mount: libc.func(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
  ),
  flock: libc.func('int flock(int fd, int operation)'),
  clockResolution: libc.func('int clock_getres(int clock, void *result)'),
};

/** Constants of <sys/socket.h>, <linux/if_*.h> and friends on Linux (x86-64 and arm64 agree on these). */
export const constant = {
  AF_UNIX: 1,
  AF_INET: 2,
  AF_INET6: 10,
  AF_NETLINK: 16,
  SOCK_STREAM: 1,
  SOCK_DGRAM: 2,
  SOCK_RAW: 3,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
  SOL_IP: 0,
  IP_TOS: 1,
  IP_TTL: 2,
  IP_MINTTL: 21,
  SOL_SOCKET: 1,
  SO_REUSEADDR: 2,
  SO_ERROR: 4,
  SO_RCVBUF: 8,
  SO_LINGER: 13,
  SO_RCVBUFFORCE: 33,
  SO_MARK: 36,
  SO_BINDTODEVICE: 25,
  SO_ATTACH_FILTER: 26,
  SO_COOKIE: 57,
  IPPROTO_TCP: 6,
  IPPROTO_UDP: 17,
  IPPROTO_IPV6: 41,
  IPV6_V6ONLY: 26,
  IPV6_TCLASS: 67,
  TCP_MAXSEG: 2,
  IP_TRANSPARENT: 19,
  IP_BIND_ADDRESS_NO_PORT: 24,
  IPV6_TRANSPARENT: 75,
  TCP_USER_TIMEOUT: 18,
  TCP_MD5SIG: 14,
  SOL_NETLINK: 270,
  NETLINK_ROUTE: 0,
  NETLINK_SOCK_DIAG: 4,
  NETLINK_ADD_MEMBERSHIP: 1,
  NETLINK_CAP_ACK: 10,
  NETLINK_EXT_ACK: 11,
  NETLINK_GET_STRICT_CHK: 12,
  MSG_TRUNC: 0x20,
  SHUT_WR: 1,
  MSG_DONTWAIT: 0x40,
  PROT_READ: 1,
  PROT_WRITE: 2,
  MAP_SHARED: 1,
  LOCK_EX: 2,
  LOCK_NB: 4,
  EAGAIN: 11,
  EWOULDBLOCK: 11,
  EINPROGRESS: 115,
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EBADF: 9,
  ENODEV: 19,
  EEXIST: 17,
  EBUSY: 16,
  EMSGSIZE: 90,
  EADDRNOTAVAIL: 99,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
} as const;

/** A socket's file descriptor. Throws SyscallError. */
export function socket(domain: number, type: number, protocol = 0): number {
  return check('socket', raw.socket(domain, type, protocol));
}

/** Binds to a raw sockaddr in memory layout. Throws SyscallError. */
export function bind(fd: number, address: Uint8Array): void {
  check('bind', raw.bind(fd, address, address.length));
}

/** Connects to a raw sockaddr; EINPROGRESS of a non-blocking socket is no error. Throws SyscallError. */
export function connect(fd: number, address: Uint8Array): void {
  if (raw.connect(fd, address, address.length) < 0 && koffi.errno() !== constant.EINPROGRESS) {
    throw new SyscallError('connect', koffi.errno());
  }
}

/** Sets a socket option from raw bytes. Throws SyscallError. */
export function setSocketOption(fd: number, level: number, name: number, value: Uint8Array): void {
  check('setsockopt', raw.setsockopt(fd, level, name, value, value.length));
}

/** Sets an int socket option (host byte order). Throws SyscallError. */
export function setSocketOptionInt(fd: number, level: number, name: number, value: number): void {
  setSocketOption(fd, level, name, new Uint8Array(Int32Array.of(value).buffer));
}

/** Reads an int socket option (host byte order); SO_ERROR also clears the error. Throws SyscallError. */
export function getSocketOptionInt(fd: number, level: number, name: number): number {
  const value = new Int32Array(1);
  check('getsockopt', raw.getsockopt(fd, level, name, value, Uint32Array.of(4)));
  return value[0] ?? 0;
}

/** What names a socket in the kernel, the same for every descriptor of it (SO_COOKIE). Throws SyscallError. */
export function socketCookie(fd: number): bigint {
  const value = new BigUint64Array(1);
  check('getsockopt', raw.getsockopt(fd, constant.SOL_SOCKET, constant.SO_COOKIE, value, Uint32Array.of(8)));
  return value[0] ?? 0n;
}

/** Ends one direction of a connection (SHUT_*). Throws SyscallError. */
export function shutdown(fd: number, how: number): void {
  check('shutdown', raw.shutdown(fd, how));
}

/** Sends bytes on a connected or netlink socket; returns how many. Throws SyscallError. */
export function send(fd: number, data: Uint8Array, flags = 0): number {
  return check('sendto', raw.sendto(fd, data, data.length, flags, null, 0));
}

/** Sends bytes to a raw sockaddr; returns how many. Throws SyscallError. */
export function sendTo(fd: number, data: Uint8Array, address: Uint8Array, flags = 0): number {
  return check('sendto', raw.sendto(fd, data, data.length, flags, address, address.length));
}

/**
 * Receives into `buffer`; returns the byte count, or undefined when nothing is there (EAGAIN).
 * Throws SyscallError otherwise (ENOBUFS of netlink: events were lost).
 */
export function receive(fd: number, buffer: Uint8Array, flags = 0): number | undefined {
  const count = Number(raw.recv(fd, buffer, buffer.length, flags));
  if (count >= 0) return count;
  const errno = koffi.errno();
  if (errno === constant.EAGAIN) return undefined;
  throw new SyscallError('recv', errno);
}

/** Opens a path (flags of open(2)); returns the descriptor. Throws SyscallError. */
export function openPath(path: string, flags: number): number {
  return check(`open ${path}`, raw.open(path, flags));
}

/** Closes a descriptor; errors are of no use to anyone. */
export function closeFd(fd: number): void {
  raw.close(fd);
}

/** Index of an interface in this network namespace; 0 when there is none of that name. */
export function interfaceIndex(name: string): number {
  return raw.ifNameToIndex(name);
}

/** Name of an interface in this network namespace; empty when there is none of that index. */
export function interfaceName(index: number): string {
  const name = Buffer.alloc(16);
  return (raw.ifIndexToName(index, name) as string | null) ?? '';
}

/** Maps a descriptor shared and writable; the view lives until unmapped. Throws SyscallError. */
export function mapShared(fd: number, size: number): Uint8Array {
  const address = raw.mmap(null, size, constant.PROT_READ | constant.PROT_WRITE, constant.MAP_SHARED, fd, 0);
  if (address === null || BigInt.asIntN(64, BigInt(address)) === -1n)
    throw new SyscallError('mmap', koffi.errno());
  return new Uint8Array(koffi.view(address, size));
}

const CLOCK_MONOTONIC_COARSE = 6;

/** Nanoseconds of the kernel's tick (a jiffy), which is what coarse clocks resolve to (clock_getres(2)). */
export function jiffyNanoseconds(): number {
  const result = Buffer.alloc(16);
  check('clock_getres', raw.clockResolution(CLOCK_MONOTONIC_COARSE, result));
  return Number(result.readBigInt64LE(0)) * 1e9 + Number(result.readBigInt64LE(8));
}

/** Mounts a file system. Throws SyscallError. */
export function mount(source: string, target: string, type: string): void {
  check(`mount ${target}`, raw.mount(source, target, type, 0, null));
}

/** Takes an exclusive lock without waiting; false when another process holds it. Throws SyscallError. */
export function tryLock(fd: number): boolean {
  if (raw.flock(fd, constant.LOCK_EX | constant.LOCK_NB) === 0) return true;
  if (koffi.errno() === constant.EWOULDBLOCK) return false;
  throw new SyscallError('flock', koffi.errno());
}

function check(call: string, result: number | bigint): number {
  const value = Number(result);
  if (value < 0) throw new SyscallError(call, koffi.errno());
  return value;
}
