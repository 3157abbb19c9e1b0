/** The sidecar beside a real nginx, with FRR as its router: what it announces, and how it takes it back. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SidecarStatus } from '@l4d/announcer/sidecar/core/status.ts';
import { bind, closeFd, constant, receive, socket } from '@l4d/kit/ffi/libc.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  folder,
  frrShow,
  inKernel,
  namespaces,
  setUpNetwork,
  startFrr,
  tearDownNetwork,
} from '../../tools/lab/io/bgp-lab.ts';
import { runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import { until } from './bgp-until.ts';

const vip = '203.0.113.10';
const main = join(import.meta.dirname, '../../announcer/bin/start.mjs');
const runDir = join(folder, 'sidecar');
const configPath = join(folder, 'sidecar.yaml');
const notifyPath = join(folder, 'notify.sock');
let nginx: ChildProcess;
let sidecar: ChildProcess;
let notices: number;
/** What the sidecar that was started last has written. */
let log = '';

const config = `
as: 65001
routerId: 10.77.0.2
gracefulShutdown: 600ms
peers: [{ address: 10.77.0.1, as: 65000, holdTime: 9s }]
services:
  - name: web
    vips: [${vip}, "2001:db8::10"]
    port: 8080
    linger: 300ms
    checks:
      - { type: http, path: /, interval: 500ms, timeout: 400ms, rise: 1, fall: 2 }
    announce: { med: 7 }
`;

function startNginx(): void {
  const path = join(folder, 'nginx.conf');
  const own = join(folder, 'nginx');
  mkdirSync(own, { recursive: true });
  writeFileSync(
    path,
    `daemon off; worker_processes 1; error_log stderr crit; pid ${own}/pid; events {}
http { access_log off; client_body_temp_path ${own}/a; proxy_temp_path ${own}/b; fastcgi_temp_path ${own}/c;
  uwsgi_temp_path ${own}/d; scgi_temp_path ${own}/e;
  server { listen 8080; location / { return 200 "here\\n"; } } }`,
  );
  nginx = spawnIn(namespaces.announcer, 'nginx', '-c', path);
}

/** nginx and its workers; the master first, which else starts others in their place. */
function signalNginx(signal: NodeJS.Signals): void {
  const workers = execFileSync('ps', ['-o', 'pid=', '--ppid', String(nginx.pid)], { encoding: 'utf8' });
  for (const pid of [Number(nginx.pid), ...workers.trim().split(/\s+/).map(Number)]) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended with its master.
    }
  }
}

function startSidecar(): ChildProcess {
  const folders = ['--run-dir', runDir, '--state-dir', join(folder, 'state')];
  const environment = `NOTIFY_SOCKET=${notifyPath}`;
  const child = spawnIn(
    namespaces.announcer,
    'env',
    ...[environment, process.execPath, main, ...folders, 'sidecar', '-c', configPath],
  );
  log = '';
  child.stderr?.on('data', (part: Buffer) => {
    log += part.toString();
  });
  return child;
}

/** The CLI, as an operator uses it. */
function command(...words: readonly string[]): string {
  return execFileSync(process.execPath, [main, '--run-dir', runDir, ...words], { encoding: 'utf8' });
}

async function status(): Promise<SidecarStatus['services'][number]> {
  const { body } = await requestJson(join(runDir, 'announcer.sock'), 'GET', '/v1/services');
  const [service] = (body as SidecarStatus).services;
  if (service === undefined) throw new Error('there is no service');
  return service;
}

const onLoopback = () =>
  runIn(namespaces.announcer, 'ip', 'address', 'show', 'dev', 'lo').includes(`${vip}/32`);
const routed = () => inKernel(namespaces.frr, vip);
const answers = () => runIn(namespaces.frr, 'curl', '-s', '-m', '2', `http://${vip}:8080/`);

function nextNotice(): string {
  const buffer = new Uint8Array(4096);
  const length = receive(notices, buffer, constant.MSG_DONTWAIT);
  return length === undefined ? '' : new TextDecoder().decode(buffer.subarray(0, length));
}

/** All notices so far. */
function allNotices(): string {
  let all = '';
  for (let next = nextNotice(); next !== ''; next = nextNotice()) all += `${next}\n`;
  return all;
}

beforeAll(async () => {
  setUpNetwork();
  startFrr(65000, 65001);
  startNginx();
  writeFileSync(configPath, config);
  notices = socket(constant.AF_UNIX, constant.SOCK_DGRAM | constant.SOCK_CLOEXEC);
  bind(notices, Uint8Array.from([constant.AF_UNIX, 0, ...new TextEncoder().encode(notifyPath), 0]));
  sidecar = startSidecar();
  await until('the VIP is routed', routed, 30_000);
});

