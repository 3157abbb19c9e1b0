import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { openFilesLimit, raiseOpenFiles } from '@l4d/kit/ffi/resource-limits.ts';
import type { ProxyClient } from '@l4d/kit/proxy-client.ts';
import { roomWithin } from '@l4d/l7/io/descriptor-room.ts';
import { backendPort, createProxyLab, type ProxyLab } from '../../bench/io/proxy-lab.ts';
import { waitUntil } from '../../lab/io/build-lab.ts';
import type { SoakOptions } from '../soak.ts';
import type { IdleClientsReport } from './idle-clients.ts';
import { kernelKib, memoryOf } from './proxy-memory.ts';
import { startInLab, startSoakedProxy } from './proxy-process.ts';

/*
 * Very many connections that say nothing: clients in processes of their own, a worker for each as many as the limit of
 * open files lets one have, all in one namespace.
 */

const defaultCount = 100_000;
/** Connections of a warm-up, which stay in the figure of what there is without connections. */
const warmUp = 500;
const asked = 500;
/** What TLS and kept state may take at most of a connection, and a worker without any. */
const most = { connectionBytes: 15 * 1024, plainBytes: 4 * 1024, idleKib: 80_000 } as const;

interface Clients {
  tell(command: string): Promise<IdleClientsReport>;
  end(): void;
}

/** Opens `count` connections (a fifth of them in TLS, after those). Throws when one is lost or something is kept. */
export async function run({ count = defaultCount, say }: SoakOptions): Promise<string> {
  raiseOpenFiles(131_072);
  const room = roomWithin(openFilesLimit()).clients - 1000;
  const results: string[] = [];
  for (const [transport, wanted] of [
    ['plain', count],
    ['tls', Math.ceil(count / 5)],
  ] as const) {
    const workers = Math.ceil(wanted / room);
    say(
      `${wanted} connections, ${transport}: ${workers} workers, ${room} each at most (nofile ${openFilesLimit()})`,
    );
    results.push(await hold(transport, wanted, workers, say));
  }
  return results.join('; ');
}

async function hold(
  transport: 'plain' | 'tls',
  count: number,
  workers: number,
  say: (line: string) => void,
): Promise<string> {
  const lab = await createProxyLab();
  const clients: Clients[] = [];
  let started: Awaited<ReturnType<typeof startProxy>> | undefined;
  try {
    started = await startProxy(lab, transport, workers);
    const { proxy, pids, ports } = started;
    for (const [index, port] of ports.entries()) clients.push(startClients(port, transport, index * 8));
    const all = (command: string) => Promise.all(clients.map((one) => one.tell(command)));
    await all(`open ${warmUp}`);
    const [before] = await all(`ask ${asked}`);
    await all('close');
    await untilClosed(proxy, pids);
    const [idle, kernelBefore] = [memoryOf(pids), kernelKib()];
    const eachKib = Math.round(idle.residentKib / workers);
    say(
      `without connections: a worker ${eachKib} KiB resident, ${Math.round(idle.ownKib / workers)} its own`,
    );
    const began = performance.now();
    await all(`open ${Math.ceil(count / workers)}`);
    const open = memoryOf(pids);
    const kernel = kernelKib() - kernelBefore;
    const seconds = (performance.now() - began) / 1000;
    const bytes = Math.round(((open.ownKib - idle.ownKib) * 1024) / count);
    say(
      `${count} open after ${seconds.toFixed(1)} s: ${bytes} bytes a connection; the kernel's, both ends and those to backends: ${Math.round((kernel * 1024) / count)}`,
    );
    const [loaded] = await all(`ask ${asked}`);
    say(
      `a request: median ${told(before?.median)} ms, 99th percentile ${told(before?.p99)} with ${warmUp * workers} open; ${told(loaded?.median)} and ${told(loaded?.p99)} with ${count}`,
    );
    await sleep(3000);
    const reports = await all('look');
    const lost = reports.reduce((sum, one) => sum + one.lost, 0);
    const held = reports.reduce((sum, one) => sum + one.idle, 0);
    await all('close');
    await untilClosed(proxy, pids);
    const after = memoryOf(pids);
    const kept = after.ownKib - idle.ownKib;
    say(`closed: ${kept} KiB more than before, ${after.descriptors - idle.descriptors} descriptors more`);
    check(lost === 0 && held >= count, `${lost} connections were lost, ${held} of ${count} held`);
    const mostBytes = transport === 'tls' ? most.connectionBytes : most.plainBytes;
    // What a worker takes to work at all weighs on the figure when there are few.
    check(
      count / workers < 10_000 || bytes <= mostBytes,
      `${bytes} bytes a connection (at most ${mostBytes})`,
    );
    check(after.descriptors <= idle.descriptors, 'descriptors are left');
    check(kept <= (open.ownKib - idle.ownKib) / 4 + 16_384 * workers, `${kept} KiB are not given back`);
    check(
      (loaded?.median ?? 0) <= 3 * (before?.median ?? 0) + 5,
      'requests take longer with all of them open',
    );
    return `${count} ${transport} connections of ${bytes} bytes each, 0 lost`;
  } finally {
    for (const one of clients) one.end();
    await started?.end();
    lab.remove();
  }
}

