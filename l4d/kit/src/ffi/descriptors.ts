import { fstatSync, readSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import { SyscallError } from '../errors.ts';

const libc = koffi.load(null);
// Declared with the one argument that is used: the calling conventions of Linux pass it alike.
const fcntl = libc.func('int fcntl(int fd, int command, long argument)');
const memfdCreate = libc.func('int memfd_create(const char *name, unsigned int flags)');

const F_DUPFD_CLOEXEC = 1030;
const MFD_CLOEXEC = 1;

/** Another descriptor of the same open file, closed by exec. Throws SyscallError. */
export function duplicate(fd: number): number {
  return check('fcntl', fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/** A file of the process's memory with these contents; `name` shows in /proc. Throws SyscallError. */
export function memoryFile(name: string, contents: Uint8Array): number {
  const fd = check('memfd_create', memfdCreate(name, MFD_CLOEXEC));
  for (let at = 0; at < contents.length; ) at += writeSync(fd, contents, at, contents.length - at, at);
  return fd;
}

/** All that is in a file, from its start, wherever its offset is. Throws the file system's error. */
export function readWhole(fd: number): Uint8Array {
  const contents = Buffer.alloc(fstatSync(fd).size);
  for (let at = 0; at < contents.length; ) {
    const count = readSync(fd, contents, at, contents.length - at, at);
    if (count === 0) return contents.subarray(0, at);
    at += count;
  }
  return contents;
}

function check(call: string, result: number): number {
  if (result < 0) throw new SyscallError(call, koffi.errno());
  return result;
}
