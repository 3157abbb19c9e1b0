import { err, ok, type Result } from '@l4d/kit/result.ts';

/** Lab id when none is given. */
export const defaultLabId = 'l4d';

/** Folder that holds one folder a lab. */
export const labsFolder = '/run/l4d-lab';

/** bpffs folder that holds one folder a lab. */
export const labsBpfFolder = '/sys/fs/bpf/l4d-lab';

/** Where `ip netns` keeps its names. */
export const netnsFolder = '/run/netns';

/**
 * Everything on the machine that belongs to a lab is named after its id, so that two labs can exist side by
 * side and a crashed one can be found again.
 */
export interface LabNames {
  readonly id: string;
  /** The lab's own folder: configurations, sockets, logs. */
  readonly folder: string;
  readonly bpfFolder: string;
  /** The record of what is up. */
  readonly recordFile: string;
}

/** Checks an id (`[a-z][a-z0-9-]*`, at most 24 characters) and derives the lab's names. */
export function labNames(id: string): Result<LabNames, string> {
  if (!/^[a-z][a-z0-9-]{0,23}$/.test(id)) {
    return err(
      `"${id}" is no lab id: a lower-case letter, then at most 23 lower-case letters, digits or "-"`,
    );
  }
  const folder = `${labsFolder}/${id}`;
  return ok({ id, folder, bpfFolder: `${labsBpfFolder}/${id}`, recordFile: `${folder}/lab.json` });
}

/** Name of a host's network namespace. Host names have no "-", so no two labs share one. */
export function namespaceOf(names: LabNames, host: string): string {
  return `${names.id}-${host}`;
}

/** Path of a host's network namespace, as `nsenter --net=` wants it. */
export function namespacePath(names: LabNames, host: string): string {
  return `${netnsFolder}/${namespaceOf(names, host)}`;
}

/** A host's own folder. */
export function hostFolder(names: LabNames, host: string): string {
  return `${names.folder}/${host}`;
}

/** Environment of the product's processes on a host: its run, state and bpffs folders. */
export interface HostEnvironment {
  readonly L4D_RUN_DIR: string;
  readonly L4D_STATE_DIR: string;
  readonly L4D_BPF_DIR: string;
}

/** The environment of a host. */
export function hostEnvironment(names: LabNames, host: string): HostEnvironment {
  return {
    L4D_RUN_DIR: `${hostFolder(names, host)}/run`,
    L4D_STATE_DIR: `${hostFolder(names, host)}/state`,
    L4D_BPF_DIR: `${names.bpfFolder}/${host}`,
  };
}
