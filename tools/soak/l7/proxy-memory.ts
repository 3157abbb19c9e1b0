import { readdirSync, readFileSync } from 'node:fs';

/** What processes hold. */
export interface ProcessMemory {
  /** Their own pages, in KiB. */
  readonly ownKib: number;
  /** All resident ones, in KiB; pages that are shared are counted in each. */
  readonly residentKib: number;
  readonly descriptors: number;
}

/** Of all these processes together; those that are gone hold nothing. */
export function memoryOf(pids: readonly number[]): ProcessMemory {
  let [ownKib, residentKib, descriptors] = [0, 0, 0];
  for (const pid of pids) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'latin1');
      ownKib += kib(status, 'RssAnon');
      residentKib += kib(status, 'VmRSS');
      descriptors += readdirSync(`/proc/${pid}/fd`).length;
    } catch {
      // It has ended meanwhile.
    }
  }
  return { ownKib, residentKib, descriptors };
}

/** What the kernel holds in small objects (sockets, files, their buffers' heads), of the whole machine, in KiB. */
export function kernelKib(): number {
  return kib(readFileSync('/proc/meminfo', 'latin1'), 'Slab');
}

function kib(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
}
