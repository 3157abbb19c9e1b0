import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type DesiredState, emptyDesiredState, parseDesiredState } from '../core/desired-state.ts';
import { addVip, changeVip } from '../core/edit.ts';
import { encodeCheckpoint } from '../core/stored-revision.ts';
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

/** As a version did that wrote each revision as a whole. */
async function writeCheckpoint(revision: number, state: DesiredState): Promise<void> {
  const stored = { revision, changedAt: '2026-01-01T00:00:00Z', state };
  await writeFile(join(folder, `${revision}.json`), JSON.stringify(encodeCheckpoint(stored)));
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
  expect((await readdir(folder)).sort()).toEqual(['1.journal', '1.json']);
  for (const one of [store, await open(3)]) {
    expect(one.history().map(({ revision, state }) => [revision, state])).toEqual([
      [6, stateWith(6)],
      [5, stateWith(5)],
      [4, stateWith(4)],
    ]);
  }
});

test('cut off at any byte, the journal gives the last revision that is whole; the next one takes its place', async () => {
  const store = await open();
  for (const ports of [[80], [80, 81], [80, 81, 82], [81, 82]]) await store.replace(stateWith(...ports));
  await store.undo();
  const path = join(folder, '1.journal');
  const bytes = await readFile(path);
  const expected = [
    stateWith(80),
    ...[
      [80, 81],
      [80, 81, 82],
      [81, 82],
      [80, 81, 82],
    ].map((one) => stateWith(...one)),
  ];
  const ends = [...bytes.keys()].filter((at) => bytes[at] === 0x0a);
  for (let length = 0; length <= bytes.length; length++) {
    // Every byte about the end of a line and in the first one's head, and every eleventh elsewhere.
    const isEdge = length < 12 || ends.some((end) => Math.abs(length - end) <= 3);
    if (!isEdge && length % 11 !== 0) continue;
    await writeFile(path, bytes.subarray(0, length));
    const lines = bytes.subarray(0, length).filter((byte) => byte === 0x0a).length;
    const opened = await openStateStore({ folder });
    expect(opened.setAside).toEqual([]);
    expect(opened.store.current()).toMatchObject({ revision: lines + 1, state: expected[lines] });
    if (!isEdge && length % 121 !== 0) continue;
    await opened.store.replace(stateWith(90));
    const again = await openStateStore({ folder });
    expect(again.setAside).toEqual([]);
    expect(again.store.current()).toMatchObject({ revision: lines + 2, state: stateWith(90) });
  }
});

test('wherever a byte of the journal is damaged, it is reported once, a revision before is in force, no number returns', async () => {
  const store = await open();
  for (const ports of [[80], [80, 81], [80, 81, 82]]) await store.replace(stateWith(...ports));
  const path = join(folder, '1.journal');
  const bytes = await readFile(path);
  const first = bytes.indexOf(0x0a);
  for (let at = 0; at < bytes.length - 1; at += 23) {
    const damaged = Buffer.from(bytes);
    damaged[at] = (damaged[at] ?? 0) ^ 0x01;
    await writeFile(path, damaged);
    const opened = await openStateStore({ folder });
    expect(opened.setAside).toEqual([{ path: `${path}.corrupt`, reason: expect.stringMatching(/damaged/) }]);
    expect(opened.store.current().revision).toBe(at <= first ? 1 : 2);
    expect((await openStateStore({ folder })).setAside).toEqual([]);
    const next = await opened.store.replace(stateWith(90));
    expect(next.ok && next.value.revision).toBe(4);
    const again = await openStateStore({ folder });
    expect(again.setAside).toEqual([]);
    expect(again.store.current()).toMatchObject({ revision: 4, state: stateWith(90) });
    for (const name of await readdir(folder)) if (!/^1\./.test(name)) await rm(join(folder, name));
    await rm(`${path}.corrupt`);
  }
});

test('a long journal is followed by a checkpoint; undo goes on below it, also after a restart', async () => {
  const store = await open(4);
  const wide = (port: number) => {
    const backends = Array.from({ length: 200 }, (_, index) => ({
      address: `10.0.${port & 255}.${index + 1}`,
    }));
    const edited = addVip(stateWith(80), { address: '203.0.113.10', port, backends });
    if (!edited.ok) throw new Error('the fixture is wrong');
    return edited.value;
  };
  await store.replace(stateWith(80));
  for (let port = 1000; port < 1040; port++) await store.replace(wide(port));
  const checkpoints = async () => (await readdir(folder)).filter((name) => name.endsWith('.json'));
  for (let i = 0; i < 200 && (await checkpoints()).length < 2; i++)
    await new Promise((done) => setTimeout(done, 10));
  expect((await checkpoints()).length).toBeGreaterThan(1);
  for (let port = 1040; port < 1043; port++) await store.replace(wide(port));
  const again = await open(4);
  expect(again.current()).toMatchObject({ revision: 44, state: wide(1042) });
  await again.undo();
  await again.undo();
  expect((await open(4)).current().state).toEqual(wide(1040));
  for (let port = 2000; port < 2090; port++) await again.replace(wide(port));
  for (let i = 0; i < 200 && (await checkpoints()).length > 3; i++)
    await new Promise((done) => setTimeout(done, 10));
  expect((await readdir(folder)).length).toBeLessThan(8);
  expect((await open(4)).current().state).toEqual(wide(2089));
});

test('an edit of one VIP among many is a short line', async () => {
  const store = await open();
  const many = stateWith(...Array.from({ length: 300 }, (_, index) => 1000 + index));
  await store.replace(many);
  const edited = changeVip(many, '203.0.113.10-1150-tcp', { enabled: false });
  if (!edited.ok) throw new Error('the fixture is wrong');
  await store.replace(edited.value);
  expect((await stat(join(folder, '1.journal'))).size).toBeLessThan(1000);
  const again = await open();
  expect(again.current().state).toEqual(edited.value);
  await again.undo();
  expect((await open()).current().state).toEqual(many);
});

test('host, peers and ranges are stored too, and taken away again', async () => {
  const store = await open();
  const more = parseDesiredState({
    version: 1,
    host: { draining: true, bgp: { as: 65001, routerId: '10.0.0.11', listen: true } },
    peers: [{ address: '10.0.0.1', as: 65000, password: 'secret' }],
    dynamicPeers: [{ range: '10.9.0.0/24', as: 65000 }],
  });
  if (!more.ok) throw new Error(JSON.stringify(more.error));
  await store.replace(stateWith(80));
  await store.replace({ ...more.value, vips: stateWith(80).vips });
  expect((await open()).current().state).toEqual({ ...more.value, vips: stateWith(80).vips });
  await store.replace(stateWith(80));
  expect((await open()).current().state).toEqual(stateWith(80));
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
  await (await open()).replace(stateWith(80));
  await writeCheckpoint(2, stateWith(80, 81));
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
});

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
  await (await open()).replace(stateWith(80));
  await writeCheckpoint(2, stateWith(80, 81));
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

test('what is in force again by an undo is what the next undo takes back', async () => {
  const store = await open();
  for (const [note, ports] of [
    ['first', [80]],
    ['second', [80, 81]],
    ['third', [80, 81, 82]],
  ] as const) {
    await store.replace(stateWith(...ports), { note });
  }
  await store.undo();
  expect(store.current().note).toBe('second, in force again by undo of revision 3');
  await store.replace(stateWith(80, 81, 83), { note: 'fourth' });
  await store.undo();
  expect(store.current().note).toBe('second, in force again by undo of revision 5');
});
