/** A VIP that needs layer 7 goes through the proxy, with the client's true address; no other VIP notices. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createProxyClient } from '@l4d/kit/proxy-client.ts';
import { labNames } from '../lab/core/lab-names.ts';
import { nginxPaths } from '../lab/core/lab-plan.ts';
import { signal } from '../lab/io/namespace-processes.ts';
import { waitFor } from '../lab/io/wait-for.ts';
import { classFactCount, proveClasses } from './classes.ts';
import {
  backends,
  declareVip,
  l4dHosts,
  labVip,
  nextHops,
  operateAll,
  quickCheck,
  resetFabric,
  routers,
  showTable,
  urlOf,
  waitForNextHops,
  waitUntilServed,
} from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

/** The client may bind to any address of its range; this one is kept out. */
const deniedClient = '198.51.100.66';

export const proxied: Scenario = {
  name: 'proxied',
  title: 'a VIP of layer 7: routes, refusals and true client addresses; others never touch the proxy',
  factCount: 10 + classFactCount,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { lab, product, traffic } = fabric;
  const hosts = l4dHosts(fabric).map(({ name }) => name);
  const [struck = '', ...others] = hosts;
  const client = lab.topology.hosts.find(({ role }) => role === 'client');
  const members = backends(fabric);
  const api = members.at(-1);
  if (client === undefined || api === undefined) throw new Error('the topology has no client or no backend');
  const clientAddress = 'ipv4' in client ? client.ipv4 : '';

  await resetFabric(fabric);
  const web = await declareVip(fabric, report, { vip: 'web' });
  const app = { name: 'app', address: labVip(fabric, 'app').ipv4, port: 80 };
  await operateAll(fabric, report, [
    ...['vip', 'add', `${app.address}:${app.port}`, '--name', app.name, '--policy', 'l7'],
    ...members.flatMap(({ ipv4 }) => ['-b', ipv4 === api.ipv4 ? `${ipv4}:80@api` : `${ipv4}:80`]),
    ...['--route', '/api=api', '--route', '=default', '--deny', `${deniedClient}/32`],
    ...quickCheck,
  ]);
  for (const vip of [web, app]) await waitUntilServed(fabric, vip);
  await showTable(fabric, report, struck, ['vip', 'show', app.name]);

  const forwarded = await traffic.ask({ url: urlOf(app.address, 80, '/forwarded'), count: 60 });
  prove(
    "backends get the client's true address in X-Forwarded-For",
    forwarded.succeeded === 60 && forwarded.seenClients.join() === clientAddress,
    `60 requests, ${forwarded.failures.length} failed, X-Forwarded-For ${forwarded.seenClients.join(' and ')}`,
  );
  const ofApi = await traffic.ask({ url: urlOf(app.address, 80, '/api/x'), count: 20 });
  prove(
    'requests go to the pool of their path',
    ofApi.succeeded === 20 &&
      Object.keys(ofApi.byBackend).join() === api.name &&
      forwarded.byBackend[api.name] === undefined &&
      Object.keys(forwarded.byBackend).length === members.length - 1,
    `/api: ${JSON.stringify(ofApi.byBackend)}, all else: ${JSON.stringify(forwarded.byBackend)}`,
  );

  await proveUdp(fabric, report, app.address, prove);
  await proveClasses(fabric, report, web, prove);

  report.step(`a client of a denied address, ${deniedClient}`);
  const deniedPath = '/denied';
  const denied = await traffic.ask({
    url: urlOf(app.address, 80, deniedPath),
    count: 20,
    concurrency: 2,
    sourceAddress: deniedClient,
  });
  await sleep(200);
  const reached = await accessLines(fabric, deniedPath);
  const refusals = (await proxyCounters(fabric, hosts)).reduce((sum, { denied: count }) => sum + count, 0);
  prove(
    'a denied client is refused before a byte of it is read, and reaches no backend',
    denied.failures.length === 20 && reached === 0 && refusals === 20,
    `20 connections: ${[...new Set(denied.failures.map(({ failure }) => failure))].join(', ')}; ` +
      `the proxies counted ${refusals}, the backends ${reached}`,
  );
  const toWeb = await traffic.ask({ url: urlOf(web.address), count: 20, sourceAddress: deniedClient });
  prove(
    'the same client may use another VIP',
    toWeb.succeeded === 20 && toWeb.seenClients.join() === deniedClient,
    `20 requests, ${toWeb.failures.length} failed`,
  );

  // Workers tell what they have counted a while later.
  let countedBefore = await proxyCounters(fabric, hosts);
  await waitFor(
    'the counters of the proxies rest',
    async () => {
      const last = JSON.stringify(countedBefore);
      await sleep(300);
      countedBefore = await proxyCounters(fabric, hosts);
      return JSON.stringify(countedBefore) === last;
    },
    (rest) => rest,
    { timeoutMs: 10_000 },
  );
  const past = await traffic.ask({ url: urlOf(web.address), count: 300 });
  const countedAfter = await proxyCounters(fabric, hosts);
  prove(
    'the other VIP never touches a proxy',
    past.succeeded === 300 && JSON.stringify(countedBefore) === JSON.stringify(countedAfter),
    `300 requests past the proxies, whose counters stay: ${JSON.stringify(countedAfter)}`,
  );

  const { proxy } = await product.companions(struck);
  if (proxy === undefined) throw new Error(`${struck} has no proxy`);
  report.step(`the supervisor of the proxy of ${struck} is killed with -9`);
  const workersBefore = await workersOf(fabric, struck);
  const appLoad = await traffic.requests({ url: urlOf(app.address), pauseMs: 20, durationMs: 60_000 });
  let appMissing = 0;
  signal(proxy, 'SIGKILL');
  const successor = await waitFor(
    `${struck} has another supervisor, which knows its VIP`,
    async () => {
      for (const { name } of routers(fabric))
        if ((await nextHops(fabric, name, app.address)).length !== hosts.length) appMissing += 1;
      const { listeners } = await proxyStatus(fabric, struck).catch(() => ({ listeners: [] }));
      return listeners.length > 0 ? (await product.companions(struck)).proxy : undefined;
    },
    (pid) => pid !== undefined && pid !== proxy,
    { timeoutMs: 10_000 },
  );
  if (successor === undefined) throw new Error(`${struck} has no proxy`);
  const workersAfter = await workersOf(fabric, struck);
  const appRequests = await appLoad.stop();
  prove(
    'its workers serve on: the VIP stays announced, no request fails',
    appRequests.failures.length === 0 && appMissing === 0 && workersAfter.join() === workersBefore.join(),
    `${appRequests.succeeded} requests, ${appRequests.failures.length} failed; ${appMissing} times without ` +
      `both next hops; workers ${workersBefore.join()}, then ${workersAfter.join()}`,
  );

  report.step(`the proxy of ${struck} is killed with -9, supervisor and workers`);
  const load = await traffic.requests({ url: urlOf(web.address), pauseMs: 20, durationMs: 60_000 });
  let webMissing = 0;
  const killedAt = performance.now();
  for (const pid of [successor, ...workersAfter]) signal(pid, 'SIGKILL');
  await waitForNextHops(fabric, app.address, others, 5000);
  const goneMs = Math.round(performance.now() - killedAt);
  const now = await waitFor(
    `${struck} has a proxy again`,
    async () => {
      for (const { name } of routers(fabric)) {
        if ((await nextHops(fabric, name, web.address)).length !== hosts.length) webMissing += 1;
      }
      return product.companions(struck);
    },
    (pids) => pids.proxy !== undefined && pids.proxy !== successor,
    { timeoutMs: 10_000 },
  );
  await waitForNextHops(fabric, app.address, hosts, 10_000);
  const backMs = Math.round(performance.now() - killedAt);
  report.show(`its VIP withdrawn after ${goneMs} ms, announced again after ${backMs} ms`);
  prove(
    'its VIP is withdrawn, the daemon restarts it, and the VIP is back',
    goneMs < 3000 && backMs < 10_000,
    `withdrawn after ${goneMs} ms, back after ${backMs} ms; pid ${successor}, then ${now.proxy}`,
  );
  const whole = await traffic.ask({ url: urlOf(app.address, 80, '/forwarded'), count: 60 });
  prove(
    'then it serves as before',
    whole.succeeded === 60 && whole.seenClients.join() === clientAddress,
    `60 requests, ${whole.failures.length} failed`,
  );
  const requests = await load.stop();
  prove(
    'the other VIP does not notice',
    requests.failures.length === 0 && webMissing === 0,
    `${requests.succeeded} requests, ${requests.failures.length} failed; ${webMissing} times without both next hops`,
  );
  return facts;
}

