import { rmSync } from 'node:fs';
import koffi from 'koffi';
import { SyscallError } from '../errors.ts';
import { bind, closeFd, constant, socket } from './libc.ts';

const libc = koffi.load(null);
const listen = libc.func('int listen(int fd, int backlog)');

const socketTypes = { stream: constant.SOCK_STREAM, seqpacket: 5 } as const;

/**
 * A listening unix socket that only the owner may use, in the place of what is at the path. Unlike Node's it can go to
 * another process: nobody removes the path but by its name. Throws SyscallError.
 */
export function openUnixListener(path: string, type: keyof typeof socketTypes): number {
  const fd = socket(constant.AF_UNIX, socketTypes[type] | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
  // By the mask and not by chmod afterwards: at no moment may others connect.
  const mask = process.umask(0o177);
  try {
    rmSync(path, { force: true });
    bind(fd, unixAddress(path));
    if (listen(fd, 128) < 0) throw new SyscallError('listen', koffi.errno());
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  } finally {
    process.umask(mask);
  }
}

/** struct sockaddr_un. */
export function unixAddress(path: string): Uint8Array {
  const bytes = new Uint8Array(110);
  new DataView(bytes.buffer).setUint16(0, constant.AF_UNIX, true);
  const text = new TextEncoder().encode(path);
  if (text.length > 107) throw new RangeError(`the path of a socket has at most 107 octets: ${path}`);
  bytes.set(text, 2);
  return bytes;
}
