import koffi from 'koffi';
import { SyscallError } from '../errors.ts';
import { closeFd, openPath } from './libc.ts';

/** A network namespace of our own, with nothing but a loopback interface: what is tried in it meets nobody. */

const libc = koffi.load(null);
const unshare = libc.func('int unshare(int flags)');
const setns = libc.func('int setns(int fd, int flags)');

const CLONE_NEWNET = 0x40000000;

/** Index of the loopback interface in a namespace. */
export const loopbackIndex = 1;

/** A namespace that lives until it is closed. */
export interface FreshNetwork {
  /** Runs what does not wait within the namespace, and comes back. */
  run<T>(action: () => T): T;
  close(): void;
}

/** Makes one. Only for the calling thread, and never for long: the rest of the process stays where it is. Throws SyscallError. */
export function openFreshNetwork(): FreshNetwork {
  const own = '/proc/thread-self/ns/net';
  const home = openPath(own, 0);
  const enter = (fd: number) => {
    if ((setns(fd, CLONE_NEWNET) as number) < 0) throw new SyscallError('setns', koffi.errno());
  };
  if ((unshare(CLONE_NEWNET) as number) < 0) {
    const errno = koffi.errno();
    closeFd(home);
    throw new SyscallError('unshare', errno, 'root or CAP_SYS_ADMIN is needed');
  }
  const fresh = openPath(own, 0);
  enter(home);
  return {
    run(action) {
      enter(fresh);
      try {
        return action();
      } finally {
        enter(home);
      }
    },
    close() {
      closeFd(fresh);
      closeFd(home);
    },
  };
}
