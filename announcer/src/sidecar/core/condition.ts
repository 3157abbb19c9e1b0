import type { Verdict } from '@l4d/health/core/verdict.ts';
import type { Condition } from './service-plan.ts';

/** What a check of a service says. */
export interface CheckView {
  readonly verdict: Verdict;
  /** Of the last outcome; empty before the first. */
  readonly reason: string;
}

/** What a service is told to do, beside what its checks say. */
export interface Intent {
  /** Since when it is to be in maintenance, clock milliseconds. */
  readonly maintenanceSince: number | undefined;
  /** Since when the sidecar is to end. */
  readonly stoppingSince: number | undefined;
}

/** How a service is: intent goes before health, one bad check before good ones. */
export function conditionOf(checks: readonly CheckView[], intent: Intent): Condition {
  if (intent.stoppingSince !== undefined) return { kind: 'stopping', since: intent.stoppingSince };
  if (intent.maintenanceSince !== undefined) return { kind: 'maintenance', since: intent.maintenanceSince };
  const bad = checks.find(({ verdict }) => verdict === 'down');
  if (bad !== undefined) return { kind: 'down', reason: bad.reason };
  return checks.every(({ verdict }) => verdict === 'up') ? { kind: 'up' } : { kind: 'unknown' };
}

/** One line for people. */
export function describeCondition(condition: Condition): string {
  switch (condition.kind) {
    case 'up':
      return 'all checks are good';
    case 'unknown':
      return 'waits for the first answers of its checks';
    case 'down':
      return condition.reason;
    case 'maintenance':
      return 'in maintenance';
    case 'stopping':
      return 'the sidecar is stopping';
    case 'removed':
      return 'no service has it any more';
  }
}
