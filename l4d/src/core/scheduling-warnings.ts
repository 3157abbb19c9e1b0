import { differingAnswers } from './desired/scheduling.ts';
import type { Vip } from './desired/vip.ts';
import { isForwarded } from './desired/vip-classes.ts';

/** What an operator gives up with a VIP's scheduler, slow start or missing flow table, in whole sentences. */
export function schedulingWarnings(vip: Vip): string[] {
  const warnings: string[] = [];
  const reasons = differingAnswers(vip);
  if (reasons.length > 0) {
    warnings.push(
      `VIP "${vip.name}": with ${reasons.join(' and ')} hosts answer differently for a new flow; one that a router moves to another host may change its backend`,
    );
  }
  if (isForwarded(vip) && !vip.stateful) {
    warnings.push(
      `VIP "${vip.name}": without a flow table a change of its backends, a drain too, moves the existing flows of the slots that change at once`,
    );
  }
  return warnings;
}
