import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { closeSocket, lastName, readLocalName } from '@l4d/kit/ffi/event-socket.ts';
import { parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import koffi from 'koffi';
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { defaultLimits } from '../../core/limits.ts';
import { compilePolicy } from '../../core/policy.ts';
import { listenerStatus } from '../counters.ts';
import { descriptorRoom, lookAtLimit, roomWithin } from '../descriptor-room.ts';
import { startFront } from '../front.ts';
import { bindLoopback } from '../listening-socket.ts';
import { until } from '../testing/proxy-under-test.ts';

/* A worker near its limit of open files: clients do not take what it needs for backends, and it does not spin. */

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const libc = koffi.load(null);
const setLimit = libc.func('int setrlimit(int resource, const void *limit)');
const getLimit = libc.func('int getrlimit(int resource, void *limit)');
const duplicate = libc.func('int dup(int fd)') as (fd: number) => number;
const RLIMIT_NOFILE = 7;

/** Sets this process's limit of open files, without a descriptor; taken back after the test. */
function setOpenFilesLimit(soft: number): void {
  const limit = new BigUint64Array(2);
  getLimit(RLIMIT_NOFILE, limit);
  const [before = 0n, hard = 0n] = limit;
  setLimit(RLIMIT_NOFILE, BigUint64Array.of(BigInt(soft), hard));
  ends.push(() => {
    setLimit(RLIMIT_NOFILE, BigUint64Array.of(before, hard));
    lookAtLimit();
  });
  lookAtLimit();
}

/** The next descriptor that the kernel would give. */
function nextDescriptor(): number {
  const next = duplicate(0);
  closeSocket(next);
  return next;
}

/** Clients of another process, as each would take a second descriptor here. */
async function idleClients(port: number, count: number): Promise<ChildProcess> {
  const script = `for i in {1..${count}}; do exec {fd}<>/dev/tcp/127.0.0.1/${port}; done 2>/dev/null; echo full; sleep 60`;
  const child = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  ends.push(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

/** What curl says to a request; a process of its own. */
const curl = (port: number, path: string) =>
  new Promise<string>((resolve) => {
    const child = spawn('curl', ['-s', '-m', '5', `http://127.0.0.1:${port}${path}`]);
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    child.on('close', () => resolve(text));
  });

async function backend(): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (text) => {
      const path = / (\/\S*)/.exec(text.toString())?.[1] ?? '';
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  ends.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

function proxy(routes: readonly number[]) {
  const lines: { msg: string; reason: string }[] = [];
  const log = pino({ level: 'warn' }, { write: (line) => void lines.push(JSON.parse(line)) });
  const front = startFront(log, { ...defaultLimits, drainIdleMs: 0 });
  const fd = bindLoopback(4);
  readLocalName(fd);
  const port = lastName().charCodeAt(0) * 256 + lastName().charCodeAt(1);
  const desired = parseProxyDesired({
    listeners: [
      {
        name: 'test',
        address: '127.0.0.1',
        port,
        pools: routes.map((at, i) => ({ name: `p${i}`, backends: [{ address: '127.0.0.1', port: at }] })),
        routes: routes.map((_, i) => ({ pathPrefix: `/${i}`, pool: `p${i}` })),
      },
    ],
  });
  if (!desired.ok) throw new Error(JSON.stringify(desired.error));
  front.usePolicy(compilePolicy(desired.value));
  const leave = front.serve([fd]);
  ends.push(() => front.drain({ acceptMs: 0, atMostMs: 0 }));
  const status = () => {
    const [listener] = [...front.table.values()];
    if (listener === undefined) throw new Error('no listener');
    return listenerStatus(listener, front.counters);
  };
  return { front, port, lines, leave, status };
}

test('idle clients leave room for backends; it is said once, nothing spins, and those that come later are served', async () => {
  const { port, lines, status } = proxy([await backend()]);
  setOpenFilesLimit(nextDescriptor() + 100);
  const flood = await idleClients(port, 120);
  await until(
    () => lines.length > 0,
    () => JSON.stringify([status(), descriptorRoom(), nextDescriptor()]),
  );
  const full = status().activeConnections;
  expect(full).toBeGreaterThan(30);
  expect(nextDescriptor()).toBeLessThanOrEqual(descriptorRoom().clients);
  const used = process.cpuUsage();
  const begin = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { user, system } = process.cpuUsage(used);
  expect((user + system) / 1000).toBeLessThan((performance.now() - begin) / 2);
  expect(lines).toEqual([expect.objectContaining({ msg: 'cannot accept connections' })]);
  expect(lines[0]?.reason).toMatch(/nofile/);
  flood.kill('SIGKILL');
  await until(() => status().activeConnections < full / 2);
  expect(await curl(port, '/0')).toBe('/0');
});

test('a listening socket that is left takes in no more than there is room for', async () => {
  const { port, lines, leave, status } = proxy([await backend()]);
  setOpenFilesLimit(nextDescriptor() + 100);
  // In one turn of this thread: all wait in the kernel's queue when it is left.
  const script = `for i in {1..120}; do exec {fd}<>/dev/tcp/127.0.0.1/${port}; done 2>/dev/null; sleep 60 >/dev/null 2>&1 & echo $!`;
  const sleeper = Number(execFileSync('bash', ['-c', script], { encoding: 'utf8' }));
  ends.push(() => process.kill(sleeper, 'SIGKILL'));
  leave();
  expect(status().activeConnections).toBeGreaterThan(30);
  expect(nextDescriptor()).toBeLessThanOrEqual(descriptorRoom().clients);
  expect(lines.map(({ reason }) => reason)).toEqual([expect.stringMatching(/nofile/)]);
});

test('where descriptors have run out, an idle connection to one backend makes room for another', async () => {
  const { port, status } = proxy([await backend(), await backend()]);
  const client = connect(port, '127.0.0.1');
  ends.push(() => client.destroy());
  let text = '';
  client.on('data', (chunk) => {
    text += chunk;
  });
  const ask = async (path: string) => {
    text = '';
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await until(() => /\r\n\r\n./.test(text));
    return text.slice(text.indexOf('\r\n\r\n') + 4);
  };
  expect(await ask('/0')).toBe('/0');
  let limit = nextDescriptor();
  while (roomWithin(limit).backends < nextDescriptor()) limit += 1;
  setOpenFilesLimit(limit);
  expect(await ask('/1')).toBe('/1');
  expect(status().backends.map(({ errors }) => errors)).toEqual([0, 0]);
});
