import { describe, expect, it } from 'vitest';
import { addTotals, summaryLine, totalsOfReport } from './totals.ts';

const report = (over: object) => ({
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 1,
  numTodoTests: 1,
  success: true,
  testResults: [],
  ...over,
});

describe('totals of a report', () => {
  it('takes the numbers as they are', () => {
    expect(totalsOfReport(report({}), 0)).toEqual({ passed: 3, failed: 0, skipped: 2 });
  });

  it('counts a file that could not be loaded as a failure', () => {
    const testResults = [
      { status: 'failed', assertionResults: [] },
      { status: 'passed', assertionResults: [{ status: 'passed' }] },
    ];
    expect(totalsOfReport(report({ testResults }), 1).failed).toBe(1);
  });

  it('does not count a failed test twice', () => {
    const testResults = [{ status: 'failed', assertionResults: [{ status: 'failed' }] }];
    expect(totalsOfReport(report({ numFailedTests: 1, testResults }), 1).failed).toBe(1);
  });

  it('counts a run that failed outside its tests', () => {
    expect(totalsOfReport(report({}), 1).failed).toBe(1);
  });
});

describe('summary', () => {
  it('adds up to one plain line', () => {
    const totals = addTotals([
      { passed: 1, failed: 2, skipped: 0 },
      { passed: 4, failed: 0, skipped: 7 },
    ]);
    expect(summaryLine(totals)).toBe('5 passed, 2 failed, 7 skipped');
  });
});
