import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { BackendCondition } from '../core/backend-condition.ts';
import type { Backend } from '../core/desired/backend.ts';
import { type Vip, vipKeyText } from '../core/desired/vip.ts';
import { fullShare, slowStartAt } from '../core/slow-start.ts';
import type { ForwardingTable } from '../io/forwarding/forwarding-table.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import type { BackendFactsSource } from './backend-facts.ts';

/** What slow starts are found out from. */
export interface SlowStartParts {
  readonly forwarding: ForwardingTable;
  readonly facts: BackendFactsSource;
  readonly runtime: RuntimeStore;
  /** Wall clock milliseconds. */
  readonly wallClock: () => number;
}

/** Which backends start slowly. Begun ones are kept over restarts of the daemon. */
export interface SlowStarts {
  /**
   * Takes note of what a pass found out: one that takes flows and did not, or that is new in a VIP of before, begins.
   * Milliseconds until the next step, if there is one.
   */
  look(vip: Vip, conditions: readonly BackendCondition[]): number | undefined;
  /** Tenths of its weight that a backend has now. */
  shareOf(vip: Vip, backend: Backend): number;
}

/** What the kernel holds tells who took flows before: also after a restart. */
export function createSlowStarts({ forwarding, facts, runtime, wallClock }: SlowStartParts): SlowStarts {
  const stepOf = (vip: Vip, backend: Backend) => {
    const startedAt =
      vip.slowStart === undefined ? undefined : runtime.slowStarted(facts.keyOf(vip, backend));
    if (startedAt === undefined || vip.slowStart === undefined) return undefined;
    return slowStartAt(startedAt, wallClock(), vip.slowStart);
  };

  return {
    look(vip, conditions) {
      if (vip.slowStart === undefined) return undefined;
      const held = forwarding.held(vipKeyText(vip));
      let next: number | undefined;
      for (const [index, backend] of vip.backends.entries()) {
        const key = facts.keyOf(vip, backend);
        if (conditions[index]?.healthy !== true) {
          runtime.setSlowStart(key, undefined);
          continue;
        }
        const address = formatIpAddress(backend.address);
        const before = held?.backends.find((other) => formatIpAddress(other.address) === address);
        const tookFlows = before?.state === 'up' && before.mac !== undefined;
        // A VIP without a table serves nobody: its first backends have no one to be compared with.
        if (
          held !== undefined &&
          held.slots.length > 0 &&
          !tookFlows &&
          runtime.slowStarted(key) === undefined
        ) {
          runtime.setSlowStart(key, wallClock());
        }
        const step = stepOf(vip, backend);
        if (step?.nextStepIn !== undefined) next = Math.min(next ?? step.nextStepIn, step.nextStepIn);
        else if (step !== undefined) runtime.setSlowStart(key, undefined);
      }
      return next;
    },
    shareOf: (vip, backend) => stepOf(vip, backend)?.share ?? fullShare,
  };
}
