import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import type { ProxyDesiredInput } from '@l4d/kit/proxy-api.ts';
import type { ProxyClient } from '@l4d/kit/proxy-client.ts';
import { makeSelfSigned } from '@l4d/kit/tls/self-signed.ts';
import { createProxyLab, type ProxyLab } from '../../bench/io/proxy-lab.ts';
import { waitUntil } from '../../lab/io/build-lab.ts';
import type { SoakOptions } from '../soak.ts';
import type { DayPorts, DayReport } from './day-traffic.ts';
import { memoryOf, type ProcessMemory } from './proxy-memory.ts';
import { startInLab, startSoakedProxy } from './proxy-process.ts';

/*
 * A day of a proxy in minutes: clients of every kind, and among them those that leave in the middle of everything, while
 * its configuration and certificates change and workers are replaced and killed. Each kind of listener has a worker of
 * its own, so that what one keeps can be told; one of them is struck again and again, the others live all day.
 */

const lanes = 24;
const backend = 9100;
const kinds = ['http', 'tls', 'tcp', 'connect', 'socks', 'struck'] as const;
/** What a worker may have more at the end of the day than after its warm-up. */
const keptKib = 16 * 1024;

/** Runs for `seconds` (300 by default). Throws when a client fails that may not, or when something is kept. */
export async function run({ seconds = 300, seed, say }: SoakOptions): Promise<string> {
  const lab = await createProxyLab();
  const children: ChildProcess[] = [];
  let day: Awaited<ReturnType<typeof startDay>> | undefined;
  try {
    children.push(startInLab('node', join(import.meta.dirname, 'day-backend-process.ts'), String(backend)));
    await lab.listening(backend);
    day = await startDay(lab);
    const warm = startTraffic(day.ports, seed);
    children.push(warm.process);
    await sleep(Math.min(30_000, seconds * 150));
    say(`${await day.proxy.renew()} workers were replaced under traffic`);
    await sleep(Math.min(15_000, seconds * 50));
    judge(await warm.end(), 0);
    await untilQuiet(day.proxy);
    const lasting = await day.lasting();
    const before = lasting.map((pid) => memoryOf([pid]));
    const connectionsBefore = await connectionsOf(day.proxy);

    const traffic = startTraffic(day.ports, seed + 1);
    const many = startInLab(
      'wrk',
      '-t1',
      '-c16',
      `-d${seconds}s`,
      '-H',
      'Connection: close',
      `http://127.0.0.1:${day.ports.http}/`,
    );
    children.push(traffic.process, many);
    const samples: { readonly connections: number; readonly ownKib: number }[] = [];
    const end = performance.now() + seconds * 1000;
    let strikes = 0;
    for (let step = 1; performance.now() < end; step++) {
      await sleep(2000);
      await day.change(step);
      if (step % 4 === 0) strikes += await day.strike(step % 8 === 0 ? 'SIGKILL' : 'SIGTERM');
      const connections = (await connectionsOf(day.proxy)) - connectionsBefore;
      const now = memoryOf(lasting);
      samples.push({ connections, ownKib: now.ownKib });
      if (step % 10 === 0)
        say(
          `${connections} connections: ${now.ownKib} KiB, ${now.descriptors} descriptors; ${traffic.told()}`,
        );
    }
    if (many.exitCode === null) await once(many, 'exit');
    const report = await traffic.end();
    judge(report, strikes);
    await untilQuiet(day.proxy);
    const connections = (await connectionsOf(day.proxy)) - connectionsBefore;
    const after = lasting.map((pid) => memoryOf([pid]));
    const slope = slopeOf(samples.slice(Math.floor(samples.length / 3)));
    for (const [index, kind] of kinds.entries()) {
      const [first, last] = [before[index], after[index]];
      if (kind === 'struck' || first === undefined || last === undefined) continue;
      say(`${kind}: ${differenceOf(first, last)}`);
      if (last.descriptors === 0) throw new OperatorError(`the worker of ${kind} has ended`);
      if (last.descriptors > first.descriptors || last.ownKib - first.ownKib > keptKib)
        throw new OperatorError(`the worker of ${kind} keeps ${differenceOf(first, last)}`);
    }
    const counted = Object.values(report.done).reduce((sum, one) => sum + one, 0);
    return `${connections} connections (${counted} of every kind), ${strikes} workers killed or replaced, 0 left; ${slope.toFixed(1)} KiB more per 1,000 connections under load`;
  } catch (error) {
    throw new OperatorError(
      `${(error as Error).message}; the proxy's errors: ${day?.errors() ?? 'none yet'}`,
    );
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await day?.end();
    lab.remove();
  }
}

