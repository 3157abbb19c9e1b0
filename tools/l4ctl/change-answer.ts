import type { Ctl } from './ctl.ts';

/** What the API answers to a change. */
interface ChangeAnswer {
  readonly revision?: number;
  readonly warnings?: readonly string[];
}

/**
 * Prints the answer to a change: `changes` (lines of their own), what there is to weigh, then what was done, with the
 * revision.
 */
export function printChange(ctl: Ctl, answer: unknown, done: string, changes = ''): void {
  const { revision = '?', warnings = [] } = (answer ?? {}) as ChangeAnswer;
  const told = warnings.map(warningLine).join('');
  ctl.print(answer, () => `${changes}${told}${done} (revision ${revision})\n`);
}

/** A warning as every command prints it. */
export function warningLine(warning: string): string {
  return `! ${warning}\n`;
}
