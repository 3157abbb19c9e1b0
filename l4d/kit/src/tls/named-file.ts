import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { maxPemBytes } from './pem.ts';

/** What tells one version of a file from the next; `missing` when it is not there. */
export function fileSignature(path: string): string {
  try {
    // Follows symbolic links: they are how several files are exchanged at once.
    const { dev, ino, size, mtimeMs, ctimeMs } = statSync(path);
    return `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  } catch {
    return 'missing';
  }
}

/** Reads a file that an operator has named. Throws Error with a sentence that names it. */
export function readNamedFile(path: string): Uint8Array {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new Error(
      code === 'ENOENT'
        ? `${path} does not exist`
        : code === 'EACCES'
          ? `${path} may not be read by this user`
          : `${path} cannot be read: ${code}`,
    );
  }
  try {
    const { size } = fstatSync(fd);
    if (!fstatSync(fd).isFile()) throw new Error(`${path} is not a file`);
    if (size > maxPemBytes) throw new Error(`${path} has ${size} bytes (allowed: at most ${maxPemBytes})`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}
