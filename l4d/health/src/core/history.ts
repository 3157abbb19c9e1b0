import type { CheckOutcome } from './verdict.ts';

/** One check as it is shown. */
export interface CheckRecord extends CheckOutcome {
  /** When it ended, in clock milliseconds. */
  readonly at: number;
  /** How long it took, in milliseconds. */
  readonly durationMs: number;
}

/** Results kept of a target. */
export const historyLength = 20;

/** The history with one more record at its end, and no more than `length` of them. */
export function appendRecord(
  history: readonly CheckRecord[],
  record: CheckRecord,
  length = historyLength,
): readonly CheckRecord[] {
  return [...history.slice(Math.max(0, history.length + 1 - length)), record];
}
