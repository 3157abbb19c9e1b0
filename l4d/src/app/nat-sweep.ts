import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { IdleConnection } from '../core/nat-reset.ts';
import type { NatTotals } from '../core/nat-usage.ts';
import type { NatTable } from '../io/forwarding/nat-table.ts';
import type { TickReader } from '../io/forwarding/tick.ts';

/** What is swept, and by which clock. */
export interface NatSweepParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly table: NatTable;
  readonly tick: TickReader;
  /** Told of connections of TCP that were idle for too long, and that both sides take to live. */
  readonly onIdle: (connection: IdleConnection) => void;
}

/** Connections looked at in one turn of the event loop: a few milliseconds. */
const atOnce = 4096;
/** Between two parts of the table. */
const pause = Milliseconds(250);
/** Between two looks at the whole table. */
const rest = Seconds(5);

/** Goes through the table of NAT, part by part, for as long as the daemon runs. */
export function startNatSweep({ clock, logger, table, tick, onIdle }: NatSweepParts) {
  let totals: NatTotals = { phases: { opening: 0, established: 0, closing: 0 }, sources: [] };
  let timer = clock.after(pause, next);
  let hasFailed = false;
  let isStopped = false;

  function next(): void {
    void step();
  }

  async function step(): Promise<void> {
    let isWhole = false;
    try {
      const counted = await table.sweep(tick.now(), atOnce, onIdle);
      if (counted !== undefined) totals = counted;
      isWhole = counted !== undefined;
      hasFailed = false;
    } catch (error) {
      // The programs go on without: it costs room, and counts that are old.
      if (!hasFailed) logger.error({ err: error }, 'the table of NAT could not be swept');
      hasFailed = true;
    }
    if (!isStopped) timer = clock.after(isWhole ? rest : pause, next);
  }

  return {
    /** The table as it was when it was last gone through. */
    totals: (): NatTotals => totals,
    stop(): void {
      isStopped = true;
      timer.cancel();
      tick.close();
    },
  };
}
