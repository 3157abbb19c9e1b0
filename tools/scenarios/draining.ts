/** A drained backend keeps its connections, on whichever CPU their packets come, until its time is over. */
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { runChecked } from '../lab/io/run-command.ts';
import { forwardedByCpu } from './counters.ts';
import {
  backends,
  declareVip,
  l4dHosts,
  operateAll,
  resetFabric,
  showTable,
  urlOf,
  waitForBackend,
  waitUntilServed,
} from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

const drainSeconds = 8;
const connectionCount = 24;

export const draining: Scenario = {
  name: 'draining',
  title: 'a drained backend keeps its connections, on any CPU, and gets no new ones',
  factCount: 6,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { traffic } = fabric;
  const [firstHost = ''] = l4dHosts(fabric).map(({ name }) => name);
  const [drained] = backends(fabric);
  if (drained === undefined) throw new Error('the topology has no backend');

  await resetFabric(fabric);
  const vip = await declareVip(fabric, report, { vip: 'web' });
  await waitUntilServed(fabric, vip);
  const url = urlOf(vip.address);

  report.step(`${connectionCount} long-lived connections, their client on CPU 0`);
  const held = await traffic.hold({ url, connections: connectionCount, pauseMs: 20, durationMs: 60_000 });
  await moveToCpu(held.pid, 0);
  await held.until('every connection is answered', (all) => all.length === connectionCount, {
    timeoutMs: 5000,
  });
  const onDrained = () => held.summary().filter(({ backends: [name] }) => name === drained.name);
  const elsewhere = () => held.summary().filter(({ backends: [name] }) => name !== drained.name);

  report.step(`${drained.name}, which has ${onDrained().length} of them, is drained for ${drainSeconds} s`);
  const drainedAt = Date.now();
  const timeout = ['--timeout', `${drainSeconds}s`];
  await operateAll(fabric, report, ['backend', 'drain', vip.name, drained.ipv4, ...timeout]);
  await waitForBackend(fabric, vip.name, drained.ipv4, 'drained');
  await showTable(fabric, report, firstHost, ['backend', 'ls', vip.name]);
  const fresh = await traffic.ask({ url, count: 300 });
  prove(
    'new connections go elsewhere, none fails',
    fresh.succeeded === 300 && fresh.byBackend[drained.name] === undefined,
    `300 requests: ${JSON.stringify(fresh.byBackend)}, ${fresh.failures.length} failed`,
  );

  report.step('the client moves to CPU 1 in mid-connection');
  const onFirstCpu = await share(fabric, 800);
  await moveToCpu(held.pid, availableParallelism() > 1 ? 1 : 0);
  await sleep(100);
  const movedAt = Date.now();
  const onSecondCpu = await share(fabric, 1500);
  report.show(`packets forwarded by CPU: before ${onFirstCpu.join(' / ')}, after ${onSecondCpu.join(' / ')}`);
  prove(
    'their packets really come on the other CPU',
    availableParallelism() === 1 || (isMostly(onFirstCpu, 0) && isMostly(onSecondCpu, 1)),
    availableParallelism() === 1
      ? 'this machine has one CPU'
      : `CPU 0 / CPU 1: before ${onFirstCpu.join(' / ')}, after ${onSecondCpu.join(' / ')}`,
  );
  const living = onDrained();
  prove(
    'the connections of the drained backend live on, also on the other CPU',
    living.length > 0 &&
      living.every(
        ({ backends: names, broken, lastPingAtMs }) =>
          names.length === 1 && broken === undefined && lastPingAtMs > movedAt,
      ),
    `${living.length} connections on ${drained.name}, ${living.filter(({ broken }) => broken).length} broken; longest pause ${Math.max(...living.map(({ largestGapMs }) => largestGapMs))} ms`,
  );

  report.step('the time of the drain ends');
  const deadline = drainedAt + drainSeconds * 1000;
  const ended = await held.until(
    `the connections on ${drained.name} have ended`,
    () => onDrained().every(({ broken, backends: names }) => broken !== undefined || names.length > 1),
    { timeoutMs: deadline - Date.now() + 5000 },
  );
  const brokenAt = onDrained().map(({ broken }) => broken?.atMs ?? 0);
  const late = brokenAt.map((at) => at - drainedAt);
  report.show(`ended ${Math.min(...late)} to ${Math.max(...late)} ms after the drain began`);
  prove(
    'they end with the drain, not before, and the client is told at once',
    late.every((ms) => ms >= drainSeconds * 1000 && ms < drainSeconds * 1000 + 3000) &&
      onDrained().every(({ broken }) => broken?.failure === 'ECONNRESET'),
    `ended ${Math.min(...late)} to ${Math.max(...late)} ms after the drain of ${drainSeconds} s began`,
  );
  prove(
    'connections on the other backends are untouched',
    elsewhere().length > 0 &&
      elsewhere().every(({ broken, backends: names }) => !broken && names.length === 1),
    `${elsewhere().length} of ${ended.length} connections, none broken, none moved`,
  );
  await held.stop();

  report.step('the drain is taken back');
  await operateAll(fabric, report, ['backend', 'undrain', vip.name, drained.ipv4]);
  await waitForBackend(fabric, vip.name, drained.ipv4, 'up');
  const back = await traffic.ask({ url, count: 300 });
  prove(
    'undrained, it takes new connections again',
    back.succeeded === 300 && (back.byBackend[drained.name] ?? 0) > 0,
    `300 requests: ${JSON.stringify(back.byBackend)}, ${back.failures.length} failed`,
  );
  return facts;
}

/** Binds all threads of a process to one CPU. */
async function moveToCpu(pid: number, cpu: number): Promise<void> {
  await runChecked(['taskset', '-a', '-p', '-c', String(cpu), String(pid)]);
}

/** Packets forwarded on each CPU during so many milliseconds. */
async function share(fabric: LabFabric, milliseconds: number): Promise<number[]> {
  const before = await forwardedByCpu(fabric);
  await sleep(milliseconds);
  const after = await forwardedByCpu(fabric);
  return after.map((count, cpu) => count - (before[cpu] ?? 0));
}

function isMostly(counts: readonly number[], cpu: number): boolean {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return total > 20 && (counts[cpu] ?? 0) > 0.6 * total;
}
