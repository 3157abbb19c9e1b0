import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProxyDesiredInput } from '@l4d/kit/proxy-api.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { backend4, buildFabric, type Fabric, type Running, until, vip4, vip6 } from './proxy/fabric.ts';
import type { LoadResult } from './proxy/load.ts';

/* The proxy's workers die, are replaced, come and go while clients ask: none of them is refused. */

const lanes = 8;
let fabric: Fabric;
let proxy: Running;

const desired = (workers: number): ProxyDesiredInput => ({
  workers,
  drainMs: 5000,
  listeners: [
    ...[vip4, vip6].map((address, index) => ({
      name: `web${index}`,
      address,
      port: 80,
      pools: [{ name: 'default', backends: [{ address: backend4, port: 9001 }] }],
    })),
  ],
});

/** Clients that ask, `requests` times on each connection; the returned function ends them. */
async function load(requests: number, address = vip4): Promise<() => Promise<LoadResult>> {
  const command = [
    process.execPath,
    'test/integration/proxy/load.ts',
    address,
    '80',
    String(lanes),
    String(requests),
  ];
  const clients = await fabric.startOnClient(command, 'loading');
  return async () => {
    const ended = once(clients.process, 'exit');
    clients.process.kill('SIGTERM');
    await ended;
    return JSON.parse(clients.output().trim().split('\n').at(-1) ?? '') as LoadResult;
  };
}

/** Processes take their time to start on a busy machine. */
const eventually = (holds: () => Promise<boolean>, what: string) => until(holds, what, proxy.output, 40_000);
const pids = async () => (await fabric.workers()).map(({ pid }) => pid).sort();
const allServe = (count: number) =>
  eventually(async () => (await fabric.workers()).length === count, `${count} workers`);
/** 0 would be everybody in the group of this process. */
function kill(pid: number | undefined): void {
  if (pid === undefined || pid <= 0) throw new Error('there is nobody to kill');
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself meanwhile.
  }
}
const requestsOf = async () =>
  (await fabric.proxy.status()).listeners.reduce((sum, listener) => sum + listener.requests, 0);

beforeAll(async () => {
  fabric = buildFabric();
  fabric.loadLookup();
  [, proxy] = await Promise.all([fabric.startBackend(9001, 'a'), fabric.startProxy()]);
  for (const address of [vip4, vip6]) fabric.listen(address, 80);
  await fabric.proxy.putDesired(desired(3));
  await allServe(3);
});

afterAll(() => fabric?.stop());

test('workers share the connections, of both families', async () => {
  for (const address of [vip4, vip6]) {
    const before = new Map((await fabric.workers()).map(({ pid, connections }) => [pid, connections]));
    const end = await load(1, address);
    await sleep(500);
    const { connections, failures } = await end();
    expect(failures).toEqual({});
    for (const { pid, connections: after } of await fabric.workers()) {
      const share = (after - (before.get(pid) ?? 0)) / connections;
      expect(share).toBeGreaterThan(0.2);
      expect(share).toBeLessThan(0.47);
    }
  }
});

test('a killed worker breaks its own connections and no others; nobody is refused; its counts stay', async () => {
  const end = await load(20);
  await sleep(300);
  const [struck = 0, ...others] = await pids();
  kill(struck);
  await eventually(async () => {
    const now = await pids();
    return now.length === 3 && !now.includes(struck);
  }, 'a successor');
  expect(await pids()).toEqual(expect.arrayContaining(others));
  await sleep(200);
  const { answered, failures } = await end();
  const { ECONNRESET = 0, ended = 0, ...unexpected } = failures;
  expect(unexpected).toEqual({});
  expect(ECONNRESET + ended).toBeLessThan(lanes);
  expect(answered).toBeGreaterThan(100);
  expect((await fabric.proxy.status()).deaths).toBe(1);

  // What was counted a moment before the death is still there after it.
  const counted = await requestsOf();
  await sleep(300);
  kill((await pids())[0]);
  await allServe(2);
  expect(await requestsOf()).toBe(counted);
  await allServe(3);
});

test.each([
  ['renewed one after another', () => fabric.proxy.renew().then(() => undefined)],
  [
    'asked to end (SIGTERM)',
    async () => {
      for (const pid of await pids()) process.kill(pid, 'SIGTERM');
    },
  ],
])('workers are %s: no request is lost, on new and on kept connections', async (_, replace) => {
  const before = await pids();
  const ends = [await load(1), await load(1000)];
  await replace();
  await eventually(async () => {
    const now = await pids();
    return now.length === 3 && now.every((pid) => !before.includes(pid));
  }, 'other workers');
  await sleep(200);
  for (const end of ends) expect((await end()).failures).toEqual({});
});

test('a killed supervisor: its workers serve on, and the next one takes them over with all they know', async () => {
  await eventually(async () => (await fabric.proxy.status()).workers.length === 3, 'nobody drains');
  const before = await fabric.proxy.status();
  const serving = await pids();
  const end = await load(5);
  proxy.process.kill('SIGKILL');
  await once(proxy.process, 'exit');
  await sleep(300);
  proxy = await fabric.startProxy();
  await eventually(async () => (await fabric.proxy.status()).registered, 'registered');
  expect(await pids()).toEqual(serving);
  const after = await fabric.proxy.status();
  expect(after).toMatchObject({ revision: before.revision, deaths: before.deaths });
  await fabric.proxy.putDesired(desired(3));
  const { failures, answered } = await end();
  expect(failures).toEqual({});
  expect(await pids()).toEqual(serving);
  const requests = (status: typeof before) => status.listeners.reduce((sum, one) => sum + one.requests, 0);
  expect(requests(await fabric.proxy.status())).toBe(requests(before) + answered);
});

