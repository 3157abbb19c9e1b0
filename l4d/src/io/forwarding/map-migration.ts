/** Copies what maps hold into others of another layout or size. */
import { readKernelTypes } from '@l4d/kit/btf.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import {
  conversionOf,
  layoutOf,
  layoutText,
  type MapConversion,
  type MapLayout,
} from '../../core/forwarding/map-conversion.ts';
import { type MapFds, objectMapName, pinnedMaps } from './forwarding-maps.ts';

/** BPF_MAP_TYPE_* of linux/bpf.h. */
const mapType = { hash: 1, array: 2, perCpuArray: 6, lruHash: 9, lpmTrie: 11, devmap: 14 } as const;

/** Maps that hold flows: what changes in them while the program is swapped is taken over afterwards. */
const flowMaps = [
  'flows4',
  'flows6',
  'embryonic4',
  'embryonic6',
  // What clients send last: an answer without it finds no connection, one with it finds both.
  'nat4_in',
  'nat6_in',
  'nat4_out',
  'nat6_out',
] as const;

/** When a flow or a connection of NAT was last seen. */
const tickFields: ReadonlySet<string> = new Set(['last_tick', 'flow.last_tick']);

/** Maps that only count: they are copied once more, right before programs go over to the new ones. */
const counterMaps = ['vip_counters', 'class_counters', 'backend_counters', 'reasons'] as const;

/** Elements copied by one system call. */
const batch = 4096;

/** Layouts of pinned maps, as the kernel keeps them with the maps. Throws SyscallError. */
export function layoutsOf(fds: Partial<Record<keyof MapFds, number>>): Map<string, MapLayout> {
  const known = new Map<number, ReturnType<typeof readKernelTypes>>();
  const typesOf = (id: number) => {
    const types = known.get(id) ?? readKernelTypes(libbpf.kernelBtf(id));
    known.set(id, types);
    return types;
  };
  // Where a map keeps none, that of its neighbours has the enums: all are of one object.
  const layouts = new Map<string, MapLayout>();
  const kinds = pinnedMaps.flatMap((name) => {
    const fd = fds[name];
    return fd === undefined ? [] : [{ name, ...libbpf.mapKind(fd) }];
  });
  const common = kinds.find(({ btf }) => btf !== 0);
  for (const { name, btf, keyType, valueType } of kinds) {
    const id = btf === 0 ? common?.btf : btf;
    if (id === undefined) continue;
    const types = typesOf(id);
    const isTyped = btf !== 0 && !isSection(name);
    const shape = isTyped
      ? { key: types.shapeOf(keyType), value: types.shapeOf(valueType) }
      : { key: undefined, value: undefined };
    layouts.set(name, layoutOf(name, shape, types.enums));
  }
  return layouts;
}

/** Layout of one map with types of its own; undefined when the kernel keeps none with it. Throws SyscallError. */
export function layoutOfMap(name: string, fd: number): MapLayout | undefined {
  const { btf, keyType, valueType } = libbpf.mapKind(fd);
  if (btf === 0) return undefined;
  const types = readKernelTypes(libbpf.kernelBtf(btf));
  return layoutOf(name, { key: types.shapeOf(keyType), value: types.shapeOf(valueType) }, types.enums);
}

/** The layouts that an object declares. */
export function declaredLayouts(types: ReturnType<typeof readKernelTypes>): Map<string, MapLayout> {
  const opaque = { key: undefined, value: undefined };
  return new Map(
    pinnedMaps.map((name) => {
      const shape = isSection(name) ? opaque : (types.maps.get(objectMapName(name)) ?? opaque);
      return [name, layoutOf(name, shape, types.enums)];
    }),
  );
}

/** Names of the maps whose layouts differ. What one side cannot tell is taken to be alike, when the sizes are. */
export function differingLayouts(
  before: ReadonlyMap<string, MapLayout>,
  after: ReadonlyMap<string, MapLayout>,
): string[] {
  return pinnedMaps.filter((name) => {
    const [one, other] = [before.get(name), after.get(name)];
    if (one === undefined || other === undefined) return true;
    const isOpaque = one.value === undefined || other.value === undefined;
    const bare = (layout: MapLayout) => ({ ...layout, key: undefined, value: undefined });
    return layoutText(isOpaque ? bare(one) : one) !== layoutText(isOpaque ? bare(other) : other);
  });
}

/** Maps of connections that are never given up for others. */
const connectionMaps = ['nat4_in', 'nat4_out', 'nat6_in', 'nat6_out'] as const;

/**
 * The map whose content does not fit into one of these sizes: an index in use is beyond it, or it has more connections;
 * undefined when all fits.
 */
