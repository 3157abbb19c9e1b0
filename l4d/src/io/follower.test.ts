import { OperatorError } from '@l4d/kit/errors.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createFollower } from './follower.ts';

/** A companion that can be started, killed and made to refuse, with a record of what it was told. */
function setUp() {
  const clock = createManualClock();
  const companion = { runs: true, starts: 0, instance: 1, overruled: false, told: [] as string[] } as {
    runs: boolean;
    starts: number;
    instance: number;
    overruled: boolean;
    told: string[];
    hangs?: PromiseWithResolvers<void> | undefined;
    cannotStart?: boolean;
  };
  let changes = 0;
  const answer = () => {
    if (!companion.runs) throw new Error('ECONNREFUSED');
  };
  const follower = createFollower<{ prefixes: string[] }, { startedAt: number }>({
    name: 'test',
    clock,
    logger: pino({ level: 'silent' }),
    companion: {
      async ensure() {
        if (companion.cannotStart) throw new Error('EROFS: read-only file system, open proxy.log');
        if (companion.runs) return true;
        companion.starts += 1;
        return false;
      },
    },
    async putDesired(desired) {
      answer();
      await companion.hangs?.promise;
      if (desired.prefixes.includes('bad')) throw new OperatorError('prefixes[0]: not a prefix');
      companion.told.push(desired.prefixes.join());
    },
    async status() {
      answer();
      return { startedAt: companion.instance };
    },
    isOverruled: () => companion.overruled,
    onOverruled: () => {
      companion.overruled = false;
      companion.told.push('overruled');
    },
    async release() {
      answer();
      companion.told.push('release');
    },
    onChange: () => {
      changes += 1;
    },
  });
  return { clock, companion, follower, changes: () => changes };
}

test('tells at once, and the same thing once', async () => {
  const { companion, follower, clock } = setUp();
  expect(await follower.follow({ prefixes: ['a'] })).toBe(true);
  expect(await follower.follow({ prefixes: ['a'] })).toBe(true);
  await clock.advance(5000);
  expect(companion.told).toEqual(['a']);
  expect(follower.inSync()).toBe(true);
});

test('starts a companion that does not run, and tells it as soon as it answers', async () => {
  const { companion, follower, clock, changes } = setUp();
  companion.runs = false;
  expect(await follower.follow({ prefixes: ['a'] })).toBe(false);
  await clock.advance(300);
  expect(companion.starts).toBeGreaterThan(0);
  expect(follower.inSync()).toBe(false);
  companion.runs = true;
  await clock.advance(300);
  expect(companion.told).toEqual(['a']);
  expect(follower.inSync()).toBe(true);
  expect(changes()).toBeGreaterThan(0);
});

test('a companion that does not run is started before the caller goes on', async () => {
  const { companion, follower } = setUp();
  companion.runs = false;
  expect(await follower.follow({ prefixes: ['a'] })).toBe(false);
  expect(companion.starts).toBe(1);
});

test('one that cannot be started ends nothing: it is tried again, and why is told', async () => {
  const { companion, follower, clock } = setUp();
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  companion.runs = false;
  companion.cannotStart = true;
  expect(await follower.follow({ prefixes: ['a'] })).toBe(false);
  await clock.advance(2000);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
  expect(follower.problem()).toContain('EROFS');
  companion.cannotStart = false;
  companion.runs = true;
  await clock.advance(1000);
  expect(companion.told).toEqual(['a']);
});

test('one that hangs keeps a caller waiting once; it is told what is wanted then', async () => {
  const { companion, follower, clock } = setUp();
  companion.hangs = Promise.withResolvers<void>();
  const first = follower.follow({ prefixes: ['a'] });
  await clock.advance(2000);
  expect(await first).toBe(false);
  expect(await follower.follow({ prefixes: ['b'] })).toBe(false);
  companion.hangs.resolve();
  companion.hangs = undefined;
  await clock.advance(2000);
  expect(companion.told).toEqual(['a', 'b']);
  expect(follower.inSync()).toBe(true);
});

test('tells another instance of the companion everything again', async () => {
  const { companion, follower, clock } = setUp();
  await follower.follow({ prefixes: ['a'] });
  companion.instance = 2;
  await clock.advance(2000);
  expect(companion.told).toEqual(['a', 'a']);
});

test('a companion that dies is noticed, and its status is no longer shown', async () => {
  const { companion, follower, clock, changes } = setUp();
  await follower.follow({ prefixes: ['a'] });
  await clock.advance(1000);
  const before = changes();
  companion.runs = false;
  await clock.advance(2000);
  expect(follower.status()).toBeUndefined();
  expect(follower.inSync()).toBe(false);
  expect(changes()).toBe(before + 1);
});

test('a companion that is not needed is released once, also one from before', async () => {
  const { companion, follower } = setUp();
  await follower.follow(undefined);
  await follower.follow(undefined);
  await follower.follow({ prefixes: ['a'] });
  await follower.follow(undefined);
  expect(companion.told).toEqual(['release', 'a', 'release']);
});

test('starts nothing that is not needed', async () => {
  const { companion, follower, clock } = setUp();
  companion.runs = false;
  expect(await follower.follow(undefined)).toBe(false);
  await clock.advance(5000);
  expect(companion.starts).toBe(0);
});

test('what is refused is told once, its reason shown, and something else told again', async () => {
  const { companion, follower, clock, changes } = setUp();
  expect(await follower.follow({ prefixes: ['bad'] })).toBe(false);
  const before = changes();
  await clock.advance(5000);
  expect(changes()).toBeLessThanOrEqual(before + 1);
  expect(follower.refusal()).toBe('prefixes[0]: not a prefix');
  expect(await follower.follow({ prefixes: ['a'] })).toBe(true);
  expect(follower.refusal()).toBeUndefined();
  expect(companion.told).toEqual(['a']);
});

test('a companion that was overruled is told again, once the owner has looked why', async () => {
  const { companion, follower, clock } = setUp();
  await follower.follow({ prefixes: ['a'] });
  companion.overruled = true;
  await clock.advance(1000);
  expect(companion.told).toEqual(['a', 'overruled']);
  expect(follower.inSync()).toBe(false);
  await follower.follow({ prefixes: ['a'] });
  expect(companion.told).toEqual(['a', 'overruled', 'a']);
});

test('what was taken is told again when that is asked for', async () => {
  const { companion, follower } = setUp();
  await follower.follow({ prefixes: ['a'] });
  follower.tellAgain();
  await follower.follow({ prefixes: ['a'] });
  expect(companion.told).toEqual(['a', 'a']);
});
