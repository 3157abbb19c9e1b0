/**
 * Where the maps are pinned: a folder for each generation of their layout and sizes, and a link that names the one in
 * force. Another one is made in force by one rename:
 *
 *   FOLDER/maps -> maps_2       in force
 *   FOLDER/maps_1/              before it; flows that changed meanwhile are still to be taken from it
 *   FOLDER/vips4, ...           of a version that had no generations: generation 0
 */
import { mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { listPins, pinPath, unpin } from './bpf-folder.ts';
import { type MapFds, pinnedMaps } from './forwarding-maps.ts';

const link = 'maps';
const folderOf = (generation: number): string => `maps_${generation}`;

/** Number of the generation in force; undefined when no maps are pinned. */
export function currentGeneration(bpfFolder: string): number | undefined {
  try {
    return Number(/^maps_(\d+)$/.exec(readlinkSync(join(bpfFolder, link)))?.[1] ?? 0);
  } catch {
    return listPins(bpfFolder).some((name) => isMap(name)) ? 0 : undefined;
  }
}

/** Numbers of all generations that have a folder, or pins of their own. */
export function pinnedGenerations(bpfFolder: string): number[] {
  const names = listPins(bpfFolder);
  const numbered = names.flatMap((name) => /^maps_(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  return [...(names.some((name) => isMap(name)) ? [0] : []), ...numbered].sort((a, b) => a - b);
}

/** Descriptors of the maps of a generation; those that are not pinned are missing. Throws SyscallError. */
export function openGeneration(bpfFolder: string, generation: number): Partial<Record<keyof MapFds, number>> {
  const folder = placeOf(bpfFolder, generation);
  const found: Partial<Record<keyof MapFds, number>> = {};
  for (const name of pinnedMaps) {
    const fd = libbpf.openPinned(pinPath(folder, name));
    if (fd !== undefined) found[name] = fd;
  }
  return found;
}

/** Pins maps as a generation, which is not in force by that. Throws SyscallError. */
export function pinGeneration(
  bpfFolder: string,
  generation: number,
  fdOf: (name: keyof MapFds) => number,
): void {
  removeGeneration(bpfFolder, generation);
  const folder = placeOf(bpfFolder, generation);
  mkdirSync(folder, { mode: 0o700 });
  for (const name of pinnedMaps) libbpf.pin(fdOf(name), pinPath(folder, name));
}

/** Puts a generation in force: by one rename, so that there is always one. */
export function switchGeneration(bpfFolder: string, generation: number): void {
  const beside = join(bpfFolder, `${link}_new`);
  rmSync(beside, { force: true });
  symlinkSync(folderOf(generation), beside);
  renameSync(beside, join(bpfFolder, link));
}

/** Lets go of a generation's maps: they live on while programs use them. */
export function removeGeneration(bpfFolder: string, generation: number): void {
  if (generation > 0) rmSync(placeOf(bpfFolder, generation), { recursive: true, force: true });
  else for (const name of listPins(bpfFolder)) if (isMap(name)) unpin(bpfFolder, name);
}

/** Closes descriptors. */
export function closeAll(fds: Partial<Record<string, number>>): void {
  for (const fd of Object.values(fds)) if (fd !== undefined) closeFd(fd);
}

function placeOf(bpfFolder: string, generation: number): string {
  return generation === 0 ? bpfFolder : join(bpfFolder, folderOf(generation));
}

function isMap(name: string): boolean {
  return (pinnedMaps as readonly string[]).includes(name);
}
