import { closeFd, constant, socket } from '@l4d/kit/ffi/libc.ts';
import { detachFilter } from '@l4d/kit/ffi/socket-filter.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { controlFilter, maxInstructions } from '../../core/bfd/packet-filter.ts';
import { createFloodGuard } from './flood-guard.ts';

let fd: number;
let built: boolean[];

const wanted = { family: 4, minTtl: 255, discriminators: [7], sources: [] } as const;

/** `packetsPerSecond` of sessions; whole programs of `wholeInstructions` where that is given. */
function guardOf(packetsPerSecond: number, wholeInstructions?: number) {
  return createFloodGuard(fd, createManualClock(), {
    filter(whole) {
      built.push(whole);
      if (!whole || wholeInstructions === undefined) return controlFilter(wanted, whole);
      return new Uint8Array(8 * wholeInstructions);
    },
    packetsPerSecond: () => packetsPerSecond,
  });
}

const countTimes = (guard: { count(): void }, times: number) => {
  for (let i = 0; i < times; i++) guard.count();
};

beforeEach(() => {
  built = [];
  fd = socket(constant.AF_INET, constant.SOCK_DGRAM | constant.SOCK_CLOEXEC);
});
afterEach(() => closeFd(fd));

it('makes no program of what many sessions send, and one of what is more than that', () => {
  const guard = guardOf(10_000);
  countTimes(guard, 500 + 20_000);
  expect([guard.active(), built]).toEqual([false, []]);
  countTimes(guard, 2);
  expect([guard.active(), built]).toEqual([true, [true]]);
  guard.close();
});

it('puts a shorter program before a socket that has no room for the whole one', () => {
  const guard = guardOf(0, maxInstructions + 1);
  countTimes(guard, 501);
  expect([guard.active(), built.at(-1)]).toEqual([true, false]);
  guard.refresh();
  // Throws where there is no program to take off.
  detachFilter(fd);
  guard.close();
});
