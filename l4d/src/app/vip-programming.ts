import type { Clock } from '@l4d/kit/clock.ts';
import { InvariantError } from '@l4d/kit/errors.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { type Vip, vipKeyText } from '../core/desired/vip.ts';
import { usesNat, type WantedVip } from '../core/forwarding/forwarding-plan.ts';
import { settlingTime } from '../core/vip-verdict.ts';
import { wantedVip } from '../core/wanted-vip.ts';
import type { ForwardingTable } from '../io/forwarding/forwarding-table.ts';
import type { BackendFactsSource } from './backend-facts.ts';
import type { SlowStarts } from './slow-starts.ts';
import type { VipRecord } from './vip-record.ts';

/** What VIPs are programmed with. */
export interface VipProgrammingParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly forwarding: ForwardingTable;
  readonly facts: BackendFactsSource;
  readonly slowStarts: SlowStarts;
  /** Why NAT cannot be done for a VIP of that family; undefined when it can. */
  readonly natProblem?: (family: 4 | 6) => string | undefined;
}

/** Programs VIPs into the kernel and reads them back. */
export interface VipProgramming {
  /**
   * Makes the kernel hold a VIP as it is now; the record says why it does not. `tell` gets what was done, in words.
   * Whether other backends than before are in the kernel. Throws InvariantError.
   */
  program(record: VipRecord, vip: Vip, tell: (line: string) => void): boolean;
}

/** Works on the kernel's tables. */
export function createVipProgramming(parts: VipProgrammingParts): VipProgramming {
  const { clock, logger, facts, forwarding, slowStarts } = parts;

  const natProblem = (wanted: WantedVip) =>
    usesNat(wanted) ? parts.natProblem?.(wanted.address.family) : undefined;

  /** Why the kernel does not hold what is wanted; undefined when it does. */
  function write(vip: Vip, wanted: WantedVip, tell: (line: string) => void): string | undefined {
    const key = vipKeyText(vip);
    try {
      const writes = forwarding.apply(wanted);
      if (writes > 0) {
        tell(`forwarding of ${vip.name}: ${writes} writes`);
        logger.debug({ vip: vip.name, writes }, 'forwarding programmed');
      }
      const difference = forwarding.verify(wanted);
      if (difference === undefined) return natProblem(wanted);
      logger.warn({ vip: vip.name, difference }, 'somebody else changed the kernel: it is written again');
      tell(`forwarding of ${vip.name}: written again, for ${difference}`);
      forwarding.refresh(key);
      forwarding.apply(wanted);
      return forwarding.verify(wanted) ?? natProblem(wanted);
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      return error instanceof Error ? error.message : String(error);
    }
  }

  return {
    program(record, vip, tell) {
      const before = forwarding.held(vipKeyText(vip));
      if (before === undefined) record.settleUntil = clock.now() + settlingTime(vip);
      const wanted = wantedVip(
        vip,
        record.conditions,
        (backend) => facts.wayOf(vip, backend),
        (backend) => slowStarts.shareOf(vip, backend),
      );
      const backendsBefore = before?.backends.length ?? 0;
      const problem = write(vip, wanted, tell);
      if (problem !== undefined && problem !== record.notProgrammed) {
        logger.error({ reason: problem, vip: vip.name }, 'forwarding could not be programmed');
      }
      record.notProgrammed = problem;
      // Only a backend that is in the kernel can be asked by way of it.
      return backendsBefore !== wanted.backends.length;
    },
  };
}
