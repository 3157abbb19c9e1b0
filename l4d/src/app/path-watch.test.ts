import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { TunnelEnd } from '../core/forwarding/tunnel-end.ts';
import { type PathWatchParts, watchPaths } from './path-watch.ts';

const reported: TunnelEnd = {
  egress: 0,
  learned: { mtu: 1400, tick: 10 },
  errors: { 'too-big': 1, unreachable: 0, 'time-exceeded': 0, other: 0 },
  last: { tick: 10, type: 3, code: 4, reporter: ipAddress('10.0.0.254') },
};

/** The kernel's ends of tunnels, and how often they were read. */
function world(...remotes: string[]) {
  const ends = new Map(remotes.map((remote) => [remote, reported]));
  const counts = { errors: remotes.length, deleted: 0, reads: 0, fails: false };
  const clock = createManualClock();
  const maps = {
    readReasons: () => ({ pass_tunnel_error: counts.errors }),
    deletedTunnelEnds: () => counts.deleted,
    readTunnelEnds() {
      counts.reads += 1;
      if (counts.fails) throw new Error('EINTR');
      return [...ends].map(([remote, end]) => ({ remote: ipAddress(remote), end }));
    },
    readTunnelEnd: (remote: { family: 4 | 6; bytes: Uint8Array }) => ends.get(formatIpAddress(remote)),
  };
  const parts = { clock, logger: pino({ level: 'silent' }), dataPlane: { maps, flowTick: () => 11 } };
  const watch = watchPaths(parts as unknown as PathWatchParts);
  return { ends, counts, clock, shown: () => watch.paths().map(({ destination }) => destination) };
}

test('an end that is gone is shown no more', () => {
  const { ends, counts, shown } = world('192.0.2.21', '192.0.2.22');
  expect(shown()).toEqual(['192.0.2.21', '192.0.2.22']);
  ends.delete('192.0.2.21');
  counts.deleted += 1;
  expect(shown()).toEqual(['192.0.2.22']);
  // There may be many: without news they are not read.
  const { reads } = counts;
  expect(shown()).toEqual(['192.0.2.22']);
  expect(counts.reads).toBe(reads);
});

test('ends that could not be read are read again', async () => {
  const { counts, clock, shown } = world('192.0.2.21');
  counts.fails = true;
  await clock.advance(0);
  counts.fails = false;
  expect(shown()).toEqual(['192.0.2.21']);
});
