import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openRuntimeStore, readRuntimeState } from './runtime-store.ts';

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

const journal = () => join(folder, 'runtime.journal');

/** A store of so many verdicts that is saved as a whole. */
async function storeOf(verdicts: number) {
  const store = open();
  for (let i = 0; i < verdicts; i++) store.setVerdict(`tcp 203.0.113.10:80|10.0.0.1|${i}`, 'up');
  await store.flush();
  return store;
}

test('one verdict among many is a short line; it is there again, and what is gone stays gone', async () => {
  const store = await storeOf(5000);
  store.setSlowStart('a', 5);
  await store.flush();
  const whole = readFileSync(path);
  const before = statSync(journal()).size;
  store.setVerdict('tcp 203.0.113.10:80|10.0.0.1|77', 'down');
  store.setSlowStart('a', undefined);
  store.setStop({ since: 1, text: 'disk swap', forced: false });
  await store.flush();
  expect(readFileSync(path).equals(whole)).toBe(true);
  expect(statSync(journal()).size - before).toBeLessThan(300);
  const again = open();
  expect(again.verdict('tcp 203.0.113.10:80|10.0.0.1|77')).toBe('down');
  expect(again.verdict('tcp 203.0.113.10:80|10.0.0.1|78')).toBe('up');
  expect([again.slowStarted('a'), again.stop()?.text]).toEqual([undefined, 'disk swap']);
  again.setStop(undefined);
  await again.flush();
  expect(open().stop()).toBeUndefined();
  expect(readFileSync(path).equals(whole)).toBe(true);
});

test('a long journal becomes another whole file, whose lines alone count', async () => {
  const store = await storeOf(10);
  let lines = 0;
  for (const seen = readFileSync(path, 'utf8'); readFileSync(path, 'utf8') === seen; lines++) {
    expect(lines).toBeLessThan(2000);
    store.setVerdict('flapping', lines % 2 === 0 ? 'up' : 'down');
    await store.flush();
  }
  // The journal before is still there, as after a crash right then: it says other things.
  expect(statSync(journal()).size).toBeGreaterThan(1 << 16);
  const now = lines % 2 === 1 ? 'up' : 'down';
  expect(open().verdict('flapping')).toBe(now);
  store.setVerdict('one more', 'down');
  await store.flush();
  expect(statSync(journal()).size).toBeLessThan(300);
  const again = open();
  expect([again.verdict('flapping'), again.verdict('one more')]).toEqual([now, 'down']);
});

test('what changes while the whole is written is not lost', async () => {
  const store = open();
  for (let i = 0; i < 20_000; i++) store.setVerdict(`${i}`, 'up');
  const writing = store.flush();
  for (let turn = 0; turn < 5; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    store.setVerdict(`${turn}`, 'down');
    store.setVerdict(`${19_999 - turn}`, 'down');
  }
  await writing;
  await store.flush();
  const again = open();
  for (let turn = 0; turn < 5; turn++)
    expect([again.verdict(`${turn}`), again.verdict(`${19_999 - turn}`)]).toEqual(['down', 'down']);
});

test('cut off anywhere, the journal gives the lines that are whole, and goes on there', async () => {
  const store = await storeOf(1);
  for (const key of ['a', 'b', 'c']) {
    store.setVerdict(key, 'down');
    await store.flush();
  }
  const bytes = readFileSync(journal());
  for (let length = 0; length <= bytes.length; length += 3) {
    writeFileSync(journal(), bytes.subarray(0, length));
    const lines = bytes.subarray(0, length).filter((byte) => byte === 0x0a).length;
    const cut = open();
    expect(['a', 'b', 'c'].filter((key) => cut.verdict(key) === 'down')).toHaveLength(lines);
    cut.setVerdict('next', 'up');
    await cut.flush();
    const again = open();
    expect(['a', 'b', 'c'].filter((key) => again.verdict(key) === 'down')).toHaveLength(lines);
    expect(again.verdict('next')).toBe('up');
  }
});

test('a damaged line is told, and what comes after it is left out; then all is written anew', async () => {
  const store = await storeOf(1);
  for (const key of ['a', 'b', 'c']) {
    store.setVerdict(key, 'down');
    await store.flush();
  }
  const bytes = readFileSync(journal());
  bytes[bytes.indexOf(0x0a) + 20] = 0;
  writeFileSync(journal(), bytes);
  const warned: unknown[] = [];
  const damaged = openRuntimeStore(path, createManualClock(), {
    ...logger,
    warn: (fields: unknown) => void warned.push(fields),
  } as typeof logger);
  expect(warned).toEqual([{ path: journal() }]);
  expect(['a', 'b', 'c'].map((key) => damaged.verdict(key))).toEqual(['down', undefined, undefined]);
  damaged.setVerdict('b', 'up');
  await damaged.flush();
  expect(readRuntimeState(path).verdicts).toMatchObject({ a: 'down', b: 'up' });
  expect(readRuntimeState(path).verdicts['c']).toBeUndefined();
});

test('a journal without its file says nothing, now and later; nor does one that an older version did not know', async () => {
  const store = await storeOf(1);
  store.setVerdict('a', 'down');
  await store.flush();
  rmSync(path);
  const anew = open();
  expect(anew.verdict('a')).toBeUndefined();
  anew.setVerdict('b', 'up');
  await anew.flush();
  expect(readRuntimeState(path).verdicts).toEqual({ b: 'up' });
  anew.setVerdict('c', 'up');
  await anew.flush();
  writeFileSync(path, '{"version":1,"verdicts":{"z":"up"},"drainsStarted":{}}');
  const later = open();
  later.setVerdict('y', 'up');
  await later.flush();
  expect(readRuntimeState(path).verdicts).toEqual({ z: 'up', y: 'up' });
});

test('a planned end leaves all in one file', async () => {
  const store = await storeOf(1);
  store.setVerdict('a', 'down');
  await store.flush();
  await store.close();
  expect(JSON.parse(readFileSync(path, 'utf8')).verdicts).toMatchObject({ a: 'down' });
});

test('a disk that refuses loses nothing of what is saved later', async () => {
  const store = await storeOf(1);
  store.setVerdict('a', 'down');
  await store.flush();
  rmSync(folder, { recursive: true });
  writeFileSync(folder, 'not a folder');
  store.setVerdict('b', 'down');
  await store.flush();
  rmSync(folder);
  store.setVerdict('c', 'down');
  await store.flush();
  expect(readRuntimeState(path).verdicts).toMatchObject({ a: 'down', b: 'down', c: 'down' });
});
