import koffi from 'koffi';

const libc = koffi.load(null);
const pipe2 = libc.func('int pipe2(_Out_ int *fds, int flags)');
const fcntl = libc.func('int fcntl(int fd, int command, int value)');
const spliceCall: (
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  size: number,
  flags: number,
) => number = libc.func(
  'long splice(int from, uintptr_t fromOffset, int to, uintptr_t toOffset, size_t size, unsigned int flags)',
);

const O_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;
const F_SETPIPE_SZ = 1031;
/** SPLICE_F_MOVE | SPLICE_F_NONBLOCK. */
const spliceFlags = 1 | 2;

/** Descriptors of a pipe. */
export interface PipeEnds {
  readonly read: number;
  readonly write: number;
}

/** A pipe that never waits, of as many bytes as the kernel grants of those asked for; undefined: there is none to be had. */
export function newPipe(bytes: number): PipeEnds | undefined {
  const fds: [number, number] = [-1, -1];
  if (pipe2(fds, O_NONBLOCK_CLOEXEC) < 0) return undefined;
  const [read, write] = fds;
  // Users without CAP_SYS_RESOURCE can have no more than so much in pipes (pipe(7)): a smaller one serves, too.
  fcntl(write, F_SETPIPE_SZ, bytes);
  return { read, write };
}

/** splice(2) between a pipe and a socket without waiting; how many bytes, or -1: see `lastErrno`. */
export function splice(from: number, to: number, size: number): number {
  return spliceCall(from, 0, to, 0, size, spliceFlags);
}
