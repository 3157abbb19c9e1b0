import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Whether this process could run a program: a path, or a name that is looked up in `searchPath` (as in PATH). */
export async function isProgram(program: string, searchPath: string): Promise<boolean> {
  const folders = searchPath.split(':').filter((folder) => folder !== '');
  const candidates = program.includes('/') ? [program] : folders.map((folder) => join(folder, program));
  for (const candidate of candidates) if (await canRun(candidate)) return true;
  return false;
}

async function canRun(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
