import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { emptyDesiredState } from '../core/desired-state.ts';
import { addVip } from '../core/edit.ts';
import { openStateStore } from './state-store.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'l4d-store-'));
});
afterEach(() => rm(folder, { recursive: true }));

function stateWith(...ports: number[]) {
  let state = emptyDesiredState;
  for (const port of ports) {
    const edited = addVip(state, { address: '203.0.113.10', port, backends: [{ address: '10.0.0.1' }] });
    if (!edited.ok) throw new Error('the fixture is wrong');
    state = edited.value;
  }
  return state;
}

const open = async (keep = 20) => (await openStateStore({ folder, keep })).store;

test('a new store holds the empty state as revision 0; what is stored survives', async () => {
  const store = await open();
  expect(store.current()).toMatchObject({ revision: 0, state: emptyDesiredState });
  await store.replace(stateWith(80), { note: 'vip add' });
  const again = await open();
  expect(again.current()).toMatchObject({ revision: 1, note: 'vip add' });
  expect(again.current().state).toEqual(stateWith(80));
});

test('a change made upon an older revision is refused', async () => {
  const store = await open();
  const [first, second] = await Promise.all([
    store.replace(stateWith(80), { ifRevision: 0 }),
    store.replace(stateWith(81), { ifRevision: 0 }),
  ]);
  expect(first.ok).toBe(true);
  expect(second).toEqual({ ok: false, error: { kind: 'stale', revision: 1 } });
  expect(store.current().state).toEqual(stateWith(80));
});

test('undo goes back step by step, also after a restart, and a change after it can be undone', async () => {
  const store = await open();
  for (const ports of [[80], [80, 81], [80, 81, 82]]) await store.replace(stateWith(...ports));
  await store.undo();
  expect(store.current()).toMatchObject({ revision: 4, note: 'undo of revision 3' });
  const again = await open();
  await again.undo();
  expect(again.current().state).toEqual(stateWith(80));
  await again.replace(stateWith(90));
  await again.undo();
  expect(again.current().state).toEqual(stateWith(80));
});

test('a new store has nothing to undo; its first change can be undone, also after a restart', async () => {
  const store = await open();
  expect(await store.undo()).toEqual({ ok: false, error: { kind: 'nothing-to-undo' } });
  await store.replace(stateWith(80));
  const again = await open();
  expect((await again.undo()).ok).toBe(true);
  expect(again.current().state).toEqual(emptyDesiredState);
});

test('so many revisions are kept and no more', async () => {
  const store = await open(3);
  for (let port = 1; port <= 6; port++) await store.replace(stateWith(port));
  expect((await readdir(folder)).sort()).toEqual(['4.json', '5.json', '6.json']);
  expect(store.history().map((one) => one.revision)).toEqual([6, 5, 4]);
});

test.each<[string, (path: string) => Promise<void>, RegExp]>([
  ['cut short', (path) => truncate(path, 40), /not JSON/],
  ['empty', (path) => truncate(path, 0), /not JSON/],
  ['of another kind', (path) => writeFile(path, '[]'), /format is undefined/],
  [
    'no longer valid',
    async (path) => writeFile(path, (await readFile(path, 'utf8')).replace('"port":81', '"port":0')),
    /vips\[1\]\.port: 0 is not a port/,
  ],
])('a file %s is set aside and reported; the revision before is in force', async (_, damage, reason) => {
  const store = await open();
  await store.replace(stateWith(80));
  await store.replace(stateWith(80, 81));
  await damage(join(folder, '2.json'));
  const opened = await openStateStore({ folder });
  expect(opened.setAside).toEqual([
    { path: join(folder, '2.json.corrupt'), reason: expect.stringMatching(reason) },
  ]);
  expect(opened.store.current()).toMatchObject({ revision: 1, state: stateWith(80) });
  const again = await openStateStore({ folder });
  expect(again.setAside).toEqual([]);
  const next = await again.store.replace(stateWith(82));
  expect(next.ok && next.value.revision).toBe(3);
  expect((await readdir(folder)).sort()).toEqual(['1.json', '2.json.corrupt', '3.json']);
});

