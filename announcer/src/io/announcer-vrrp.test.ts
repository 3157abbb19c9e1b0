/** What virtual routers are told by the announcer's own life: silence of its owner, withdrawal, handover. */
import { Milliseconds } from '@l4d/kit/duration.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { expect, it } from 'vitest';
import { desiredSchema } from '../core/api.ts';
import type { VrrpDesired } from '../core/vrrp/config.ts';
import { createAnnouncer } from './announcer.ts';

const desired = desiredSchema.parse({
  owner: 'test',
  deadManMs: 10_000,
  peers: [],
  prefixes: [],
  vrrp: {
    groups: [
      { id: 'web', interface: 'eth0', vrid: 51, addresses: ['10.0.0.50', '10.0.0.51'] },
      { id: 'mail', interface: 'eth0', vrid: 52, addresses: ['10.0.0.60'] },
    ],
  },
});

function setUp() {
  const logger = createLogger('test');
  logger.level = 'silent';
  const clock = createManualClock();
  const told: (VrrpDesired | undefined)[] = [];
  const announcer = createAnnouncer({
    clock,
    wallClock: () => clock.now(),
    random: () => 0,
    logger,
    vrrp: {
      configure: (next) => void told.push(next),
      status: () => undefined,
      shutdown: async () => {},
    },
  });
  /** Groups that take part. */
  const partOf = () => (told.at(-1)?.groups ?? []).flatMap(({ id, enabled }) => (enabled ? [id] : []));
  return { clock, told, announcer, partOf };
}

it('gives up all addresses when nobody says any more what can be served, until its owner is back', async () => {
  const { clock, announcer, partOf } = setUp();
  announcer.put(desired, 'one');
  await clock.advance(Milliseconds(9000));
  announcer.heartbeat();
  await clock.advance(Milliseconds(9000));
  expect(partOf()).toEqual(['web', 'mail']);
  await clock.advance(Milliseconds(1001));
  expect(partOf()).toEqual([]);
  announcer.put(desired, 'one');
  expect(partOf()).toEqual(['web', 'mail']);
});

it('gives up the group of an address that is withdrawn, and does not take it back by a handover', () => {
  const { announcer, partOf } = setUp();
  announcer.put(desired, 'one');
  announcer.withdraw(['10.0.0.51/32']);
  expect(partOf()).toEqual(['mail']);
  const successor = setUp();
  const prepared = successor.announcer.prepare(announcer.freeze());
  if (!prepared.ok) throw new Error(prepared.error);
  prepared.value.resume(1);
  expect(successor.partOf()).toEqual(['mail']);
  successor.announcer.withdraw('all');
  expect(successor.partOf()).toEqual([]);
  successor.announcer.put(desired, 'one');
  expect(successor.partOf()).toEqual(['web', 'mail']);
});

it('is handed over without a part in any election when its owner is silent', async () => {
  const { clock, announcer } = setUp();
  announcer.put(desired, 'one');
  await clock.advance(Milliseconds(10_001));
  const successor = setUp();
  const prepared = successor.announcer.prepare(announcer.freeze());
  if (!prepared.ok) throw new Error(prepared.error);
  prepared.value.resume(1);
  expect(successor.partOf()).toEqual([]);
});
