/**
 * The announcer of one host is upgraded under load, which nobody notices, and its successor then killed alone: its
 * routes go at once and come back when the daemon restarts it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { HandoverAnswer } from '@l4d/announcer/core/api.ts';
import { signal } from '../lab/io/namespace-processes.ts';
import { waitFor } from '../lab/io/wait-for.ts';
import {
  declareVip,
  l4dHosts,
  operate,
  resetFabric,
  routers,
  urlOf,
  waitForNextHops,
  waitUntilServed,
} from './fabric.ts';
import { routerView, watchRoute } from './route-watch.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

const connectionCount = 50;

export const announcerKilled: Scenario = {
  name: 'announcer-killed',
  title: 'an announcer upgraded, which nobody notices, then killed with -9: its routes are back in seconds',
  factCount: 8,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { product, traffic } = fabric;
  const hosts = l4dHosts(fabric).map(({ name }) => name);
  const [struck = '', ...others] = hosts;

  await resetFabric(fabric);
  const vip = await declareVip(fabric, report, { vip: 'web' });
  await waitUntilServed(fabric, vip);
  const url = urlOf(vip.address);
  const held = await traffic.hold({ url, connections: connectionCount, pauseMs: 50 });
  const load = await traffic.requests({ url, concurrency: 4, pauseMs: 10, durationMs: 60_000 });
  await held.until('every connection is answered', (all) => all.length === connectionCount, {
    timeoutMs: 10_000,
  });

  const daemonBefore = (await product.daemon(struck))?.pid;
  const tors = routers(fabric).map(({ name }) => name);
  const views = () => Promise.all(tors.map((tor) => routerView(fabric, tor)));
  const before = await views();
  const watches = tors.map((tor) => watchRoute(fabric, tor, vip.address));
  report.step(`the announcer of ${struck} is upgraded`);
  const { announcer: first } = await product.companions(struck);
  const upgraded = (await operate(fabric, report, struck, ['announcer', 'upgrade'])) as HandoverAnswer;
  prove(
    'no route and no session of a router moves',
    JSON.stringify(await views()) === JSON.stringify(before) &&
      watches.every((watch) => watch.changes().length === 0),
    { before, after: await views(), changes: watches.map((watch) => watch.changes()) },
  );
  for (const watch of watches) watch.stop();
  // The predecessor answers the request and then ends.
  const { announcer } = await waitFor(
    `the announcer of ${struck} is the successor alone`,
    () => product.companions(struck),
    (found) => found.announcer !== first,
    { timeoutMs: 5000 },
  );
  prove(
    'the successor has them, under the same daemon',
    announcer === upgraded.pid && announcer !== first && (await product.daemon(struck))?.pid === daemonBefore,
    `pid ${first}, then ${announcer}`,
  );
  await operate(fabric, report, struck, ['host', 'drain']);
  await waitForNextHops(fabric, vip.address, others, 5000);
  await operate(fabric, report, struck, ['host', 'undrain']);
  await waitForNextHops(fabric, vip.address, hosts, 5000);
  prove('what the daemon wants next is announced by it', true, `${hosts.length} next hops again`);
  if (announcer === undefined) throw new Error(`${struck} has no announcer`);
  report.step(`the announcer of ${struck} is killed with -9`);
  const killedAt = performance.now();
  signal(announcer, 'SIGKILL');
  await waitForNextHops(fabric, vip.address, others, 5000);
  const goneMs = Math.round(performance.now() - killedAt);
  prove('its routes go at once', goneMs < 1500, `after ${goneMs} ms`);
  await waitForNextHops(fabric, vip.address, hosts, 15_000);
  const backMs = Math.round(performance.now() - killedAt);
  report.show(`routes gone after ${goneMs} ms, back after ${backMs} ms`);
  prove('they are back when the daemon has restarted it', backMs < 10_000, `after ${backMs} ms`);
  const now = await product.companions(struck);
  prove(
    'another announcer runs, under the same daemon',
    now.announcer !== undefined &&
      now.announcer !== announcer &&
      (await product.daemon(struck))?.pid === daemonBefore,
    `pid ${announcer}, then ${now.announcer}`,
  );
  await sleep(1000);
  const requests = await load.stop();
  prove(
    'no request fails',
    requests.failures.length === 0 && requests.succeeded > 50,
    `${requests.succeeded} requests, ${requests.failures.length} failed`,
  );
  const connections = await held.stop();
  prove(
    'no connection breaks or changes its backend',
    connections.length === connectionCount &&
      connections.every(({ broken, backends }) => broken === undefined && backends.length === 1),
    `${connections.filter(({ broken }) => broken).length} of ${connectionCount} broken, ` +
      `${connections.filter(({ backends }) => backends.length > 1).length} on another backend`,
  );
  return facts;
}
