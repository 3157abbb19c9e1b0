import { join } from 'node:path';
import { mapInfo, openPinned, updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';

/** How often the pinned map is looked for. */
const pollMs = 200;

/** Keeps the listening sockets in the map that the kernel steers by. */
export interface Registration {
  /** Whether they are there now. */
  registered(): boolean;
  stop(): void;
}

/**
 * Puts the listening sockets (key 0 IPv4, key 1 IPv6) in the pinned SOCKMAP `l7_sockets` of
 * `bpfDir` as soon as it exists, and again when another map has taken its place. The kernel takes
 * them out by itself when they are closed, also by the death of the process.
 */
export function keepRegistered(
  bpfDir: string,
  sockets: readonly [number, number],
  log: Logger,
): Registration {
  const path = join(bpfDir, 'l7_sockets');
  let registeredIn: number | undefined;
  let lastFailure = '';

  function check(): void {
    let map: number | undefined;
    try {
      map = openPinned(path);
      if (map === undefined) {
        if (registeredIn !== undefined) log.warn({ path }, 'the map of listening sockets is gone');
        registeredIn = undefined;
        return;
      }
      const { id } = mapInfo(map);
      // Only once a map: setting the socket that is there already would take it out for a moment.
      if (id === registeredIn) return;
      for (const [key, fd] of sockets.entries()) updateElement(map, u32(key), u64(fd));
      registeredIn = id;
      lastFailure = '';
      log.info({ path, map: id }, 'listening sockets registered');
    } catch (error) {
      registeredIn = undefined;
      if (String(error) !== lastFailure)
        log.error({ path, error: String(error) }, 'cannot register the listening sockets');
      lastFailure = String(error);
    } finally {
      if (map !== undefined) closeFd(map);
    }
  }

  check();
  const timer = setInterval(check, pollMs);
  return { registered: () => registeredIn !== undefined, stop: () => clearInterval(timer) };
}

/** Map keys and values are in the machine's own byte order, as a typed array is. */
function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}
