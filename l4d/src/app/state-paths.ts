import { join } from 'node:path';

/** Folders of one host's l4d; several hosts on one machine (a lab) have their own each. */
export interface Folders {
  /** Sockets and locks; may vanish with a reboot. */
  readonly runDir: string;
  /** Desired state, verdicts, logs of companions. */
  readonly stateDir: string;
  /** Pins in bpffs. */
  readonly bpfDir: string;
}

/** Folders from the environment, else the usual places. */
export function defaultFolders(env: NodeJS.ProcessEnv): Folders {
  return {
    runDir: env['L4D_RUN_DIR'] ?? '/run/l4d',
    stateDir: env['L4D_STATE_DIR'] ?? '/var/lib/l4d',
    bpfDir: env['L4D_BPF_DIR'] ?? '/sys/fs/bpf/l4d',
  };
}

/** Files in the folders. */
export function pathsIn(folders: Folders) {
  return {
    apiSocket: join(folders.runDir, 'l4d.sock'),
    announcerSocket: join(folders.runDir, 'announcer.sock'),
    /** Of the announcer's VRRP process. */
    vrrpSocket: join(folders.runDir, 'vrrp.sock'),
    lock: join(folders.runDir, 'l4d.lock'),
    /** Not the run folder's name: both folders may be one. */
    stateLock: join(folders.stateDir, 'state.lock'),
    desired: join(folders.stateDir, 'desired'),
    runtime: join(folders.stateDir, 'runtime.json'),
    detached: join(folders.stateDir, 'detached.json'),
    appliedConfig: join(folders.stateDir, 'applied-config'),
  };
}
