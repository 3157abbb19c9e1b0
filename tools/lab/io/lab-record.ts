import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import type { LabNames } from '../core/lab-names.ts';

/** What is known on disk of a lab that is up, or was being built. */
export interface LabRecord {
  readonly topology: string;
  /** Namespaces it has made or was about to make. */
  readonly namespaces: readonly string[];
  /** Whether it was built to the end. */
  readonly ready: boolean;
  readonly startedAt: string;
}

/** The record of a lab; undefined when there is none. A damaged one counts as a lab that is not ready. */
export async function readLabRecord(names: LabNames): Promise<LabRecord | undefined> {
  const text = await readFile(names.recordFile, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as LabRecord;
  } catch {
    return { topology: '', namespaces: [], ready: false, startedAt: '' };
  }
}

/** Writes the record, before anything is made and again when the lab is ready. */
export async function writeLabRecord(names: LabNames, record: LabRecord): Promise<void> {
  await writeFileAtomically(names.recordFile, `${JSON.stringify(record, undefined, 2)}\n`, 0o644);
}
