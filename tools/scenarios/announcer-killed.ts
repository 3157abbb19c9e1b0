/** The announcer of one host is killed alone: its routes go at once and come back when the daemon restarts it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { signal } from '../lab/io/namespace-processes.ts';
import { declareVip, l4dHosts, resetFabric, urlOf, waitForNextHops, waitUntilServed } from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

const connectionCount = 50;

export const announcerKilled: Scenario = {
  name: 'announcer-killed',
  title: 'an announcer killed with -9: its routes go at once and are back in seconds, nothing breaks',
  factCount: 5,
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
  const { announcer } = await product.companions(struck);
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
