import { open } from 'node:fs/promises';

/** The text of a file of at most `maxBytes`. Rejects with the system's error, or one that tells the size. */
export async function readTextFile(path: string, maxBytes: number): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size > maxBytes) throw new Error(`${size} bytes are too many (allowed: ${maxBytes})`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