export function unfitIndex(
  before: Partial<Record<keyof MapFds, number>>,
  sizes: Readonly<Record<string, number>>,
) {
  for (const name of ['backends', 'vip_counters', 'maglev_slots'] as const) {
    const fd = before[name];
    const size = sizes[name];
    if (fd === undefined || size === undefined) continue;
    const { maxEntries, valueSize } = libbpf.mapInfo(fd);
    if (maxEntries <= size) continue;
    const stride = strideOf(fd, valueSize);
    const values = libbpf.lookupArray(fd, stride, maxEntries);
    if (values.subarray(size * stride).some((byte) => byte !== 0)) return name;
  }
  for (const name of connectionMaps) {
    const fd = before[name];
    const size = sizes[name];
    if (fd === undefined || size === undefined || libbpf.mapInfo(fd).maxEntries <= size) continue;
    let held = 0;
    for (const _ of hashElements(fd)) if (++held > size) return name;
  }
  return undefined;
}

/** Copies all maps. */
export function copyMaps(
  from: Partial<Record<keyof MapFds, number>>,
  to: MapFds,
  layouts: {
    readonly before: ReadonlyMap<string, MapLayout>;
    readonly after: ReadonlyMap<string, MapLayout>;
  },
  names: readonly (keyof MapFds)[] = pinnedMaps,
): void {
  for (const name of names) {
    const source = from[name];
    const conversion = conversionBetween(name, layouts);
    if (source === undefined || conversion === undefined) continue;
    copyMap(source, to[name], conversion);
  }
}

/** Copies one map. Tables of single CPUs are copies of the shared ones, and fill again from those. */
export function copyMap(source: number, target: number, conversion: MapConversion): void {
  const { type } = libbpf.mapKind(source);
  if (type === mapType.hash || type === mapType.lruHash) copyHash(source, target, conversion);
  else if (type === mapType.array || type === mapType.perCpuArray) copyArray(source, target, conversion);
  else if (type === mapType.lpmTrie) copyTrie(source, target, conversion);
  else if (type === mapType.devmap) copyDevices(source, target);
}

/** Copies the counters again, while no program counts in the new maps yet. */
export function copyCounters(...[from, to, layouts]: Parameters<typeof catchUpFlows>): void {
  copyMaps(from, to, layouts, counterMaps);
}

/**
 * Takes over flows that were stored or moved in the maps of before since they were copied. A flow that the new ones
 * know from a later packet stays as it is there. Gives how many were taken.
 */
export function catchUpFlows(
  from: Partial<Record<keyof MapFds, number>>,
  to: MapFds,
  layouts: {
    readonly before: ReadonlyMap<string, MapLayout>;
    readonly after: ReadonlyMap<string, MapLayout>;
  },
): number {
  let taken = 0;
  for (const name of flowMaps) {
    const source = from[name];
    const conversion = conversionBetween(name, layouts);
    const tick = layouts.after.get(name)?.value?.fields.find((field) => tickFields.has(field.name));
    if (source === undefined || conversion === undefined) continue;
    const target = to[name];
    const { valueSize } = libbpf.mapInfo(target);
    for (const { key, value } of hashElements(source)) {
      const newKey = conversion.key(key);
      const wanted = conversion.value(value);
      const found = new Uint8Array(valueSize);
      if (libbpf.lookupElement(target, newKey, found)) {
        if (Buffer.compare(found, wanted) === 0) continue;
        if (tick !== undefined && tickOf(found, tick.offset) > tickOf(wanted, tick.offset)) continue;
      }
      if (!hasTaken(target, newKey, wanted)) continue;
      taken += 1;
    }
  }
  return taken;
}

/** False when a smaller table, which gives up nothing for it, is full. */
function hasTaken(target: number, key: Uint8Array, value: Uint8Array): boolean {
  try {
    libbpf.updateElement(target, key, value);
    return true;
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'E2BIG') return false;
    throw error;
  }
}

function tickOf(value: Uint8Array, offset: number): number {
  return new DataView(value.buffer, value.byteOffset).getUint32(offset, true);
}

function conversionBetween(
  name: string,
  layouts: {
    readonly before: ReadonlyMap<string, MapLayout>;
    readonly after: ReadonlyMap<string, MapLayout>;
  },
): MapConversion | undefined {
  const [before, after] = [layouts.before.get(name), layouts.after.get(name)];
  return before === undefined || after === undefined ? undefined : conversionOf(name, before, after);
}

/** A data section, whose type is the section. */
function isSection(name: (typeof pinnedMaps)[number]): boolean {
  return objectMapName(name) !== name;
}