test('fewer and more workers: no request is lost', async () => {
  const ends = [await load(1), await load(1000)];
  await fabric.proxy.putDesired(desired(1));
  await allServe(1);
  await sleep(200);
  await fabric.proxy.putDesired(desired(4));
  await allServe(4);
  await fabric.proxy.putDesired(desired(3));
  await allServe(3);
  for (const end of ends) expect((await end()).failures).toEqual({});
});

test('a worker that dies without a supervisor leaves its new connections to the others', async () => {
  proxy.process.kill('SIGKILL');
  await once(proxy.process, 'exit');
  const [struck = 0] = await fabric.workerPids();
  kill(struck);
  await eventually(async () => !fabric.workerPids().includes(struck), 'it is gone');
  const end = await load(1);
  await sleep(300);
  expect((await end()).failures).toEqual({});
  proxy = await fabric.startProxy();
  await fabric.proxy.putDesired(desired(3));
  await allServe(3);
});

test('policies change without pause: no request is lost; workers killed as they hand over break their own alone', async () => {
  const ends = [await load(1), await load(1000)];
  let changing = true;
  let changes = 0;
  const change = (async () => {
    for (; changing; changes++)
      await fabric.proxy.putDesired({ ...desired(3), drainMs: 3000 + (changes % 7) });
  })();
  await eventually(async () => changes > 5, 'policies are taken');
  const failed = [];
  for (const end of ends) failed.push((await end()).failures);
  if (failed.some((one) => Object.keys(one).length > 0)) changing = false;
  expect(failed).toEqual([{}, {}]);

  const end = await load(20);
  // Requests that do not come whole: whoever has some takes its time to hand over.
  const script = `for i in {1..12}; do exec {fd}<>/dev/tcp/${vip4}/80; printf 'GET / HT' >&$fd; done; echo full; sleep 60`;
  const slow = await fabric.startOnClient(['bash', '-c', script], 'full');
  let renewing = true;
  // It fails when the successor that is killed below is one that it waits for.
  const renew = (async () => {
    while (renewing) await fabric.proxy.renew().catch(() => undefined);
  })();
  const workers = async () => (await fabric.proxy.status()).workers;
  const killWhen = (find: () => Promise<number | undefined>, what: string) =>
    eventually(async () => {
      const found = await find();
      if (found !== undefined) kill(found);
      return found !== undefined;
    }, what);
  try {
    await killWhen(
      async () => (await workers()).find(({ state }) => state === 'draining')?.pid,
      'one hands over',
    );
    await killWhen(async () => {
      const known = new Set((await workers()).map(({ pid }) => pid));
      return fabric.workerPids().find((pid) => !known.has(pid));
    }, 'a successor that does not serve yet');
  } finally {
    renewing = false;
    changing = false;
    await Promise.all([renew, change]);
    slow.process.kill('SIGKILL');
  }
  await allServe(3);
  const { answered, failures } = await end();
  const { ECONNRESET = 0, ended = 0, ...unexpected } = failures;
  expect(unexpected).toEqual({});
  expect(ECONNRESET + ended).toBeLessThanOrEqual(lanes);
  expect(answered).toBeGreaterThan(100);
});

test('workers whose descriptors idle clients have taken are still told another policy', async () => {
  await allServe(3);
  const before = await fabric.proxy.status();
  for (const pid of await pids()) execFileSync('prlimit', ['--pid', String(pid), '--nofile=128:128']);
  // They look at their limit once a second, unless the machine keeps them from it: that they take policies shows that
  // they have had their turns.
  await sleep(1100);
  for (let turn = 0; turn < 2; turn++) await fabric.proxy.putDesired(desired(3));
  const idle = await fabric.startOnClient(
    [
      'bash',
      '-c',
      `for i in {1..400}; do exec {fd}<>/dev/tcp/${vip4}/80; done 2>/dev/null; echo full; sleep 60`,
    ],
    'full',
  );
  await fabric.proxy.putDesired({ ...desired(3), drainMs: 4000 });
  await fabric.proxy.putDesired(desired(3));
  const isFull = async () =>
    (await fabric.proxy.status()).workers.every(({ activeConnections }) => activeConnections > 10);
  await eventually(isFull, 'the workers tell of their clients');
  const { deaths, revision } = await fabric.proxy.status();
  expect({ deaths, revision }).toEqual({ deaths: before.deaths, revision: before.revision + 4 });
  idle.process.kill('SIGKILL');
  await fabric.proxy.renew();
});

test('all workers killed at once: connections wait for the next ones', async () => {
  for (const pid of await pids()) kill(pid);
  expect(await fabric.curl(`http://${vip4}/`)).toMatchObject({ code: 0 });
  await allServe(3);
});
