/** Checks decide who is used: a stopped server, all of them stopped, a VIP that is not configured. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { RequestSummary } from '../lab/core/traffic-summary.ts';
import {
  backends,
  declareVip,
  l4dHosts,
  resetFabric,
  showTable,
  urlOf,
  waitForBackend,
  waitForNextHops,
  waitUntilServed,
} from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

export const health: Scenario = {
  name: 'health',
  title: 'health checks take backends and whole VIPs out, and bring them back',
  factCount: 8,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { lab, traffic } = fabric;
  const hosts = l4dHosts(fabric).map(({ name }) => name);
  const [firstHost = ''] = hosts;
  const [first, second] = backends(fabric);
  if (first === undefined || second === undefined) throw new Error('the topology has too few backends');

  await resetFabric(fabric);
  report.step('a VIP with an HTTP check each 500 ms; requests go on all the time');
  const vip = await declareVip(fabric, report, { vip: 'web' });
  await waitUntilServed(fabric, vip);
  const url = urlOf(vip.address);
  const running = await traffic.requests({ url, durationMs: 60_000, concurrency: 4, pauseMs: 10 });
  await running.until('requests are answered', ({ succeeded }) => succeeded > 100, { timeoutMs: 5000 });

  report.step(`the server of ${first.name} is stopped`);
  const stoppedAt = Date.now();
  await lab.stopServer(first.name);
  await waitForBackend(fabric, vip.name, first.ipv4, 'down');
  const downAt = Date.now();
  await showTable(fabric, report, firstHost, ['backend', 'ls', vip.name]);
  await sleep(1500);
  const before = running.summary({ fromMs: stoppedAt, untilMs: downAt });
  const without = running.summary({ fromMs: downAt });
  report.show(
    `down on both hosts after ${downAt - stoppedAt} ms (${before.failures.length} of ${before.total} requests failed until then); after that ${counted(without)}`,
  );
  prove(
    'no request fails once both hosts show the backend down',
    without.total > 100 && without.failures.length === 0 && without.byBackend[first.name] === undefined,
    `down after ${downAt - stoppedAt} ms; then ${counted(without)}`,
  );

  report.step('it is started again');
  const startedAt = Date.now();
  await lab.startServer(first.name);
  await waitForBackend(fabric, vip.name, first.ipv4, 'up');
  const upAt = Date.now();
  await sleep(1000);
  const again = running.summary({ fromMs: startedAt });
  prove(
    'a backend that is back is used again, and no request fails meanwhile',
    (again.byBackend[first.name] ?? 0) > 0 && again.failures.length === 0,
    `up after ${upAt - startedAt} ms; ${counted(again)}`,
  );

  report.step(`${second.name} loses the VIP on its loopback; its server runs on`);
  await lab.removeVip(second.name, vip.address);
  await waitForBackend(fabric, vip.name, second.ipv4, 'down');
  const lostAt = Date.now();
  const direct = await traffic.ask({ url: urlOf(second.ipv4), count: 10 });
  await sleep(1000);
  const lost = running.summary({ fromMs: lostAt });
  prove(
    'a backend without the VIP fails its check although its server answers at its own address',
    direct.succeeded === 10 && direct.byBackend[second.name] === 10,
    `${direct.succeeded} of 10 requests to ${second.ipv4} answered; state down on both hosts`,
  );
  prove(
    'no request fails while it is out',
    lost.total > 50 && lost.failures.length === 0 && lost.byBackend[second.name] === undefined,
    counted(lost),
  );
  await lab.addVip(second.name, vip.address);
  await waitForBackend(fabric, vip.name, second.ipv4, 'up');
  await running.stop();

  report.step('all servers are stopped');
  const allStopped = performance.now();
  await Promise.all(backends(fabric).map(({ name }) => lab.stopServer(name)));
  await waitForNextHops(fabric, vip.address, []);
  const goneMs = Math.round(performance.now() - allStopped);
  await showTable(fabric, report, firstHost, ['vip', 'explain', vip.name]);
  const explained = await fabric.product.status(firstHost);
  const verdict = explained.vips.find(({ name }) => name === vip.name)?.verdict;
  prove('without a healthy backend the routes leave both routers', true, `gone after ${goneMs} ms`);
  const latency = await verdictToAck(fabric, firstHost, vip.name);
  prove(
    'the metrics say how long it was from the verdict to what each router has acknowledged',
    latency.length === 2 && latency.every((seconds) => seconds < 5),
    `${latency.map((seconds) => `${Math.round(seconds * 10_000) / 10} ms`).join(', ')}`,
  );
  prove(
    'l4ctl vip explain says why',
    verdict?.code === 'too-few-healthy',
    verdict?.reason ?? 'the VIP is not shown',
  );

  report.step('all servers are started');
  const allStarted = performance.now();
  await Promise.all(backends(fabric).map(({ name }) => lab.startServer(name)));
  await waitForNextHops(fabric, vip.address, hosts);
  const backMs = Math.round(performance.now() - allStarted);
  await waitUntilServed(fabric, vip);
  const served = await traffic.ask({ url, count: 200 });
  prove(
    'with healthy backends the routes return and requests are answered',
    served.succeeded === 200,
    `routes back after ${backMs} ms; ${counted(served)}`,
  );
  return facts;
}

/** `l4d_vip_verdict_to_ack_seconds` of a VIP, a value a router; waits until there are two. */
async function verdictToAck({ lab }: LabFabric, host: string, vip: string): Promise<number[]> {
  const socketPath = join(lab.env(host).L4D_RUN_DIR, 'l4d.sock');
  const end = performance.now() + 5000;
  for (;;) {
    const { body } = await requestJson(socketPath, 'GET', '/metrics');
    const lines = String(body).split('\n');
    const found = lines.filter((line) => line.startsWith(`l4d_vip_verdict_to_ack_seconds{vip="${vip}"`));
    if (found.length >= 2 || performance.now() > end) return found.map((line) => Number(line.split(' ')[1]));
    await sleep(50);
  }
}

function counted({ total, failures, byBackend }: RequestSummary): string {
  const shares = Object.entries(byBackend).map(([name, count]) => `${name} ${count}`);
  const reasons = [...new Set(failures.map(({ failure }) => failure))].join(', ');
  return `${total} requests, ${failures.length} failed${reasons === '' ? '' : ` (${reasons})`}: ${shares.sort().join(', ')}`;
}
