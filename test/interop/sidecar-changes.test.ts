/** A running sidecar whose configuration, surroundings and operators change, with FRR as its router: nothing may flap. */
import type { ChildProcess } from 'node:child_process';
import { createReadStream, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServiceStatus, SidecarStatus } from '@l4d/announcer/sidecar/core/status.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  folder,
  inKernel,
  namespaces,
  setUpNetwork,
  startFrr,
  tearDownNetwork,
} from '../../tools/lab/io/bgp-lab.ts';
import { runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import { until } from './bgp-until.ts';

const main = join(import.meta.dirname, '../../announcer/bin/start.mjs');
const children: ChildProcess[] = [];

/** A service on a port that a stand-in listens on; what is not given is as in the first configuration. */
interface ServiceText {
  readonly name?: string;
  readonly vips?: string;
  readonly checks?: string;
  readonly more?: string;
}

const listening = '{ type: listening, port: 8080, interval: 200ms, timeout: 100ms, rise: 1 }';

function serviceText({ name = 'web', vips = '[203.0.113.10]', checks = listening, more = '' }: ServiceText) {
  return `  - { name: ${name}, vips: ${vips}, linger: 1s, checks: [${checks}] ${more} }\n`;
}

function configText(services: readonly ServiceText[], more = '', peer = 'address: 10.77.0.1'): string {
  return `as: 65001
gracefulShutdown: 500ms
${more}
peers: [{ ${peer}, as: 65000, holdTime: 9s }]
services:
${services.map(serviceText).join('')}`;
}

/** A sidecar with folders of its own. */
function startSidecar(name: string, config: string) {
  const own = join(folder, name);
  const runDir = join(own, 'run');
  const configPath = join(own, 'sidecar.yaml');
  mkdirSync(own, { recursive: true });
  writeFileSync(configPath, config);
  const folders = ['--run-dir', runDir, '--state-dir', join(own, 'state')];
  const start = () => {
    const child = spawnIn(
      namespaces.announcer,
      process.execPath,
      ...[main, ...folders, 'sidecar', '-c', configPath],
    );
    children.push(child);
    child.stderr?.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
    return child;
  };
  let log = '';
  let child = start();
  const request = async (method: string, path: string, body?: unknown) =>
    requestJson(join(runDir, 'announcer.sock'), method, path, body);
  return {
    log: () => log,
    stateDir: join(own, 'state'),
    request,
    async services(): Promise<readonly ServiceStatus[]> {
      const answer = await request('GET', '/v1/services').catch(() => undefined);
      return (answer?.body as SidecarStatus | undefined)?.services ?? [];
    },
    write: (next: string) => writeFileSync(configPath, next),
    hangUp: () => child.kill('SIGHUP'),
    reload(next: string) {
      writeFileSync(configPath, next);
      child.kill('SIGHUP');
    },
    kill: () => child.kill('SIGKILL'),
    again() {
      child = start();
    },
    async exit(signal: NodeJS.Signals) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      return ended;
    },
  };
}

/** What the router's kernel says of its routes from here on. */
function watchRoutes() {
  const path = join(folder, `routes-${children.length}`);
  const child = spawnIn(namespaces.frr, 'sh', '-c', `exec ip monitor route > ${path}`);
  children.push(child);
  return {
    isThere: () => existsSync(path),
    async end() {
      child.kill('SIGTERM');
      return text(createReadStream(path));
    },
  };
}

/** A service that takes connections. */
function listenOn(port: number, address = '0.0.0.0'): ChildProcess {
  const script = `require("node:net").createServer((one) => one.end()).listen(${port}, "${address}");`;
  const child = spawnIn(namespaces.announcer, process.execPath, '-e', script);
  children.push(child);
  return child;
}

const onLoopback = (vip: string) =>
  runIn(namespaces.announcer, 'ip', 'address', 'show', 'dev', 'lo').includes(`${vip}/`);
const routed = (vip: string) => inKernel(namespaces.frr, vip);

