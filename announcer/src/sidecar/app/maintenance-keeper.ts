import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { Maintenance, MaintenanceStore } from '../io/maintenance-store.ts';

/** Which services are in maintenance, and since when by the clock that does not jump. */
export interface MaintenanceKeeper {
  get(name: string): Maintenance | undefined;
  /** Clock milliseconds. */
  since(name: string): number | undefined;
  /** Takes services out, or back in. Rejects when it cannot be kept; nothing has changed then. */
  set(names: readonly string[], maintenance: Maintenance | undefined): Promise<void>;
  stop(): void;
}

/** What a keeper needs. */
export interface MaintenanceParts {
  readonly store: MaintenanceStore;
  readonly clock: Clock;
  readonly wallClock: () => number;
  readonly logger: Logger;
  /** Told after each change. */
  readonly onChange: (name: string) => void;
}

/** Timers of more than 24 days fire at once: asked again before. */
const longestWait = 86_400_000;

/** Reads what is kept; what has ended meanwhile has ended. Rejects with OperatorError when it cannot be read. */
export async function createMaintenanceKeeper(parts: MaintenanceParts): Promise<MaintenanceKeeper> {
  const { store, clock, wallClock, logger, onChange } = parts;
  const kept = new Map<string, Maintenance>();
  const sinceByName = new Map<string, number>();
  let timers: Timer[] = [];
  let last: Promise<unknown> = Promise.resolve();

  function take(names: readonly string[], maintenance: Maintenance | undefined): void {
    for (const name of names) {
      const before = kept.get(name);
      if (maintenance === undefined) {
        kept.delete(name);
        sinceByName.delete(name);
      } else {
        kept.set(name, { ...maintenance, since: before?.since ?? maintenance.since });
        if (before === undefined) sinceByName.set(name, clock.now());
      }
      if (maintenance === undefined) logger.info({ service: name }, 'maintenance is over');
      else logger.warn({ service: name, reason: maintenance.reason }, 'in maintenance');
    }
    arm();
    for (const name of names) onChange(name);
  }

  function arm(): void {
    for (const timer of timers) timer.cancel();
    timers = [...kept].flatMap(([name, { until }]) => {
      if (until === undefined) return [];
      const delay = Math.min(Math.max(0, until - wallClock()), longestWait);
      return [
        clock.after(Milliseconds(delay), () => (until <= wallClock() ? void expire(name, until) : arm())),
      ];
    });
  }

  /** It ends also when that cannot be kept: what is kept says itself that its time is over. */
  const expire = (name: string, until: number) =>
    inTurn(async () => {
      // Prolonged, or called off, while others had their turn.
      if (kept.get(name)?.until !== until) return;
      const next = new Map(kept);
      next.delete(name);
      await store.save(next).catch((error: Error) => {
        logger.error({ service: name, error: error.message }, 'the end of maintenance could not be kept');
      });
      take([name], undefined);
    });

  /** One after the other: each begins with what the one before has left. */
  function inTurn(work: () => Promise<void>): Promise<void> {
    const next = last.then(work);
    last = next.catch(() => undefined);
    return next;
  }

  for (const [name, maintenance] of await store.load()) {
    if (maintenance.until !== undefined && maintenance.until <= wallClock()) continue;
    kept.set(name, maintenance);
    sinceByName.set(name, clock.now());
  }
  arm();
  return {
    get: (name) => kept.get(name),
    since: (name) => sinceByName.get(name),
    set: (names, maintenance) =>
      inTurn(async () => {
        const next = new Map(kept);
        for (const name of names) {
          if (maintenance === undefined) next.delete(name);
          else next.set(name, { ...maintenance, since: next.get(name)?.since ?? maintenance.since });
        }
        // Kept before it is done: a crash in between leaves it taken out.
        await store.save(next);
        take(names, maintenance);
      }),
    stop() {
      for (const timer of timers) timer.cancel();
    },
  };
}