test('a writer that is killed at any moment leaves what it had told as stored, and nothing broken', async () => {
  const script = `
    import { openStateStore } from ${JSON.stringify(new URL('./state-store.ts', import.meta.url).href)};
    const { store } = await openStateStore({ folder: ${JSON.stringify(folder)}, keep: 3 });
    for (;;) {
      const stored = await store.replace(store.current().state);
      process.stdout.write(stored.value.revision + '\\n');
    }`;
  let last = 0;
  for (let round = 0; round < 6; round++) {
    const writer = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let told = '';
    writer.stdout.on('data', (chunk: Buffer) => {
      told += chunk.toString();
    });
    await once(writer.stdout, 'data');
    await new Promise((resolve) => setTimeout(resolve, 3 + round * 7));
    writer.kill('SIGKILL');
    await once(writer, 'close');
    last = Number(told.trimEnd().split('\n').at(-1));
    const opened = await openStateStore({ folder });
    expect(opened.setAside).toEqual([]);
    // One more may be stored than was told: the kill came between the two.
    expect(opened.store.current().revision - last).toBeOneOf([0, 1]);
  }
  expect(last).toBeGreaterThan(6);
}, 30_000);

test('what a crash leaves half written beside the files is ignored', async () => {
  const store = await open();
  await store.replace(stateWith(80));
  await writeFile(join(folder, '.2.json.999.new'), '{"format":1,"rev');
  const opened = await openStateStore({ folder });
  expect(opened.setAside).toEqual([]);
  expect(opened.store.current().revision).toBe(1);
});

test('a change that cannot be written leaves the old one in force', async () => {
  const store = await open();
  await store.replace(stateWith(80));
  await rm(folder, { recursive: true });
  await writeFile(folder, 'not a folder');
  await expect(store.replace(stateWith(81))).rejects.toThrow();
  expect(store.current()).toMatchObject({ revision: 1 });
});

test.each([
  ['format', (text: string) => text.replace('"format":1', '"format":2')],
  ['version', (text: string) => text.replace('"version":1', '"version":2')],
])('a file of a newer %s stays where it is for the version that wrote it', async (_, renew) => {
  const store = await open();
  await store.replace(stateWith(80));
  await store.replace(stateWith(80, 81));
  const path = join(folder, '2.json');
  await writeFile(path, renew(await readFile(path, 'utf8')));
  const opened = await openStateStore({ folder });
  expect(opened.setAside).toEqual([{ path, reason: expect.any(String) }]);
  expect(opened.isLost).toBe(false);
  expect(opened.store.current().revision).toBe(1);
  expect((await readdir(folder)).sort()).toEqual(['1.json', '2.json']);
  const next = await opened.store.replace(stateWith(82));
  expect(next.ok && next.value.revision).toBe(3);
});

test('a store in which nothing can be read is lost, again and again, and stays as it is', async () => {
  expect((await openStateStore({ folder })).isLost).toBe(false);
  await (await open()).replace(stateWith(80));
  await writeFile(join(folder, '1.json'), 'garbage');
  for (let start = 0; start < 2; start++) {
    const opened = await openStateStore({ folder });
    expect(opened.isLost).toBe(true);
    expect(opened.setAside).toEqual([
      { path: join(folder, '1.json'), reason: expect.stringMatching(/JSON/) },
    ]);
    expect(await readdir(folder)).toEqual(['1.json']);
  }
  await rename(join(folder, '1.json'), join(folder, '1.json.corrupt'));
  expect((await openStateStore({ folder })).isLost).toBe(true);
});

test('what undo would bring back can be looked at first; what changed meanwhile is not undone', async () => {
  const store = await open();
  expect(store.undoTarget()).toBeUndefined();
  await store.replace(stateWith(80));
  await store.replace(stateWith(80, 81));
  expect(store.undoTarget()?.state).toEqual(stateWith(80));
  expect(await store.undo({ ifRevision: 1 })).toEqual({ ok: false, error: { kind: 'stale', revision: 2 } });
  expect((await store.undo({ ifRevision: 2 })).ok).toBe(true);
  expect(store.current().state).toEqual(stateWith(80));
});

test('undo does not go below what was stored as the first', async () => {
  const store = await open();
  await store.replace(stateWith(80), { isFirst: true });
  await store.replace(stateWith(81));
  expect((await store.undo()).ok).toBe(true);
  expect(store.current().state).toEqual(stateWith(80));
  expect(await store.undo()).toEqual({ ok: false, error: { kind: 'nothing-to-undo' } });
  const again = await open();
  expect(await again.undo()).toEqual({ ok: false, error: { kind: 'nothing-to-undo' } });
});
