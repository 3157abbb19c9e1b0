import { mapInfo, openPinned } from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';

/**
 * Opens the map that is pinned there, unless it is the one of that descriptor; undefined when it is, or when there is none.
 * An upgrade puts another map in its place. Throws SyscallError, and an Error for a map of another version, into which
 * this one cannot write.
 */
export function openOtherPin(path: string, held: number | undefined, valueSize: number): number | undefined {
  const fd = openPinned(path);
  if (fd === undefined) return undefined;
  const info = mapInfo(fd);
  if (held !== undefined && info.id === mapInfo(held).id) {
    closeFd(fd);
    return undefined;
  }
  if (info.valueSize === valueSize) return fd;
  closeFd(fd);
  throw new RangeError(`the map at ${path} is of another version of l4d`);
}
