/**
 * Files of JSON records, one a line, to which records are only added. Each line begins with a checksum, so that what a
 * crash has cut off is told from what was stored.
 */
import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';

/** One line. */
export interface JournalRecord {
  readonly value: unknown;
  /** Where its line begins, in bytes. */
  readonly at: number;
}

/** What a journal holds. */
export interface JournalContent {
  /** The lines up to the first that is not whole. */
  readonly records: readonly JournalRecord[];
  /** Bytes of these lines. */
  readonly goodBytes: number;
  /** What comes after them; `cut off`: the rest of a line that a crash kept from being stored. */
  readonly rest: 'nothing' | 'cut off' | 'damaged';
}

/** The line of a record. */
export function journalLine(record: unknown): string {
  const text = JSON.stringify(record);
  return `${checksum(text)} ${text}\n`;
}

/** Reads what a journal's file holds. */
export function readJournal(bytes: Uint8Array): JournalContent {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: JournalRecord[] = [];
  let goodBytes = 0;
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf(0x0a, start);
    if (end === -1) return { records, goodBytes, rest: 'cut off' };
    const line = text.toString('utf8', start, end);
    const json = line.slice(9);
    if (line[8] !== ' ' || line.slice(0, 8) !== checksum(json))
      return { records, goodBytes, rest: 'damaged' };
    records.push({ value: JSON.parse(json), at: start });
    start = end + 1;
    goodBytes = start;
  }
  return { records, goodBytes, rest: 'nothing' };
}

/**
 * Adds lines (journalLine) after the first `size` bytes, in place of what a crash has left there, and resolves with the
 * size when they are on the disk. With size 0 the file is made, and its folder. Rejects with the file system's error;
 * what was stored before is then still there.
 */
export async function appendToJournal(path: string, size: number, lines: string): Promise<number> {
  const folder = dirname(path);
  if (size === 0) await mkdir(folder, { recursive: true });
  // Not 'a': what was cut off is written over. By name each time: a file that was moved away is missed at once.
  const file = await open(path, size > 0 ? 'r+' : 'w', 0o600);
  try {
    const bytes = Buffer.from(lines);
    try {
      if ((await file.stat()).size !== size) await file.truncate(size);
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, at, bytes.length - at, size + at);
        at += bytesWritten;
      }
      await file.datasync();
    } catch (error) {
      // A line that is not acknowledged is better not found by the next start.
      await file.truncate(size).catch(() => undefined);
      throw error;
    }
    if (size === 0) await syncFolder(folder);
    return size + bytes.length;
  } finally {
    await file.close();
  }
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}

async function syncFolder(folder: string): Promise<void> {
  const directory = await open(folder, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
