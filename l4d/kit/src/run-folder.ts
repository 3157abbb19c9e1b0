import { once } from 'node:events';
import { closeSync, lstatSync, mkdirSync, openSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { exitCode, OperatorError } from './errors.ts';
import { tryLock } from './ffi/libc.ts';

/**
 * Takes the place of the one `name` of this run folder: makes the folder, locks `NAME.lock`, removes
 * the socket `NAME.sock` that a dead process left, and returns the socket's path. The lock ends with
 * the process, however it ends. Throws OperatorError: exit code 75 when another one runs, 77 without
 * permission, 71 for what else is wrong with the folder.
 */
export async function takeRunFolder(runDir: string, name: string): Promise<string> {
  const socketPath = join(runDir, `${name}.sock`);
  const inUse = () =>
    new OperatorError(`another ${name} is already running on ${socketPath}`, exitCode.alreadyRunning);
  try {
    mkdirSync(runDir, { recursive: true, mode: 0o755 });
    if (!holdLock(join(runDir, `${name}.lock`))) throw inUse();
  } catch (error) {
    throw error instanceof OperatorError ? error : describeFolderError(runDir, error);
  }
  // The lock is advisory: whoever answers without it is not to be replaced either.
  if (await socketAnswers(socketPath)) throw inUse();
  const found = lstatSync(socketPath, { throwIfNoEntry: false });
  if (found !== undefined && !found.isSocket()) {
    throw new OperatorError(`${socketPath} is there and is not a socket: remove it`, exitCode.system);
  }
  try {
    rmSync(socketPath, { force: true });
  } catch (error) {
    throw describeFolderError(runDir, error);
  }
  return socketPath;
}

/**
 * Locks a file, made when it is missing, or a folder, until the process ends, however it ends; false
 * when somebody else holds it. Throws the file system's error or SyscallError.
 */
export function holdLock(path: string): boolean {
  const isFolder = lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  // Held open until the process ends: closing it would give the lock up.
  const lock = openSync(path, isFolder ? 'r' : 'a', 0o600);
  if (tryLock(lock)) return true;
  closeSync(lock);
  return false;
}

/** Lets an HTTP server listen on a unix socket that only its owner may use. Rejects with the socket's error. */
export async function listenOnSocket(server: Server, socketPath: string): Promise<void> {
  // By the mask and not by chmod afterwards: at no moment may others connect.
  const mask = process.umask(0o177);
  try {
    server.listen(socketPath);
  } finally {
    process.umask(mask);
  }
  await once(server, 'listening');
}

/** Whether somebody accepts connections on a unix socket. */
export function socketAnswers(socketPath: string): Promise<boolean> {
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
    `the folder ${runDir} cannot be written: ${code} (another one: --run-dir)`,
    permission ? exitCode.permission : exitCode.system,
  );
}