/** Datagrams of the same address go through the proxy too: checked, shared out, each client at one backend. */
async function proveUdp(
  fabric: LabFabric,
  report: Report,
  address: string,
  prove: (fact: string, holds: boolean, told: string) => void,
): Promise<void> {
  const { traffic } = fabric;
  const members = backends(fabric);
  const names = { name: 'names', address, port: 5353 };
  const servers = await Promise.all(
    members.map(({ name, ipv4 }) => traffic.startUdpServer(name, names.port, [ipv4])),
  );
  try {
    await operateAll(fabric, report, [
      ...['vip', 'add', `${address}:${names.port}/udp`, '--name', names.name, '--policy', 'l7'],
      ...members.flatMap(({ ipv4 }) => ['-b', `${ipv4}:${names.port}`]),
      ...['--check', 'udp', '--check-send', 'health', '--check-expect', 'ok', '--check-interval', '500ms'],
      ...['--check-timeout', '500ms', '--check-rise', '1', '--set', 'udp.maxSessions=100'],
    ]);
    await waitUntilServed(fabric, names);
    const sourcePorts = Array.from({ length: 16 }, (_, index) => 21_000 + index);
    const asked = await traffic.datagrams({ address, port: names.port, sourcePorts, count: 5, pauseMs: 5 });
    const flows = await asked.done;
    const used = new Set(flows.flatMap(({ backends: seen }) => seen));
    prove(
      'datagrams of a VIP of layer 7 reach its backends, each client the same one',
      flows.length === 16 &&
        flows.every(({ answered, backends: seen }) => answered === 5 && seen.length === 1) &&
        used.size === members.length,
      `16 clients, ${flows.reduce((sum, { answered }) => sum + answered, 0)} of 80 answered by ${[...used].join(', ')}`,
    );
    await operateAll(fabric, report, ['vip', 'rm', names.name]);
  } finally {
    for (const server of servers) await server.stop();
  }
}

