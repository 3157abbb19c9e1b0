import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';

/** enum bpf_map_type of linux/bpf.h. */
const mapType = {
  hash: 1,
  array: 2,
  perCpuArray: 6,
  lruHash: 9,
  lpmTrie: 11,
  arrayOfMaps: 12,
  devmap: 14,
} as const;

/**
 * Makes all maps of a loaded object as they were when it was loaded: without entries, or all zeros. Constants and
 * the programs' own tables stay.
 */
export function wipeMaps(object: libbpf.BpfObject): void {
  for (const name of libbpf.mapNames(object)) {
    if (!name.includes('.rodata')) wipe(libbpf.mapFd(object, name));
  }
}

function wipe(fd: number): void {
  const { keySize, valueSize, maxEntries } = libbpf.mapInfo(fd);
  switch (libbpf.mapKind(fd).type) {
    case mapType.hash:
    case mapType.lruHash:
    case mapType.lpmTrie:
    case mapType.devmap:
      for (const key of libbpf.mapKeys(fd, keySize)) libbpf.deleteElement(fd, key);
      return;
    case mapType.array:
      return void writeZeros(fd, valueSize, maxEntries);
    case mapType.perCpuArray:
      return void writeZeros(fd, Math.ceil(valueSize / 8) * 8 * libbpf.possibleCpus(), maxEntries);
    case mapType.arrayOfMaps:
      for (const key of libbpf.mapKeys(fd, keySize)) wipeInner(fd, key);
  }
}

function writeZeros(fd: number, valueSize: number, count: number): void {
  const keys = Uint32Array.from({ length: count }, (_, index) => index);
  libbpf.updateBatch(fd, new Uint8Array(keys.buffer), new Uint8Array(valueSize * count), count);
}

function wipeInner(fd: number, key: Uint8Array): void {
  const id = new Uint32Array(1);
  if (!libbpf.lookupElement(fd, key, new Uint8Array(id.buffer))) return;
  const inner = libbpf.openMapById(id[0] ?? 0);
  wipe(inner);
  closeFd(inner);
}
