/** A host that falls silent while its interface keeps the carrier: the hold timer finds out, the flows live on. */
import { setTimeout as sleep } from 'node:timers/promises';
import { forwardedByHost } from './counters.ts';
import { declareVip, l4dHosts, resetFabric, urlOf, waitForNextHops, waitUntilServed } from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

const connectionCount = 200;
/** Bytes a second of the download, and how long it takes: longer than the hold time three times over. */
const downloadRate = 7 * 1024 * 1024;

/** TCP's next retransmission after the detection comes after as long again at most. */
const largestOutageMs = (detectedMs: number) => 2 * detectedMs + 2000;

export const silentHost: Scenario = {
  name: 'silent-host',
  title: 'a host falls silent without losing its link: connections live on over the other one',
  factCount: 6,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { lab, traffic } = fabric;
  const { holdSeconds } = lab.topology.bgp;
  const hosts = l4dHosts(fabric).map(({ name }) => name);

  await resetFabric(fabric);
  const vip = await declareVip(fabric, report, { vip: 'web' });
  await waitUntilServed(fabric, vip);

  report.step('a download of 100 MiB in 15 s begins; the host that carries it is the one to fall silent');
  const before = await forwardedByHost(fabric, hosts);
  const download = await traffic.download({
    url: urlOf(vip.address, 80, `/slow/100m?rate=${downloadRate}`),
    durationMs: 60_000,
  });
  await sleep(1000);
  const after = await forwardedByHost(fabric, hosts);
  const carried = hosts.map((_, index) => (after[index] ?? 0) - (before[index] ?? 0));
  const silent = hosts[carried.indexOf(Math.max(...carried))] ?? '';
  const others = hosts.filter((host) => host !== silent);
  report.show(hosts.map((host, index) => `${host} ${carried[index]} packets`).join(', '));

  report.step(`${connectionCount} more connections, open and in use`);
  const held = await traffic.hold({ url: urlOf(vip.address), connections: connectionCount });
  await held.until('every connection is answered', (all) => all.length === connectionCount, {
    timeoutMs: 10_000,
  });
  await sleep(500);

  report.step(`${silent} falls silent: its switch port forwards nothing, its link stays up`);
  const cutAt = Date.now();
  await lab.cutPort(silent);
  const left = await waitForNextHops(fabric, vip.address, others);
  const leftMs = Math.round(left + (Date.now() - cutAt - left));
  report.show(`routers have no route over ${silent} any more after ${leftMs} ms`);
  prove(
    'the routers find out by the hold time',
    // A router on a busy machine may be late; without the hold time they would never find out.
    leftMs <= 2 * holdSeconds * 1000,
    `after ${leftMs} ms, hold time ${holdSeconds} s`,
  );
  const resumed = await download.until(
    'the download goes on',
    (now) => (now?.gapEndedAtMs ?? 0) > cutAt && (now?.largestGapMs ?? 0) > 500,
    { timeoutMs: 15_000 },
  );
  const outageMs = Math.round(resumed?.largestGapMs ?? 0);
  report.show(`largest gap in the download: ${outageMs} ms`);
  prove(
    'the download stands still for a short time, and goes on',
    outageMs > 500 && outageMs < largestOutageMs(leftMs) && resumed?.end === undefined,
    `largest gap ${outageMs} ms`,
  );
  const sinceMs = Date.now();
  await held.until(
    'every connection is answered over the other host',
    (all) => all.every(({ lastPingAtMs, broken }) => broken !== undefined || lastPingAtMs > sinceMs),
    { timeoutMs: 20_000 },
  );
  const moved = held.summary().filter(({ largestGapMs }) => largestGapMs > 500);
  const intact = (all: ReturnType<typeof held.summary>) =>
    all.length === connectionCount &&
    all.every(({ broken, backends }) => broken === undefined && backends.length === 1);
  prove(
    'every connection lives on, on the backend that it had',
    moved.length > 0 && intact(held.summary()),
    `${held.summary().filter(({ broken }) => broken).length} of ${connectionCount} broken, ` +
      `${held.summary().filter(({ backends }) => backends.length > 1).length} on another backend; ` +
      `${moved.length} had stood still, ${Math.max(...moved.map(({ largestGapMs }) => Math.round(largestGapMs)))} ms at most`,
  );

  report.step(`${silent} can be heard again`);
  await lab.restorePort(silent);
  const backMs = Math.round(await waitForNextHops(fabric, vip.address, hosts, 20_000));
  prove('both hosts are next hops of both routers again', true, `after ${backMs} ms`);
  await sleep(4000);
  const backAt = Date.now();
  await held.until(
    'every connection is answered after that',
    (all) => all.every(({ lastPingAtMs, broken }) => broken !== undefined || lastPingAtMs > backAt),
    { timeoutMs: 10_000 },
  );
  const end = await held.stop();
  prove(
    'its return breaks nothing either',
    intact(end),
    `${end.filter(({ broken }) => broken).length} of ${connectionCount} broken, ` +
      `${end.filter(({ backends }) => backends.length > 1).length} on another backend`,
  );
  const done = await download.done;
  prove(
    'the download arrives whole',
    done?.end === 'complete' && done.bytes === 100 * 1024 * 1024,
    `${done?.bytes} bytes: ${done?.end}`,
  );
  return facts;
}