let sidecar: ReturnType<typeof startSidecar>;

beforeAll(async () => {
  setUpNetwork();
  startFrr(65000, 65001);
  listenOn(8080);
  sidecar = startSidecar('one', configText([{}]));
  await until('the VIP is routed', () => routed('203.0.113.10'), 10_000);
});

afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  tearDownNetwork();
});

it('does not withdraw a VIP because of another VIP, another check, or another name', async () => {
  const routes = watchRoutes();
  await until('the router is watched', routes.isThere);
  const two = { vips: '["2001:db8::10", 203.0.113.10]' };
  sidecar.reload(configText([two]));
  await until('the new VIP is routed', () => routed('2001:db8::10'));
  const slow = '{ type: exec, command: [/bin/sh, -c, "sleep 0.5"], interval: 2s, timeout: 1s }';
  sidecar.reload(configText([{ ...two, checks: `${listening}, ${slow}` }]));
  await until('both checks are made', async () => (await sidecar.services())[0]?.checks.length === 2);
  sidecar.reload(configText([{ ...two, name: 'shop', checks: `${slow}, ${listening}` }]));
  await until('its name is another', async () => (await sidecar.services())[0]?.name === 'shop');
  await until('its checks have been made', async () =>
    ((await sidecar.services())[0]?.checks ?? []).every(({ reason }) => reason !== 'not asked yet'),
  );
  expect(await routes.end()).not.toMatch(/Deleted/);
  sidecar.reload(configText([{}]));
  await until('the second VIP is gone', () => !routed('2001:db8::10'));
  // Routers still send meanwhile.
  expect(onLoopback('2001:db8::10')).toBe(true);
  await until('and off lo', () => !onLoopback('2001:db8::10'));
  expect(onLoopback('203.0.113.10')).toBe(true);
});

it('puts back what somebody takes off lo', async () => {
  runIn(namespaces.announcer, 'ip', 'address', 'del', '203.0.113.10/32', 'dev', 'lo');
  await until('it is back', () => onLoopback('203.0.113.10'), 3000);
  expect(routed('203.0.113.10')).toBe(true);
});

it('leaves the addresses of another sidecar alone, also when one was killed', async () => {
  const other = startSidecar(
    'two',
    configText([{ name: 'other', vips: '[203.0.113.20]' }], '', 'address: 10.77.0.77'),
  );
  await until('both are there', () => onLoopback('203.0.113.20'));
  expect(onLoopback('203.0.113.10')).toBe(true);
  other.kill();
  other.write(configText([{ name: 'other', vips: '[203.0.113.21]' }], '', 'address: 10.77.0.77'));
  other.again();
  await until('its new address is there', () => onLoopback('203.0.113.21'));
  expect(onLoopback('203.0.113.20'), 'of its earlier life').toBe(false);
  expect(onLoopback('203.0.113.10')).toBe(true);
  const child = startSidecar(
    'three',
    configText([{ name: 'third', vips: '[203.0.113.30]' }], '', 'address: 10.77.0.78'),
  );
  expect(await other.exit('SIGTERM')).toBe(0);
  expect(onLoopback('203.0.113.21')).toBe(false);
  expect(onLoopback('203.0.113.10')).toBe(true);
  child.kill();
});

it('takes the newest of many configurations, however fast they come', async () => {
  for (let turn = 0; turn < 30; turn++) {
    sidecar.reload(configText([{}, { name: `more-${turn}`, vips: `[203.0.113.${100 + turn}]` }]));
    await sleep(turn % 3 === 0 ? 0 : 15);
  }
  await until('the last is in force', async () => (await sidecar.services())[1]?.name === 'more-29');
  await until('and its VIP routed', () => routed('203.0.113.129'));
  sidecar.reload(configText([{}]));
  await until(
    'all others are gone',
    () =>
      !/203\.0\.113\.1[0-2]\d/.test(runIn(namespaces.announcer, 'ip', '-o', 'address', 'show', 'dev', 'lo')),
  );
  expect(routed('203.0.113.10')).toBe(true);
});

