import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openRuntimeStore } from './runtime-store.ts';

const logger = pino({ level: 'silent' });
let folder = '';
let path = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'l4d-runtime-'));
  path = join(folder, 'runtime.json');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const open = (clock = createManualClock()) => openRuntimeStore(path, clock, logger);

test('what was flushed is there after a restart', async () => {
  const store = open();
  store.setVerdict('a', 'up');
  store.setVerdict('b', 'down');
  store.setDrainStarted('a', 1_700_000_000_000);
  await store.flush();
  const again = open();
  expect([again.verdict('a'), again.verdict('b'), again.verdict('c')]).toEqual(['up', 'down', undefined]);
  expect(again.drainStarted('a')).toBe(1_700_000_000_000);
});

test('many changes are one write, soon after the first', async () => {
  const clock = createManualClock();
  const store = open(clock);
  for (let i = 0; i < 1000; i++) store.setVerdict(`target ${i}`, 'up');
  await clock.advance(99);
  expect(() => readFileSync(path)).toThrow(/ENOENT/);
  await clock.advance(2);
  await store.flush();
  expect(Object.keys(JSON.parse(readFileSync(path, 'utf8')).verdicts)).toHaveLength(1000);
});

test('what is not kept is forgotten', async () => {
  const store = open();
  store.setVerdict('a', 'up');
  store.setDrainStarted('b', 1);
  store.setDrainStarted('c', 1);
  store.forgetDrain('c');
  store.keepOnly(new Set(['a', 'c']));
  await store.flush();
  expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ verdicts: { a: 'up' }, drainsStarted: {} });
});

test('endings, what was announced and a planned stop are there again', async () => {
  const store = open();
  const ending = { cause: 'removed', since: 5, leftAt: 7, name: 'web', announce: { med: 3 } } as const;
  store.setEnding('v1', ending);
  store.setEnding('v2', ending);
  store.setEnding('v2', undefined);
  store.setAnnounced('v3', { name: 'app' });
  store.setStop({ since: 1, text: 'disk swap', forced: false });
  store.setDrainForced(true);
  // It is about backends alone.
  store.keepOnly(new Set());
  await store.flush();
  const again = open();
  expect([...again.endings()]).toEqual([['v1', ending]]);
  expect([...again.announced()]).toEqual([['v3', { name: 'app' }]]);
  expect([again.stop()?.text, again.drainForced()]).toEqual(['disk swap', true]);
  again.setStop(undefined);
  await again.flush();
  expect(open().stop()).toBeUndefined();
});

test('a file of before there were endings is taken', () => {
  writeFileSync(path, '{"version":1,"verdicts":{"a":"up"},"drainsStarted":{}}');
  const store = open();
  expect([store.verdict('a'), store.endings().size, store.stop()]).toEqual(['up', 0, undefined]);
});

test('a damaged file counts as empty', () => {
  writeFileSync(path, '{"version":1,"verdicts":{"a":"sideways"}}');
  expect(open().verdict('a')).toBeUndefined();
});