afterAll(() => {
  sidecar?.kill('SIGKILL');
  try {
    signalNginx('SIGKILL');
  } catch {
    // It was ended by a test.
  }
  closeFd(notices);
  tearDownNetwork();
});

it('puts the VIPs on lo and announces them; the service answers at them', async () => {
  expect(onLoopback()).toBe(true);
  expect(answers()).toBe('here\n');
  await until('IPv6 too', () => inKernel(namespaces.frr, '2001:db8::10'));
  const route = frrShow(`show bgp ipv4 unicast ${vip}/32`) as { paths: { metric: number }[] };
  expect(route.paths[0]?.metric).toBe(7);
  expect(allNotices()).toContain('READY=1');
  expect(command('status')).toMatch(
    /^web +203\.0\.113\.10\/32 2001:db8::10\/128 +up +1 +all checks are good$/m,
  );
});

it('withdraws as soon as the process is gone, and takes the VIP away after that', async () => {
  signalNginx('SIGKILL');
  await until('the route is gone', () => !routed());
  expect((await status()).reason).toBe('the process that listened on tcp port 8080 has closed it or is gone');
  await until('the address is gone', () => !onLoopback());
  startNginx();
  await until('it is back', routed);
  expect(onLoopback()).toBe(true);
});

it('withdraws a service that is frozen', async () => {
  signalNginx('SIGSTOP');
  await until('the route is gone', () => !routed());
  expect((await status()).reason).toContain('no answer within 400ms');
  signalNginx('SIGCONT');
  await until('it is back', routed);
});

it('warns the router before maintenance, and remembers it when it is killed', async () => {
  command('maintenance', 'on', 'web', '--reason', 'new disk');
  const communities = () =>
    JSON.stringify((frrShow(`show bgp ipv4 unicast ${vip}/32`) as { paths?: unknown }).paths ?? []);
  await until('the router is warned', () => communities().includes('gracefulShutdown'));
  await until('the route is gone', () => !routed());
  sidecar.kill('SIGKILL');
  sidecar = startSidecar();
  await until(
    'it runs again',
    async () => (await status().catch(() => undefined))?.checks[0]?.verdict === 'up',
  );
  expect(routed()).toBe(false);
  expect((await status()).maintenance?.reason).toBe('new disk');
  expect(() => command('maintenance', 'on', 'other')).toThrow(
    /"other" is not a service here \(there are: web\)/,
  );
  command('maintenance', 'off');
  await until('it is back', routed);
});

it('takes a new configuration, and keeps the old one when it is refused', async () => {
  writeFileSync(configPath, config.replace('med: 7', 'mad: 7'));
  sidecar.kill('SIGHUP');
  await until('the reload is over', () => allNotices().includes('RELOADING=1'));
  writeFileSync(configPath, config.replace('med: 7', 'med: 8'));
  sidecar.kill('SIGHUP');
  const metric = () =>
    (frrShow(`show bgp ipv4 unicast ${vip}/32`) as { paths: { metric: number }[] }).paths[0]?.metric;
  await until('the router sees it', () => metric() === 8);
  const { body, status: code } = await requestJson(join(runDir, 'announcer.sock'), 'POST', '/v1/withdraw', {
    prefixes: 'all',
  });
  expect(code).toBe(409);
  expect(JSON.stringify(body)).toContain('SIGHUP');
  expect(routed()).toBe(true);
});

it('leaves in order: withdrawn, off lo, the routers told, exit code 0', async () => {
  // Its output is whole only then.
  const ended = new Promise((resolve) => sidecar.once('close', resolve));
  const before = log.length;
  sidecar.kill('SIGTERM');
  expect(await ended).toBe(0);
  const lines = log
    .slice(before)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const withdrawn = lines
    .filter(({ msg }) => msg === 'withdrawn')
    .map(({ prefix, reason }) => [prefix, reason]);
  expect(withdrawn.sort()).toEqual([
    ['2001:db8::10/128', 'the sidecar is stopping'],
    [`${vip}/32`, 'the sidecar is stopping'],
  ]);
  expect(onLoopback()).toBe(false);
  expect(routed()).toBe(false);
  expect(allNotices()).toContain('STOPPING=1');
  const neighbor = frrShow('show bgp neighbors 10.77.0.2') as Record<
    string,
    { lastShutdownDescription?: string }
  >;
  expect(neighbor['10.77.0.2']?.lastShutdownDescription).toBe('sidecar stopped');
});
