import { mkdirSync, readdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { mount } from '@l4d/kit/ffi/libc.ts';

/** f_type of bpffs (BPF_FS_MAGIC of linux/magic.h). */
const bpfFsMagic = 0xcafe4a11;

/** Pins outlive every process of ours; these are their names in the host's bpffs folder. */
export const pinName = {
  /** Of host.interface; those of further interfaces have their number behind it. */
  xdpLink: 'xdp_link',
  /** With the first program's id behind it: its stages, which the kernel empties when nobody holds them. */
  stages: 'stages_',
  skLookupLink: 'l7_lookup_link',
  /** A map beside those of the forwarding: it is written by the announcer's VRRP process. */
  virtualMacs: 'virtual_macs',
  /** Alike. */
  neighbours: 'neighbours',
  neighbourOwners: 'neighbour_owners',
} as const;

/**
 * Makes the folder for pins, mounting bpffs at /sys/fs/bpf when nothing has. Throws OperatorError
 * when the folder does not lie in a bpffs.
 */
export function ensureBpfFolder(folder: string): void {
  const root = '/sys/fs/bpf';
  try {
    if (folder.startsWith(root) && !isBpfFs(root)) mount('bpf', root, 'bpf');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new OperatorError(
      `cannot make the bpffs folder ${folder}: ${(cause as Error).message}`,
      exitCode.system,
    );
  }
  if (!isBpfFs(folder)) {
    throw new OperatorError(
      `${folder} is not in a bpffs; mount one: mount -t bpf bpf ${root}`,
      exitCode.system,
    );
  }
}

function isBpfFs(path: string): boolean {
  try {
    return statfsSync(path).type === bpfFsMagic;
  } catch {
    return false;
  }
}

/** Path of a pin. */
export function pinPath(folder: string, name: string): string {
  return join(folder, name);
}

/** Gives a pin another name, in place of what had it. */
export function renamePin(folder: string, from: string, to: string): void {
  renameSync(join(folder, from), join(folder, to));
}

/** Removes one pin; no error when it is not there. */
export function unpin(folder: string, name: string): void {
  rmSync(join(folder, name), { force: true });
}

/** Removes the folder with all pins in it. */
export function removeBpfFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/** Names of the pins; empty when the folder is missing. */
export function listPins(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
