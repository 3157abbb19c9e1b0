import type { Clock } from '@l4d/kit/clock.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { Vip } from '../core/desired/vip.ts';
import { isProxied } from '../core/desired/vip-classes.ts';
import type { DesiredState } from '../core/desired-state.ts';
import type { VerdictView } from '../core/status.ts';
import { judgeVip, mayServe, type VipFacts } from '../core/vip-verdict.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import type { ProxyHandoff } from './proxy-handoff.ts';
import { isAnnounceable, type VipRecord } from './vip-record.ts';

/** What VIPs are judged with. */
export interface VipJudgingParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly runtime: Pick<RuntimeStore, 'stop'>;
  readonly handoff: Pick<ProxyHandoff, 'problem'>;
  /** Has a VIP looked at again after so many milliseconds. */
  readonly lookAfter: (key: string, ms: number) => void;
}

/** What holds of the host while VIPs are judged. */
export interface HostFacts {
  readonly desired: DesiredState;
  readonly isDetached: (key: string) => boolean;
  /** Why the kernel forwards nothing as wanted; undefined when it does. */
  readonly problem: string | undefined;
}

/** Decides of each VIP whether it is announced, and why it is not. */
export interface VipJudging {
  /** Puts the verdicts of those looked at into their records; `report` gets those that are others, in words. */
  judge(
    records: ReadonlyMap<string, VipRecord>,
    looked: readonly string[],
    host: HostFacts,
    report: (line: string) => void,
  ): void;
}

/** Up to so many changes of verdicts at once are told one by one. */
const maxVerdictLines = 100;

interface ChangedVerdict {
  readonly vip: Vip;
  readonly verdict: VerdictView;
}

/** Judges by what the records know. */
export function createVipJudging(parts: VipJudgingParts): VipJudging {
  const { clock, logger, runtime, handoff } = parts;

  /** Backends that a VIP new in the kernel still waits for. */
  function awaitedBackends(key: string, record: VipRecord): number {
    if (record.settleUntil === undefined) return 0;
    const count = record.conditions.filter(({ settled }) => !settled).length;
    const left = record.settleUntil - clock.now();
    if (count > 0 && left > 0) {
      parts.lookAfter(key, left + 5);
      return count;
    }
    record.settleUntil = undefined;
    return 0;
  }

  return {
    judge(records, looked, { desired, isDetached, problem }, report) {
      const changed: ChangedVerdict[] = [];
      for (const key of looked) {
        const record = records.get(key);
        if (record?.vip === undefined || !record.isDeclared) continue;
        const { vip } = record;
        const known: VipFacts = {
          vip,
          hasBgp: isAnnounceable(desired, vip),
          hostDraining: desired.host.draining,
          stopping: runtime.stop() !== undefined,
          detached: isDetached(key),
          notProgrammed: problem ?? record.notProgrammed,
          proxyDown: isProxied(vip) ? handoff.problem(vip) : undefined,
          awaited: awaitedBackends(key, record),
          healthy: record.conditions.map(({ healthy }) => healthy),
        };
        const verdict = judgeVip(known);
        record.canServe = mayServe(known);
        if (verdict.code !== record.verdict.code) {
          changed.push({ vip, verdict });
          report(`verdict of ${vip.name}: ${verdict.code}`);
        }
        record.verdict = verdict;
      }
      logVerdicts(logger, changed);
    },
  };
}

function logVerdicts(logger: Logger, changed: readonly ChangedVerdict[]): void {
  const isMany = changed.length > maxVerdictLines;
  const counts: Record<string, number> = {};
  for (const { vip, verdict } of changed) {
    counts[verdict.code] = (counts[verdict.code] ?? 0) + 1;
    const line = { vip: vip.name, verdict: verdict.code, reason: verdict.reason };
    if (isMany) logger.debug(line, 'verdict');
    else logger.info(line, 'verdict');
  }
  if (isMany) logger.info({ vips: changed.length, verdicts: counts }, 'verdicts');
}
