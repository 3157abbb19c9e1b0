import { SyscallError } from '@l4d/kit/errors.ts';
import { updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { IpFamily } from '@l4d/kit/ip-address.ts';
import { openOtherPin } from './followed-pin.ts';

/** Entries of the map: 256 identifiers of each family. */
const entries = 512;
/** A flag each. */
const valueBytes = 4;

/** Tells programs in the kernel for which virtual MAC addresses this host takes frames. */
export interface OwnedMacs {
  set(family: IpFamily, vrid: number, isOwned: boolean): void;
  /** Why the map does not hold what it should. */
  problem(): string | undefined;
  close(): void;
}

/** Writes to the map that is pinned there; all flags are cleared at first. A missing or other map is taken when it comes. */
export function openOwnedMacs(path: string): OwnedMacs {
  const owned = new Set<number>();
  let fd: number | undefined;
  let problem: string | undefined;
  let timer: NodeJS.Timeout | undefined;

  /** Follows the pin, which an upgrade may give to another map. */
  function follow(): void {
    timer = setTimeout(follow, 1000);
    try {
      const other = openOtherPin(path, fd, valueBytes);
      if (other !== undefined) {
        if (fd !== undefined) closeFd(fd);
        fd = other;
        for (let index = 0; index < entries; index++) write(index);
      }
      problem = fd === undefined ? `there is no map at ${path}` : undefined;
    } catch (error) {
      if (!(error instanceof SyscallError || error instanceof RangeError)) throw error;
      problem = `${path}: ${error.message}`;
    }
  }

  function write(index: number): void {
    if (fd === undefined) return;
    updateElement(fd, word(index), word(owned.has(index) ? 1 : 0));
  }

  follow();
  return {
    set(family, vrid, isOwned) {
      const index = (family === 4 ? 0 : 256) + vrid;
      if (isOwned) owned.add(index);
      else owned.delete(index);
      try {
        write(index);
      } catch (error) {
        if (!(error instanceof SyscallError)) throw error;
        problem = `${path}: ${error.message}`;
      }
    },
    problem: () => problem,
    close() {
      clearTimeout(timer);
      if (fd !== undefined) closeFd(fd);
    },
  };
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
