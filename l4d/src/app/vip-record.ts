import type { BackendCondition } from '../core/backend-condition.ts';
import type { Vip } from '../core/desired/vip.ts';
import type { DesiredState } from '../core/desired-state.ts';
import type { VerdictView } from '../core/status.ts';

/** What is known of one VIP that is declared, or still in the kernel. */
export interface VipRecord {
  /** The declaration, the last one of a VIP that is declared no more; undefined for what was only found in the kernel. */
  vip: Vip | undefined;
  isDeclared: boolean;
  conditions: readonly BackendCondition[];
  verdict: VerdictView;
  /** Why its entries in the kernel are not what is wanted. */
  notProgrammed: string | undefined;
  /** Until when a VIP that is new in the kernel waits for its backends' first answers, clock milliseconds. */
  settleUntil: number | undefined;
  /** Whether it could be announced, would the operator want it. */
  canServe: boolean;
}

/** A VIP that was not looked at yet. */
export function newRecord(vip: Vip | undefined): VipRecord {
  return {
    vip,
    isDeclared: vip !== undefined,
    conditions: [],
    verdict: { code: 'withdrawn', reason: 'not looked at yet' },
    notProgrammed: undefined,
    settleUntil: undefined,
    canServe: false,
  };
}

/** Whether anybody can be told of a VIP: routers, or by its group the segment. */
export function isAnnounceable(desired: DesiredState | undefined, vip: Vip | undefined): boolean {
  return desired?.host.bgp !== undefined || vip?.vrrpGroup !== undefined;
}