it('keeps every maintenance of many that are asked for at once', async () => {
  const names = ['a', 'b', 'c', 'd'];
  const vips = (index: number) => `[203.0.113.${40 + index}]`;
  sidecar.reload(configText([{}, ...names.map((name, index) => ({ name, vips: vips(index) }))]));
  await until('all are announced', () => names.every((_, index) => routed(`203.0.113.${40 + index}`)));
  await Promise.all(
    names.map((service) => sidecar.request('PUT', '/v1/maintenance', { service, on: true, reason: service })),
  );
  const out = (await sidecar.services()).filter(({ maintenance }) => maintenance !== undefined);
  expect(out.map(({ name }) => name)).toEqual(names);
  await sidecar.request('PUT', '/v1/maintenance', { on: false });
});

it('sees the end of a service at an address that came after the sidecar', async () => {
  const checks = '{ type: tcp, port: 8081, interval: 500ms, timeout: 400ms, rise: 1, fall: 50 }';
  const late = { name: 'late', vips: '[203.0.113.60]', checks, more: ', address: 192.0.2.60' };
  sidecar.reload(configText([{}, late]));
  await until('it is in force', async () => (await sidecar.services())[1]?.name === 'late');
  runIn(namespaces.announcer, 'ip', 'address', 'add', '192.0.2.60/32', 'dev', 'v1');
  const service = listenOn(8081);
  await until('it is announced', () => routed('203.0.113.60'));
  service.kill('SIGKILL');
  await until('it is withdrawn', () => !routed('203.0.113.60'), 5000);
});

it('has a VIP on lo before the service that binds it, and until the service is to go', async () => {
  const vip = '203.0.113.70';
  const more = `, address: ${vip}, loopback: keep`;
  sidecar.reload(
    configText([{}, { name: 'binds', vips: `[${vip}]`, checks: listening.replace('8080', '8082'), more }]),
  );
  await until('it is on lo', () => onLoopback(vip));
  expect(routed(vip)).toBe(false);
  const service = listenOn(8082, vip);
  await until('it is announced', () => routed(vip));
  service.kill('SIGKILL');
  await until('it is withdrawn', () => !routed(vip));
  await sleep(1300);
  expect(onLoopback(vip)).toBe(true);
  sidecar.reload(configText([{}]));
  await until('it is off lo', () => !onLoopback(vip));
});

it('refuses to ask its own VIP, which another host may answer', async () => {
  sidecar.reload(configText([{ more: ', address: 203.0.113.10' }]));
  await until('it says so', () =>
    sidecar.log().includes('is a VIP that is on lo only while it is announced'),
  );
  expect(routed('203.0.113.10')).toBe(true);
});

it('a sidecar that is killed and comes back: routers forget no route before it knows better', async () => {
  const checks = '{ type: exec, command: [/bin/sleep, "0.7"], interval: 2s, timeout: 2s, rise: 1 }';
  const kept = configText([{ checks }], '', 'promise: continuity, address: 10.77.0.1');
  sidecar.reload(kept);
  const established = async () => {
    const { body } = await sidecar.request('GET', '/v1/status');
    const [peer] = (body as { peers: { state: string; promise?: string }[] }).peers;
    return peer?.state === 'Established';
  };
  await until('the old session is over', async () => !(await established()), 2000).catch(() => undefined);
  await until('the session is up', async () => (await established()) && routed('203.0.113.10'));
  await sleep(500);
  const routes = watchRoutes();
  await until('the router is watched', routes.isThere);
  sidecar.kill();
  sidecar.again();
  const told = async () => (await sidecar.services())[0]?.vips[0]?.advertisedTo.length === 1;
  await until('it announces again', told);
  await sleep(300);
  expect(await routes.end()).not.toMatch(/Deleted/);
  expect(routed('203.0.113.10')).toBe(true);
});
