import { Milliseconds } from '@l4d/kit/duration.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { expect, it } from 'vitest';
import { latencyBoundsMs } from '../core/latency.ts';
import { createChangeTimings } from './change-timing.ts';
import type { Wire } from './wire.ts';

/** A wire of which the peer has acknowledged as much as is told. */
function wireOf(written: number): Wire & { acked: number | undefined } {
  const wire = { acked: 0 as number | undefined, writtenBytes: () => written, ackedBytes: () => wire.acked };
  return wire as unknown as Wire & { acked: number | undefined };
}

it('tells when a change was written and when it was acknowledged, never too little', async () => {
  const clock = createManualClock();
  const timings = createChangeTimings(clock, () => 1000 + clock.now());
  const wire = wireOf(100);
  timings.asked(2, (index) => `10.0.0.${index}/32`);
  await clock.advance(Milliseconds(3));
  timings.wrote(wire, false);
  await clock.advance(Milliseconds(4));
  timings.wrote(wire, true);
  expect(timings.changes()).toEqual([
    { sequence: 1, prefixes: ['10.0.0.0/32', '10.0.0.1/32'], askedAtMs: 1000, writtenAtMs: 1007 },
  ]);
  wire.acked = 99;
  await clock.advance(Milliseconds(10));
  wire.acked = 100;
  // Looked at 1, 3, 7 and 15 ms after the write.
  await clock.advance(Milliseconds(5));
  expect(timings.changes()[0]?.ackedAtMs).toBe(1007 + 15);
  const bucketOf = (ms: number) => latencyBoundsMs.findIndex((bound) => ms <= bound);
  expect(timings.written.counts[bucketOf(7)]).toBe(1);
  expect(timings.acked.counts[bucketOf(22)]).toBe(1);
  expect([timings.written.sumMs, timings.acked.sumMs]).toEqual([7, 22]);
});

it('a change that sends nothing counts for nothing, and a connection that is gone is looked at no more', async () => {
  const clock = createManualClock();
  const timings = createChangeTimings(clock, () => clock.now());
  timings.asked(1, () => '10.0.0.1/32');
  timings.asked(1, () => '10.0.0.2/32');
  const wire = wireOf(1);
  wire.acked = undefined;
  timings.wrote(wire, true);
  timings.wrote(wire, true);
  await clock.advance(Milliseconds(60_000));
  expect(timings.changes()).toHaveLength(1);
  expect(timings.acked.sumMs).toBe(0);
});