function differenceOf(first: ProcessMemory, last: ProcessMemory): string {
  return `${last.ownKib - first.ownKib} KiB more than after the warm-up (${first.ownKib}), ${last.descriptors - first.descriptors} descriptors more`;
}

/** KiB for 1,000 connections, by least squares. */
function slopeOf(samples: readonly { readonly connections: number; readonly ownKib: number }[]): number {
  const mean = (of: (sample: (typeof samples)[number]) => number) =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length;
  const [x, y] = [mean(({ connections }) => connections), mean(({ ownKib }) => ownKib)];
  const above = samples.reduce((sum, one) => sum + (one.connections - x) * (one.ownKib - y), 0);
  const below = samples.reduce((sum, one) => sum + (one.connections - x) ** 2, 0);
  return below === 0 ? 0 : (above / below) * 1000;
}

/** A struck worker takes its own connections with it, and no others may fail. */
function judge({ done, failed }: DayReport, strikes: number): void {
  const [own, others] = [[] as [string, number][], [] as [string, number][]];
  for (const one of Object.entries(failed))
    (one[0].startsWith('on replaced workers') ? own : others).push(one);
  if (others.length > 0) throw new OperatorError(`clients failed: ${JSON.stringify(others)}`);
  const broken = own.reduce((sum, [, count]) => sum + count, 0);
  if (broken > strikes * lanes)
    throw new OperatorError(`clients of the struck worker failed: ${JSON.stringify(own)}`);
  if (Object.keys(done).length < 12)
    throw new OperatorError(`not all kinds were done: ${JSON.stringify(done)}`);
}

async function connectionsOf(proxy: ProxyClient): Promise<number> {
  return (await proxy.status()).listeners.reduce((sum, { connections }) => sum + connections, 0);
}

async function untilQuiet(proxy: ProxyClient): Promise<void> {
  const quiet = async () =>
    (await proxy.status()).workers.every(({ activeConnections }) => activeConnections === 0);
  await waitUntil('all connections have ended', quiet, 90_000);
  // Until the struck one has its successor, another has its sockets too.
  const whole = async () =>
    (await proxy.status()).workers.filter(({ state }) => state === 'serving').length === kinds.length;
  await waitUntil('every place has its worker', whole, 90_000);
  // Connections to backends end after 4 s, and memory is given back 10 s after the last time at the earliest.
  await sleep(12_000);
}

