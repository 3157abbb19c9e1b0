import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import type { TrafficCounter } from '../../core/forwarding/traffic-counter.ts';
import type { MapCodec } from './map-codec.ts';

/**
 * Reads one number of the counter at an index. The map is read in slices as they are asked for, and each once: for those
 * who look at most of it, and who are gone soon. A slice is as of its first use.
 */
export type CounterSnapshot = (index: number, field: keyof TrafficCounter) => number;

/** Elements read at once: less than a millisecond. */
const sliceElements = 2048;

/** Opens a snapshot of a map of counters with so many entries. It throws SyscallError. */
export function openCounterSnapshot(
  fd: number,
  codec: Pick<MapCodec, 'counterSize' | 'counterColumns'>,
  cpus: number,
  entries: number,
): CounterSnapshot {
  const slices = new Map<number, ReturnType<MapCodec['counterColumns']>>();
  return (index, field) => {
    const number = Math.floor(index / sliceElements);
    let slice = slices.get(number);
    if (slice === undefined) {
      const first = number * sliceElements;
      const count = Math.min(sliceElements, entries - first);
      const values = libbpf.lookupArray(fd, codec.counterSize * cpus, count, first);
      slice = codec.counterColumns(values, cpus, count);
      slices.set(number, slice);
    }
    return slice[field][index - number * sliceElements] ?? 0;
  };
}
