/** Both daemons are killed under load: packets and routes do not notice; restarted, they adopt what is there. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { BgpView } from '@l4d/l4d/core/status.ts';
import { readRuntimeState } from '@l4d/l4d/io/runtime-store.ts';
import { forwardedByHost } from './counters.ts';
import {
  backends,
  declareVip,
  l4dHosts,
  nextHops,
  operateAll,
  resetFabric,
  routers,
  showTable,
  urlOf,
  waitForBackend,
  waitUntilServed,
} from './fabric.ts';
import { routerView, watchRoute } from './route-watch.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

/** How long the drain of one backend takes: it ends well after the daemons are back. */
const drainSeconds = 600;

/** The story with daemons dead for so many seconds. */
export function daemonsKilledFor(seconds: number): Scenario {
  return {
    name: 'daemons-killed',
    title: `both daemons killed with -9 for ${seconds} s: no request fails, no route moves`,
    factCount: 10,
    run: (fabric, report) => run(fabric, report, seconds),
  };
}

export const daemonsKilled = daemonsKilledFor(30);

async function run(fabric: LabFabric, report: Report, seconds: number) {
  const { facts, prove } = collectFacts();
  const { lab, product, traffic } = fabric;
  const hosts = l4dHosts(fabric).map(({ name }) => name);
  const tors = routers(fabric).map(({ name }) => name);
  const [, drained, dead] = backends(fabric);
  if (drained === undefined || dead === undefined) throw new Error('the story needs three backends');

  await resetFabric(fabric);
  const vip = await declareVip(fabric, report, { vip: 'web' });
  await waitUntilServed(fabric, vip);
  report.step(`${drained.name} is drained for ${drainSeconds} s, the server of ${dead.name} is dead`);
  const drainArgs = ['backend', 'drain', vip.name, drained.ipv4, '--timeout', `${drainSeconds}s`];
  await operateAll(fabric, report, drainArgs);
  await lab.killServer(dead.name);
  await waitForBackend(fabric, vip.name, dead.ipv4, 'down');
  await waitForBackend(fabric, vip.name, drained.ipv4, 'drained');
  // What is to be adopted is on disk a moment after it is decided.
  await sleep(500);

  const before = {
    picture: await pictures(fabric, hosts),
    deadlines: await Promise.all(hosts.map((host) => drainsStarted(fabric, host))),
    routers: await Promise.all(tors.map((tor) => routerView(fabric, tor))),
    announcers: await Promise.all(hosts.map((host) => announcerView(fabric, host))),
  };
  const watches = tors.map((tor) => watchRoute(fabric, tor, vip.address));
  const load = await traffic.requests({
    url: urlOf(vip.address),
    concurrency: 4,
    pauseMs: 20,
    durationMs: (seconds + 60) * 1000,
  });
  await sleep(500);

  report.step(`both daemons are killed with -9; nobody starts them for ${seconds} s`);
  const daemons = await Promise.all(hosts.map((host) => product.daemon(host)));
  await Promise.all(daemons.map((daemon) => daemon?.kill('SIGKILL')));
  const killedAt = Date.now();
  const counted = [await forwardedByHost(fabric, hosts)];
  let looks = 0;
  let missing = 0;
  while (Date.now() < killedAt + seconds * 1000) {
    for (const tor of tors) {
      looks += 1;
      if ((await nextHops(fabric, tor, vip.address)).length !== hosts.length) missing += 1;
    }
    await sleep(250);
    if (Date.now() - killedAt > (counted.length * seconds * 1000) / 5) {
      counted.push(await forwardedByHost(fabric, hosts));
      report.show(
        `forwarded so far: ${hosts.map((host, at) => `${host} ${counted.at(-1)?.[at]}`).join(', ')}`,
      );
    }
  }
  const deadUntil = Date.now();
  const unanswered = await product.runL4ctl(hosts[0] ?? '', ['status']);
  prove(
    'all the while the daemons were dead',
    unanswered.code === 69 &&
      (await Promise.all(hosts.map((host) => product.daemon(host)))).every((one) => !one),
    unanswered.stderr.trim(),
  );
  const during = load.summary({ fromMs: killedAt, untilMs: deadUntil });
  prove(
    'no request fails',
    during.failures.length === 0 && during.succeeded > seconds * 20,
    `${during.succeeded} requests in ${seconds} s, ${during.failures.length} failed; slowest ${during.largestMs} ms`,
  );
  prove(
    'the counters of both hosts go on rising in the kernel',
    hosts.every((_, at) =>
      counted.every((row, index) => index === 0 || (row[at] ?? 0) > (counted[index - 1]?.[at] ?? 0)),
    ),
    hosts.map((host, at) => `${host}: ${counted.map((row) => row[at]).join(', ')}`).join('; '),
  );
  const pings = await lab.exec('client', ['ping', '-c', '10', '-i', '0.2', '-W', '2', vip.address]);
  prove(
    'the VIP answers echo requests: stages of the program live without a daemon',
    / 0% packet loss/.test(pings.stdout),
    pings.stdout.trim().split('\n').at(-2),
  );
  prove(
    'both hosts stay next hops in both routers throughout',
    missing === 0 && looks > 0,
    `${looks} looks, ${missing} without both`,
  );

  report.step('both daemons are started again');
  await Promise.all(hosts.map((host) => product.startDaemon(host)));
  const first = await pictures(fabric, hosts);
  await sleep(3000);
  for (const host of hosts) await showTable(fabric, report, host, ['backend', 'ls', vip.name]);
  const later = await pictures(fabric, hosts);
  prove(
    'they adopt verdicts and drains: l4ctl shows the same picture at once and later',
    same(first, before.picture) && same(later, before.picture),
    same(first, later) ? first : { before: before.picture, first, later },
  );
  const deadlines = await Promise.all(hosts.map((host) => drainsStarted(fabric, host)));
  prove(
    'the drain ends when it was to end',
    same(deadlines, before.deadlines) && deadlines.every((one) => Object.keys(one).length === 1),
    deadlines,
  );
  const end = await load.stop();
  prove(
    'no request fails while they adopt',
    end.failures.length === 0,
    `${end.succeeded} requests in all, ${end.failures.length} failed`,
  );
  const routersNow = await Promise.all(tors.map((tor) => routerView(fabric, tor)));
  const changes = watches.flatMap((watch) => watch.changes());
  for (const watch of watches) watch.stop();
  prove(
    'no route moved from before the kill until now, and no session flapped',
    same(routersNow, before.routers) && changes.length === 0,
    changes.length > 0 ? changes : { before: before.routers, now: routersNow },
  );
  const announcers = await Promise.all(hosts.map((host) => announcerView(fabric, host)));
  prove(
    'the announcers are the same processes with the same sessions',
    same(announcers, before.announcers),
    announcers,
  );
  await lab.startServer(dead.name);
  return facts;
}

