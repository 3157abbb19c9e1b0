import { accessSync, chmodSync, constants, mkdirSync, statSync } from 'node:fs';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { holdLock, takeRunFolder } from '@l4d/kit/run-folder.ts';
import { ensureBpfFolder } from '../io/forwarding/bpf-folder.ts';
import { type Folders, pathsIn } from './state-paths.ts';

/** Makes the folders of sockets and of state ours alone for as long as this process lives. Throws OperatorError. */
export async function takeFolders(folders: Folders): Promise<void> {
  await takeRunFolder(folders.runDir, 'l4d');
  requireWritable(folders.stateDir);
  keepPrivate(folders.stateDir);
  requireAlone(pathsIn(folders).stateLock, folders.stateDir, '--state-dir');
}

/** As takeFolders, for the folder of pins: the last thing that is taken before the kernel is touched. */
export function takeBpfFolder(folder: string): void {
  ensureBpfFolder(folder);
  requireAlone(folder, folder, '--bpf-dir');
}

/** Locks what two daemons must not share. Throws OperatorError when another one holds it. */
function requireAlone(lock: string, folder: string, flag: string): void {
  if (holdLock(lock)) return;
  throw new OperatorError(
    `another l4d already uses the folder ${folder} (another one: ${flag})`,
    exitCode.alreadyRunning,
  );
}

/** Makes the folder when it is missing. Throws OperatorError when nothing can be written there. */
function requireWritable(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new OperatorError(
      `the folder ${folder} cannot be written: ${code ?? message} (another one: --state-dir)`,
      exitCode.system,
    );
  }
}

/** State has passwords in it. A folder that is not ours alone, such as /tmp, stays as it is: what is in it is closed. */
function keepPrivate(folder: string): void {
  const { mode, uid } = statSync(folder);
  const isShared = (mode & 0o1000) !== 0 || uid !== process.geteuid?.();
  if ((mode & 0o077) !== 0 && !isShared) chmodSync(folder, mode & 0o700);
}
