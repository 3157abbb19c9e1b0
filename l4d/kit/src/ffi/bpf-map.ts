import koffi from 'koffi';
import { SyscallError, UnsupportedFeature } from '../errors.ts';

interface MapCalls {
  readonly objectGet: (path: string) => number;
  readonly updateElement: (fd: number, key: Uint8Array, value: Uint8Array, flags: number) => number;
}

let loaded: MapCalls | undefined;

/** libbpf is loaded at the first use, so that programs that never touch a map run without it. */
function calls(): MapCalls {
  if (loaded !== undefined) return loaded;
  try {
    const library = koffi.load('libbpf.so.1');
    loaded = {
      objectGet: library.func('int bpf_obj_get(const char *path)'),
      updateElement: library.func(
        'int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)',
      ),
    };
    return loaded;
  } catch (error) {
    throw new UnsupportedFeature('libbpf.so.1', `install the package libbpf1 (${String(error)})`);
  }
}

/** Descriptor of a map pinned in bpffs; the caller closes it. Throws SyscallError, UnsupportedFeature. */
export function openPinnedMap(path: string): number {
  return check(`bpf_obj_get ${path}`, calls().objectGet(path));
}

/**
 * Sets one element, whether or not it exists (BPF_ANY). Key and value are in memory layout and
 * must have the map's sizes. Throws SyscallError.
 */
export function updateElement(fd: number, key: Uint8Array, value: Uint8Array): void {
  check('bpf_map_update_elem', calls().updateElement(fd, key, value, 0));
}

/** libbpf 1.x returns the negative errno itself. */
function check(call: string, result: number): number {
  if (result < 0) throw new SyscallError(call, -result);
  return result;
}