function told(milliseconds = 0): string {
  return milliseconds.toFixed(2);
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw new OperatorError(otherwise);
}

/** A listener for each worker's own socket, as no program of the kernel shares connections out here. */
async function startProxy(lab: ProxyLab, transport: 'plain' | 'tls', workers: number) {
  const { proxy, supervisor: pid, end } = await startSoakedProxy(lab);
  const pools = [{ name: 'default', backends: [{ address: '127.0.0.1', port: backendPort }] }];
  const { cert, key } = lab.secrets;
  const tls = transport === 'plain' ? {} : { tls: { certificates: [{ cert, key }] } };
  const put = (ports: readonly number[]) =>
    proxy.putDesired({
      workers,
      listeners: ports.map((port, index) => ({
        name: `idle${index}`,
        address: '127.0.0.1',
        port,
        pools,
        timeouts: { keepAliveMs: 3_600_000 },
        ...tls,
      })),
    });
  await put(lab.portsOf(pid).slice(0, 1));
  await waitUntil('all workers serve', async () => (await proxy.status()).workers.length === workers, 60_000);
  const ports = lab.portsOf(pid);
  await put(ports);
  const pids = (await proxy.status()).workers.map((worker) => worker.pid);
  return { proxy, pids, ports, end };
}

/** Waits until nothing is open, connections to backends have ended too, and memory was given back. */
async function untilClosed(proxy: ProxyClient, pids: readonly number[]): Promise<void> {
  await waitUntil(
    'the proxy has seen all connections end',
    async () => (await proxy.status()).workers.every(({ activeConnections }) => activeConnections === 0),
    60_000,
  );
  let last = -1;
  // A worker looks at most every 10 s whether there is something to give back.
  for (let same = 0; same < 26; ) {
    await sleep(500);
    const { descriptors, ownKib } = memoryOf(pids);
    same = Math.abs(descriptors + ownKib - last) < 2048 ? same + 1 : 0;
    last = descriptors + ownKib;
  }
}

function startClients(port: number, transport: string, firstSource: number): Clients {
  const file = join(import.meta.dirname, 'idle-clients-process.ts');
  const child = startInLab('node', file, String(port), transport, String(firstSource));
  if (child.stdout === null) throw new TypeError('the clients have no standard output');
  const lines = createInterface({ input: child.stdout });
  const gone = once(child, 'exit').then(([code]) => {
    throw new OperatorError(`the clients have ended by themselves with ${code}`);
  });
  gone.catch(() => undefined);
  return {
    async tell(command) {
      const answer = once(lines, 'line');
      child.stdin?.write(`${command}\n`);
      const [line] = await Promise.race([answer, gone]);
      return JSON.parse(line) as IdleClientsReport;
    },
    end: () => void child.kill('SIGKILL'),
  };
}
