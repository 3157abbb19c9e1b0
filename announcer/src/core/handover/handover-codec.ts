/** The text of a snapshot, with the format that it is in. */
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { z } from 'zod';
import { type ProcessSnapshot, processSnapshotSchema } from './snapshot.ts';

/** The format that is written. It changes when a reader of the one before would misread it. */
export const handoverFormat = 1;

/** Formats that can be read. */
export const readableFormats: readonly number[] = [handoverFormat];

const envelopeSchema = z.strictObject({ format: z.number().int(), state: z.unknown() });

/** The snapshot as text. */
export function encodeSnapshot(state: ProcessSnapshot): string {
  return JSON.stringify({ format: handoverFormat, state });
}

/** The snapshot of a text; the reason why not, which names the first thing that is wrong. */
export function decodeSnapshot(text: string): Result<ProcessSnapshot, string> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return err(`the state is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const envelope = envelopeSchema.safeParse(json);
  if (!envelope.success) return err(`the state has no format: ${firstIssue(envelope.error)}`);
  const { format, state } = envelope.data;
  if (!readableFormats.includes(format)) {
    return err(`the state is of format ${format}, this version reads ${readableFormats.join(', ')}`);
  }
  const snapshot = processSnapshotSchema.safeParse(state);
  if (!snapshot.success) return err(`the state is not what it should be: ${firstIssue(snapshot.error)}`);
  // JSON has no undefined: what is optional is absent, as the exact types want it.
  return ok(snapshot.data as unknown as ProcessSnapshot);
}

function firstIssue({ issues }: z.ZodError): string {
  const [issue] = issues;
  return issue === undefined ? '' : `${issue.path.map(String).join('.')}: ${issue.message}`;
}