const proxyStatus = ({ lab }: LabFabric, host: string) =>
  createProxyClient(lab.env(host).L4D_RUN_DIR).status();

/** Process ids of the workers that serve. */
async function workersOf(fabric: LabFabric, host: string): Promise<readonly number[]> {
  const { workers } = await proxyStatus(fabric, host);
  return workers.filter(({ state }) => state === 'serving').map(({ pid }) => pid);
}

/** What each host's proxy has counted, over all its listeners. */
async function proxyCounters(fabric: LabFabric, hosts: readonly string[]) {
  return Promise.all(
    hosts.map(async (host) => {
      const { listeners } = await proxyStatus(fabric, host);
      const sum = (of: 'connections' | 'denied' | 'requests') =>
        listeners.reduce((total, listener) => total + listener[of], 0);
      return { host, connections: sum('connections'), denied: sum('denied'), requests: sum('requests') };
    }),
  );
}

/** Requests for a path in the access logs of all backends. */
async function accessLines(fabric: LabFabric, path: string): Promise<number> {
  const names = labNames(fabric.lab.id);
  if (!names.ok) throw new Error(names.error);
  const logs = await Promise.all(
    backends(fabric).map(({ name }) => readFile(nginxPaths(names.value, name).accessLog, 'utf8')),
  );
  return logs.reduce((sum, text) => sum + text.split(` ${path} `).length - 1, 0);
}
