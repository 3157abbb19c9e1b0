import type { HealthChecker } from '@l4d/health/io/health-checker.ts';
import { describeCondition } from '../core/condition.ts';
import type { Service } from '../core/config.ts';
import type { Condition } from '../core/service-plan.ts';
import type { ServiceStatus } from '../core/status.ts';
import type { Maintenance } from '../io/maintenance-store.ts';
import type { VipRunner } from '../io/vip-runner.ts';

/** What is known of a service. */
export interface ServiceFacts {
  readonly service: Service;
  readonly condition: Condition;
  readonly runners: readonly VipRunner[];
  readonly maintenance: Maintenance | undefined;
  readonly check: (index: number) => ReturnType<HealthChecker['status']>;
  /** Routers that have been told of a prefix. */
  readonly told: (prefix: string) => readonly string[];
  /** Clock milliseconds. */
  readonly now: number;
}

/** A service as the API shows it. */
export function serviceStatus(facts: ServiceFacts): ServiceStatus {
  const { service, condition, runners, maintenance, check, told, now } = facts;
  const error = runners.map((runner) => runner.addressError()).find((one) => one !== undefined);
  const text = (at: number) => new Date(at).toISOString();
  return {
    name: service.name,
    condition: condition.kind,
    reason: describeCondition(condition),
    vips: runners.map(({ prefix }) => ({ prefix, advertisedTo: told(prefix) })),
    addressesThere: service.loopback === 'none' || runners.every((runner) => runner.addressThere()),
    ...(error === undefined ? {} : { addressError: error }),
    checks: service.checks.map(({ type }, index) => {
      const found = check(index);
      return {
        type,
        verdict: found?.verdict ?? 'unknown',
        reason: found?.history.at(-1)?.reason ?? 'not asked yet',
        sinceMs: Math.round(now - (found?.since ?? now)),
      };
    }),
    ...(maintenance === undefined
      ? {}
      : {
          maintenance: {
            since: text(maintenance.since),
            ...(maintenance.until === undefined ? {} : { until: text(maintenance.until) }),
            ...(maintenance.reason === undefined ? {} : { reason: maintenance.reason }),
          },
        }),
  };
}
