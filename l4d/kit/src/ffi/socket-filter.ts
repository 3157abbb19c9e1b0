import koffi from 'koffi';
import { SyscallError } from '../errors.ts';
import { constant, setSocketOption } from './libc.ts';

const libc = koffi.load(null);
const getsockopt = libc.func('int getsockopt(int fd, int level, int name, void *value, uint32_t *length)');

const SO_ATTACH_FILTER = 26;
const SO_DETACH_FILTER = 27;
const SO_MEMINFO = 55;

/** SK_MEMINFO_DROPS: what the socket's filter or a full queue has dropped. */
const memoryDrops = 8;

/** Puts a program of classic BPF (an array of struct sock_filter) before a socket, in place of the one there. Throws SyscallError. */
export function attachFilter(fd: number, program: Uint8Array): void {
  const memory = koffi.alloc('uint8_t', program.length) as bigint;
  try {
    new Uint8Array(koffi.view(memory, program.length)).set(program);
    const described = new Uint8Array(16);
    const view = new DataView(described.buffer);
    view.setUint16(0, program.length / 8, true);
    view.setBigUint64(8, memory, true);
    setSocketOption(fd, constant.SOL_SOCKET, SO_ATTACH_FILTER, described);
  } finally {
    koffi.free(memory);
  }
}

/** Takes the program off. Throws SyscallError when there is none. */
export function detachFilter(fd: number): void {
  setSocketOption(fd, constant.SOL_SOCKET, SO_DETACH_FILTER, new Uint8Array(4));
}

/** How many packets the kernel has dropped at a socket: its filter, or a full queue. Unsigned 32 bits. Throws SyscallError. */
export function socketDrops(fd: number): number {
  const values = new Uint32Array(9);
  if (getsockopt(fd, constant.SOL_SOCKET, SO_MEMINFO, values, Uint32Array.of(values.byteLength)) < 0)
    throw new SyscallError('getsockopt', koffi.errno());
  return values[memoryDrops] ?? 0;
}