const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);

/** What an operator sees, without what may change by itself: counters and times. */
async function pictures({ product }: LabFabric, hosts: readonly string[]) {
  return Promise.all(
    hosts.map(async (host) => {
      const { vips } = await product.status(host);
      return vips.map(({ name, announced, verdict, backends: members }) => ({
        name,
        announced,
        verdict: verdict.code,
        backends: members.map(({ address, state, mac }) => `${address} ${state} ${mac}`),
      }));
    }),
  );
}

/** When the drains of a host's backends began, as the daemon remembers it on disk. */
async function drainsStarted({ lab }: LabFabric, host: string): Promise<Record<string, number>> {
  const path = join(lab.env(host).L4D_STATE_DIR, 'runtime.json');
  return readRuntimeState(path).drainsStarted;
}

/** The announcer, asked itself: the daemon may be dead. */
async function announcerView({ lab }: LabFabric, host: string) {
  const socket = join(lab.env(host).L4D_RUN_DIR, 'announcer.sock');
  const view = (await requestJson(socket, 'GET', '/v1/status?prefixes=true')).body as BgpView & {
    readonly pid: number;
  };
  return {
    pid: view.pid,
    sessions: view.peers.map(({ address, state, flaps }) => `${address} ${state}, ${flaps} flaps`),
    prefixes: view.prefixes.map(({ prefix, advertisedTo }) => `${prefix} to ${advertisedTo.join(' ')}`),
  };
}