function* hashElements(fd: number): Generator<{ key: Uint8Array; value: Uint8Array }> {
  const { keySize, valueSize } = libbpf.mapInfo(fd);
  let cursor: Uint8Array | undefined;
  for (let limit = batch; ; ) {
    let read: ReturnType<typeof libbpf.lookupHash>;
    try {
      read = libbpf.lookupHash(fd, keySize, valueSize, limit, cursor);
    } catch (error) {
      // A bucket holds more than the room for one call.
      if (!(error instanceof SyscallError) || error.code !== 'ENOSPC' || limit > 1 << 22) throw error;
      limit *= 2;
      continue;
    }
    for (let i = 0; i < read.count; i++) {
      yield {
        key: read.keys.subarray(i * keySize, (i + 1) * keySize),
        value: read.values.subarray(i * valueSize, (i + 1) * valueSize),
      };
    }
    if (read.cursor === undefined) return;
    cursor = read.cursor;
  }
}

function copyHash(from: number, to: number, { key, value }: MapConversion): void {
  const keys: Uint8Array[] = [];
  const values: Uint8Array[] = [];
  const flush = () => {
    libbpf.updateBatch(to, Buffer.concat(keys), Buffer.concat(values), keys.length);
    keys.length = 0;
    values.length = 0;
  };
  for (const element of hashElements(from)) {
    keys.push(key(element.key));
    values.push(value(element.value));
    if (keys.length === batch) flush();
  }
  flush();
}

/** Element by element: 6.1 reads no batches of such maps. */
function copyTrie(from: number, to: number, { key, value }: MapConversion): void {
  const { keySize, valueSize } = libbpf.mapInfo(from);
  for (const one of libbpf.mapKeys(from, keySize)) {
    const found = new Uint8Array(valueSize);
    if (libbpf.lookupElement(from, one, found)) libbpf.updateElement(to, key(one), value(found));
  }
}

/** Bytes of an element as a system call gives it: those of per-CPU maps have a value for each CPU. */
function strideOf(fd: number, valueSize: number): number {
  const isPerCpu = libbpf.mapKind(fd).type === mapType.perCpuArray;
  return isPerCpu ? Math.ceil(valueSize / 8) * 8 * libbpf.possibleCpus() : valueSize;
}

function copyArray(from: number, to: number, conversion: MapConversion): void {
  const [source, target] = [libbpf.mapInfo(from), libbpf.mapInfo(to)];
  const [stride, newStride] = [strideOf(from, source.valueSize), strideOf(to, target.valueSize)];
  const cpus = stride === source.valueSize ? 1 : libbpf.possibleCpus();
  const values = libbpf.lookupArray(from, stride, source.maxEntries);
  const words = new DataView(values.buffer);
  const indices: number[] = [];
  const converted: Uint8Array[] = [];
  const flush = () => {
    const keys = new Uint8Array(Uint32Array.from(indices).buffer);
    libbpf.updateBatch(to, keys, Buffer.concat(converted), indices.length);
    indices.length = 0;
    converted.length = 0;
  };
  for (let index = 0; index < source.maxEntries; index++) {
    const at = index * stride;
    const place = conversion.index(index);
    if (place === undefined || place >= target.maxEntries || isZero(words, at, stride)) continue;
    const result = new Uint8Array(newStride);
    for (let cpu = 0; cpu < cpus; cpu++) {
      const one = at + (cpu * stride) / cpus;
      result.set(conversion.value(values.subarray(one, one + source.valueSize)), (cpu * newStride) / cpus);
    }
    indices.push(place);
    converted.push(result);
    if (indices.length === batch) flush();
  }
  flush();
}

function isZero(view: DataView, at: number, length: number): boolean {
  let i = 0;
  for (; i + 4 <= length; i += 4) if (view.getUint32(at + i, true) !== 0) return false;
  for (; i < length; i++) if (view.getUint8(at + i) !== 0) return false;
  return true;
}

/** Interfaces that are gone since cannot be given to the kernel again; they are placed when they come back. */
function copyDevices(from: number, to: number): void {
  const entries = Math.min(libbpf.mapInfo(from).maxEntries, libbpf.mapInfo(to).maxEntries);
  for (let index = 0; index < entries; index++) {
    const key = new Uint8Array(Uint32Array.of(index).buffer);
    const value = new Uint8Array(libbpf.mapInfo(from).valueSize);
    if (!libbpf.lookupElement(from, key, value)) continue;
    try {
      libbpf.updateElement(to, key, value);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
    }
  }
}
