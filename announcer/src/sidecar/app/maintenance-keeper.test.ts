import { createLogger } from '@l4d/kit/logger.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { expect, it, vi } from 'vitest';
import type { Maintenance } from '../io/maintenance-store.ts';
import { createMaintenanceKeeper } from './maintenance-keeper.ts';

/** A keeper on a disk that may be full, with a wall clock that may jump. */
async function keeperOf(kept: Record<string, Maintenance> = {}) {
  const clock = createManualClock();
  const logger = createLogger('maintenance-test');
  const disk = { full: false, content: new Map(Object.entries(kept)) };
  const wall = { offset: 1_000_000 };
  const keeper = await createMaintenanceKeeper({
    store: {
      load: async () => disk.content,
      async save(services) {
        await Promise.resolve();
        if (disk.full) throw new Error('ENOSPC: no space left on device');
        disk.content = new Map(services);
      },
    },
    clock,
    wallClock: () => wall.offset + clock.now(),
    logger,
    onChange: () => {},
  });
  const on = (name: string, forMs?: number) => {
    const now = wall.offset + clock.now();
    const until = forMs === undefined ? undefined : now + forMs;
    return keeper.set([name], { since: now, until });
  };
  return { clock, disk, wall, keeper, logger, on };
}

it('many at once are all kept', async () => {
  const { disk, keeper, on } = await keeperOf();
  await Promise.all([on('a'), on('b'), keeper.set(['c'], undefined), on('d')]);
  expect([...disk.content.keys()]).toEqual(['a', 'b', 'd']);
});

it('ends by itself also on a full disk, and stays ended after a restart', async () => {
  const { clock, disk, keeper, on } = await keeperOf();
  await on('a', 5000);
  await on('b');
  disk.full = true;
  await clock.advance(6000);
  expect(keeper.get('a')).toBeUndefined();
  expect(keeper.get('b')).toBeDefined();
  await expect(on('c')).rejects.toThrow('ENOSPC');
  expect(keeper.get('c')).toBeUndefined();
  const again = await keeperOf({ a: { since: 0, until: 5000 }, b: { since: 0 } });
  expect([again.keeper.get('a'), again.keeper.get('b')?.since]).toEqual([undefined, 0]);
});

it('one that is prolonged does not end at its first time', async () => {
  const { clock, keeper, on } = await keeperOf();
  await on('a', 5000);
  await clock.advance(4000);
  await on('a', 5000);
  await clock.advance(2000);
  expect(keeper.get('a')).toBeDefined();
  await clock.advance(4000);
  expect(keeper.get('a')).toBeUndefined();
});

it('a jump of the wall clock does not move the steps of leaving', async () => {
  const { clock, wall, keeper, on } = await keeperOf();
  await clock.advance(100);
  await on('a');
  wall.offset -= 3_600_000;
  expect(keeper.since('a')).toBe(100);
});

it('warns of its begin; its end is good news', async () => {
  const { keeper, logger, on } = await keeperOf();
  const [warn, info] = [vi.spyOn(logger, 'warn'), vi.spyOn(logger, 'info')];
  await on('a');
  await keeper.set(['a'], undefined);
  expect(warn.mock.calls.map((words) => words[1])).toEqual(['in maintenance']);
  expect(info.mock.calls.map((words) => words[1])).toEqual(['maintenance is over']);
});
