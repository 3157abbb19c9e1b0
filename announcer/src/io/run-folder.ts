import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { tryLock } from '@l4d/kit/ffi/libc.ts';

/**
 * Takes the place of the one announcer in `runDir`: makes the folder, locks it, removes a socket that a dead
 * process left. Returns the path of the socket. The lock ends with the process, however it ends.
 * Throws OperatorError: exit code 75 when a live process serves the socket, 77 without permission.
 */
export async function takeRunFolder(runDir: string): Promise<string> {
  const socketPath = join(runDir, 'announcer.sock');
  const inUse = () =>
    new OperatorError(`another announcer already serves ${socketPath}`, exitCode.alreadyRunning);
  let lock: number;
  try {
    mkdirSync(runDir, { recursive: true, mode: 0o755 });
    lock = openSync(join(runDir, 'announcer.lock'), 'a', 0o600);
  } catch (error) {
    throw describeFolderError(runDir, error);
  }
  if (!tryLock(lock)) {
    closeSync(lock);
    throw inUse();
  }
  if (await answers(socketPath)) throw inUse();
  try {
    rmSync(socketPath, { force: true });
  } catch (error) {
    throw describeFolderError(runDir, error);
  }
  return socketPath;
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function describeFolderError(runDir: string, error: unknown): OperatorError {
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  const permission = code === 'EACCES' || code === 'EPERM';
  return new OperatorError(
    `cannot use the run folder ${runDir}: ${code}`,
    permission ? exitCode.permission : exitCode.system,
  );
}