async function startDay(lab: ProxyLab) {
  const { proxy, supervisor: pid, end, errors } = await startSoakedProxy(lab);
  const { cert, key } = lab.secrets;
  for (const name of ['one', 'two']) makeSelfSigned(lab.folder, name, 'bench.example');
  const desired = (at: readonly number[], step: number): ProxyDesiredInput => ({
    workers: kinds.length,
    listeners: at.map((port, index) => {
      const kind = kinds[index] ?? 'http';
      const forwards = kind === 'connect' || kind === 'socks';
      const mode = kind === 'tcp' || forwards ? kind : 'http';
      // What changes changes something for each request.
      const changing =
        mode === 'http' ? { forwarded: step % 2 === 0 } : { timeouts: { idleMs: 60_000 + step } };
      return {
        ...{ name: kind, address: '127.0.0.1', port, mode, ...changing },
        ...(kind === 'tls' ? { tls: { certificates: [{ cert, key }] } } : {}),
        ...(forwards
          ? { destinations: [{ prefixes: ['127.0.0.0/8'] }] }
          : { pools: [{ name: 'default', backends: [{ address: '127.0.0.1', port: backend }] }] }),
      };
    }),
  });
  await proxy.putDesired(desired(lab.portsOf(pid).slice(0, 1), 0));
  const serve = async () => (await proxy.status()).workers.length === kinds.length;
  await waitUntil('all workers serve', serve, 90_000);
  const placed = new Map<number, string>();
  for (const port of lab.portsOf(pid)) placed.set(port, kinds[placed.size] ?? '');
  const all = [...placed.keys()].slice(0, kinds.length);
  await proxy.putDesired(desired(all, 0));
  const portOf = (kind: string) => all[kinds.indexOf(kind as (typeof kinds)[number])] ?? 0;
  // A worker cares for the place of one that has died, so who listens is asked while all of them live.
  const placeOf = await placesOf(lab, proxy, pid, all);
  const workerOf = async (port: number) => {
    const { workers } = await proxy.status();
    return workers.find(({ place, state }) => place === placeOf.get(port) && state === 'serving')?.pid;
  };
  const ports: DayPorts = {
    ...{ http: portOf('http'), tls: portOf('tls'), tcp: portOf('tcp'), connect: portOf('connect') },
    ...{ socks: portOf('socks'), struck: portOf('struck'), backend },
  };
  return {
    proxy,
    end,
    errors,
    ports,
    /** The workers in the order of `kinds`. */
    lasting: async () => (await Promise.all(all.slice(0, -1).map(workerOf))).map((worker) => worker ?? 0),
    async change(step: number) {
      await proxy.putDesired(desired(all, step));
      const name = step % 2 === 0 ? 'one' : 'two';
      for (const [from, to] of [
        [`${name}.key`, key],
        [`${name}.pem`, cert],
      ] as const) {
        copyFileSync(join(lab.folder, from), `${to}.new`);
        renameSync(`${to}.new`, to);
      }
    },
    async strike(signal: NodeJS.Signals): Promise<number> {
      const struck = await workerOf(ports.struck);
      // Nobody is there: its successor is on its way.
      if (struck === undefined) return 0;
      process.kill(struck, signal);
      return 1;
    },
  };
}

/** The place whose worker listens on each of the ports. */
async function placesOf(lab: ProxyLab, proxy: ProxyClient, supervisor: number, ports: readonly number[]) {
  const places = new Map<number, number>();
  await waitUntil(
    'each worker listens for itself alone',
    async () => {
      const { workers } = await proxy.status();
      for (const port of ports) {
        const [own, ...others] = workers.filter(
          ({ pid }) => pid !== supervisor && lab.portsOf(pid).includes(port),
        );
        if (own === undefined || others.length > 0) return false;
        places.set(port, own.place);
      }
      return true;
    },
    60_000,
  );
  return places;
}

function startTraffic(ports: DayPorts, seed: number) {
  const file = join(import.meta.dirname, 'day-traffic-process.ts');
  const child = startInLab('node', file, JSON.stringify(ports), String(lanes), String(seed));
  let report: DayReport = { done: {}, failed: {} };
  if (child.stdout === null) throw new TypeError('the clients have no standard output');
  createInterface({ input: child.stdout }).on('line', (line) => {
    report = JSON.parse(line) as DayReport;
  });
  return {
    process: child,
    told: () => `${Object.values(report.done).reduce((sum, one) => sum + one, 0)} clients of every kind`,
    async end(): Promise<DayReport> {
      child.stdin?.end();
      if (child.exitCode === null) await once(child, 'close');
      return report;
    },
  };
}
