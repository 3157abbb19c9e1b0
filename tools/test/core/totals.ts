/** How many checks and tests ended how. */
export interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Nothing ran. */
export const noTotals: Totals = { passed: 0, failed: 0, skipped: 0 };

/** The part of vitest's JSON report that the totals come from. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly success: boolean;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

/**
 * Totals of a report of vitest. A file that could not be loaded, or whose hooks failed outside any test,
 * counts as one failure: no test of it would tell. So does a run that failed for another reason.
 */
export function totalsOfReport(report: unknown, exitCode: number): Totals {
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = report as Report;
  const silent = testResults.filter(
    (file) => file.status === 'failed' && file.assertionResults.every(({ status }) => status !== 'failed'),
  ).length;
  const failed = numFailedTests + silent;
  return {
    passed: numPassedTests,
    failed: failed === 0 && exitCode !== 0 ? 1 : failed,
    skipped: numPendingTests + numTodoTests,
  };
}

/** The sum of all. */
export function addTotals(all: readonly Totals[]): Totals {
  return all.reduce(
    (sum, one) => ({
      passed: sum.passed + one.passed,
      failed: sum.failed + one.failed,
      skipped: sum.skipped + one.skipped,
    }),
    noTotals,
  );
}

/** The line that closes a run. */
export function summaryLine(totals: Totals): string {
  return `${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`;
}
