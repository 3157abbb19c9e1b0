import { expect, it } from 'vitest';
import { createCensus } from './flow-census.ts';

it('a census tells what lives, what is over, and who has how much to do', () => {
  const loads = new Map<number, number>();
  const vips = new Map([
    [
      1,
      {
        idleTicks: 100,
        compared: new Map([
          [7, 3],
          [8, 1],
        ]),
      },
    ],
    [2, { idleTicks: 10 }],
  ]);
  const census = createCensus(vips, 1000, loads);
  const flow = { vipId: 1, backend: 7, generation: 3, lastTick: 990, isClosed: false };
  census.add(flow);
  census.add({ ...flow, backend: 8, generation: 1 });
  census.add({ ...flow, isClosed: true });
  census.add({ ...flow, lastTick: 899 });
  census.add({ ...flow, vipId: 2 });
  census.add({ ...flow, vipId: 2, lastTick: 989 });
  // A packet of after the clock was read, and a VIP that is gone.
  census.add({ ...flow, lastTick: 1001 });
  census.add({ ...flow, vipId: 3 });
  // Of one that had the backend's number before, and of one that had the VIP's.
  census.add({ ...flow, generation: 2 });
  census.add({ ...flow, backend: 9 });
  expect(census.result()).toEqual({ entries: 10, expired: 3, longestIdleMs: Math.round(101 * 1073.741824) });
  expect([...loads]).toEqual([
    [7, 2],
    [8, 1],
  ]);
});
