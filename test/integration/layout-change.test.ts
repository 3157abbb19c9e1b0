import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLoneHost, type LoneHost, type StartedDaemon, vipAddress } from './support/lone-host.ts';
import { ipIn, run } from './support/network-namespace.ts';

/** Maps of another layout are filled into those of today while connections are carried. Each step: bpf/map-generations.test.ts. */

const port = 7007;
const connections = 16;
const repository = new URL('../../', import.meta.url).pathname;
const other = `lay${process.pid}-o`;

let host: LoneHost;
let variant: string;
let traffic: ChildProcess | undefined;
const servers: ChildProcess[] = [];

/** Answers each byte with its name. */
const echo = (name: string) =>
  `require('node:net').createServer((s) => { s.on('data', () => s.write('${name}')); s.on('error', () => {}); }).listen(${port})`;

/** Connections that ask every 20 ms; prints their state when told to. */
const ask = `
  const net = require('node:net');
  const all = [];
  for (let i = 0; i < ${connections}; i++) {
    const one = { names: new Set(), broken: undefined, at: Date.now(), gap: 0, answers: 0 };
    all.push(one);
    const s = net.connect(${port}, '${vipAddress}');
    s.on('connect', () => setInterval(() => s.write('x'), 20));
    s.on('data', (data) => {
      for (const c of data.toString()) one.names.add(c);
      one.answers += data.length;
      one.gap = Math.max(one.gap, Date.now() - one.at);
      one.at = Date.now();
    });
    s.on('error', (e) => { one.broken = e.code; });
    s.on('close', () => { one.broken ??= 'closed'; });
  }
  process.stdin.on('data', () => {
    console.log(JSON.stringify(all.map((one) => ({ ...one, names: [...one.names].join(''), idle: Date.now() - one.at }))));
    for (const one of all) one.gap = 0;
  });`;

interface Connection {
  readonly names: string;
  readonly broken?: string;
  readonly gap: number;
  readonly idle: number;
  readonly answers: number;
}

const startIn = (namespace: string, script: string) => {
  const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, process.execPath, '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  servers.push(child);
  return child;
};

const state = () =>
  new Promise<readonly Connection[]>((resolve) => {
    traffic?.stdout?.once('data', (data: Buffer) => resolve(JSON.parse(data.toString()) as Connection[]));
    traffic?.stdin?.write('x');
  });

/** That all are alive, each on the backend that it began on. */
async function expectAlive(): Promise<void> {
  const before = await state();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const now = await state();
  expect(now.map(({ names, broken }) => `${names} ${broken ?? 'alive'}`)).toEqual(
    Array.from({ length: connections }, () => 'a alive'),
  );
  for (const [index, { answers }] of now.entries())
    expect(answers).toBeGreaterThan(before[index]?.answers ?? 0);
}

/** The same programs with fields and constants in other places. */
function buildVariant(folder: string): string {
  const bpf = join(folder, 'bpf');
  mkdirSync(join(bpf, 'build'), { recursive: true });
  cpSync(join(repository, 'bpf/include'), join(bpf, 'include'), { recursive: true });
  cpSync(join(repository, 'bpf/build'), join(bpf, 'build'), { recursive: true });
  const header = join(bpf, 'include/l4d.h');
  const patched = [
    [/(struct flow \{\n)(.*\n)(.*\n)(.*\n)/, '$1$4\t__u32 spare;\n$3$2'],
    [/(struct backend \{\n)/, '$1\t__u32 spare;\n'],
    [/(struct neighbour \{\n)/, '$1\t__u32 spare;\n'],
    [/BACKEND_DOWN = 1 << 0/, 'BACKEND_DOWN = 1 << 5'],
    [/(\tPASS_NOT_IP,.*\n)([\s\S]*?)(\tTX_FORWARD,.*\n)/, '$3$2$1'],
  ] as const;
  let text = readFileSync(header, 'utf8');
  for (const [from, to] of patched) {
    expect(text).toMatch(from);
    text = text.replace(from, to);
  }
  writeFileSync(header, text);
  for (const name of ['l4d_xdp', 'check_steering']) {
    const include = `-I/usr/include/${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`;
    const flags = [
      '-O2',
      '-g',
      '-Wall',
      '-fno-strict-aliasing',
      '-target',
      'bpf',
      '-mcpu=v3',
      `-I${bpf}/include`,
    ];
    const out = join(bpf, 'build', `${name}.bpf.o`);
    execFileSync('clang', [...flags, include, '-c', join(repository, `bpf/${name}.bpf.c`), '-o', out]);
    execFileSync('llvm-strip', ['-g', out]);
  }
  return join(bpf, 'build');
}

beforeAll(() => {
  host = createLoneHost('lay');
  variant = buildVariant(host.folder);
  run('ip', 'netns', 'add', other);
  ipIn(other, 'link set lo up');
  ipIn(host.namespaces.host, `link add po type veth peer name e0 netns ${other}`);
  ipIn(host.namespaces.host, 'link set po up master br0');
  ipIn(other, 'link set e0 up');
  ipIn(other, 'address add 10.88.0.22/24 dev e0');
  ipIn(other, `address add ${vipAddress}/32 dev lo`);
  run('nsenter', `--net=/run/netns/${other}`, 'sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=1');
  startIn(host.namespaces.backend, echo('a'));
  startIn(other, echo('b'));
}, 60_000);

afterAll(async () => {
  for (const child of servers) child.kill('SIGKILL');
  await host.remove();
  run('ip', 'netns', 'delete', other);
});

const config = (...backends: readonly string[]) => `version: 1
host: { interface: br0, capacity: { vips: 100, backends: 200, tableSlots: 65536, flows: 8192 } }
vips:
  - name: web
    address: ${vipAddress}
    port: ${port}
    check: { type: none }
    backends: [${backends.map((address) => `{ address: ${address} }`).join(', ')}]
`;

async function startWith(objects: string | undefined, ...args: readonly string[]): Promise<StartedDaemon> {
  if (objects === undefined) delete process.env['L4D_OBJECT_DIR'];
  else process.env['L4D_OBJECT_DIR'] = objects;
  const daemon = await host.start(...args);
  delete process.env['L4D_OBJECT_DIR'];
  expect(daemon.stderr()).toContain('"running"');
  return daemon;
}

async function kill(daemon: StartedDaemon): Promise<void> {
  daemon.process.kill('SIGKILL');
  await daemon.ended;
}

const reasonsSeen = async () => {
  const answer = await requestJson(join(host.folder, 'run/l4d.sock'), 'GET', '/v1/status');
  return (answer.body as FabricStatus).dataplane.dropReasons;
};

const generation = () => readlinkSync(join(host.environment['L4D_BPF_DIR'] ?? '', 'maps'));
const generations = () =>
  readdirSync(host.environment['L4D_BPF_DIR'] ?? '').filter((name) => name.startsWith('maps_'));

const neighbourKey = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 88, 0, 80);
const openNeighbours = () => {
  const fd = libbpf.openPinned(join(host.environment['L4D_BPF_DIR'] ?? '', 'neighbours'));
  if (fd === undefined) throw new Error('the map is not pinned');
  return fd;
};

function writeNeighbour(value: Uint8Array): void {
  const fd = openNeighbours();
  expect(libbpf.mapInfo(fd).valueSize).toBe(value.length);
  libbpf.updateElement(fd, neighbourKey, value);
  closeFd(fd);
}

function readNeighbour(size: number): Uint8Array | undefined {
  const fd = openNeighbours();
  expect(libbpf.mapInfo(fd).valueSize).toBe(size);
  const value = new Uint8Array(size);
  const isThere = libbpf.lookupElement(fd, neighbourKey, value);
  closeFd(fd);
  return isThere ? value : undefined;
}

test('connections stay on their backends when the maps change their layout under them', async () => {
  const first = await startWith(variant, '-c', host.write('l4d.yaml', config('10.88.0.21')));
  traffic = startIn(host.namespaces.client, ask);
  await expect
    .poll(async () => (await state()).every(({ answers }) => answers > 0), { timeout: 10_000 })
    .toBe(true);
  // From here on the table alone would give half of them to the other one.
  const added = await host.run('l4ctl', 'backend', 'add', 'web', '10.88.0.22');
  expect(added.stderr).toBe('');
  await expectAlive();
  const before = await reasonsSeen();
  expect(before['tx_forward']).toBeGreaterThan(connections);
  // What the announcer's process writes beside: an address that is answered for by one virtual router.
  const entry = Uint8Array.of(2, 0, 0, 0, 0, 7, 1, 1, 51, ...new Array<number>(31).fill(0));
  writeNeighbour(Uint8Array.of(0, 0, 0, 0, ...entry));
  await kill(first);

  // And of another size.
  const wider = config('10.88.0.21', '10.88.0.22').replace('flows: 8192', 'flows: 16384');
  const second = await startWith(undefined, '-c', host.write('l4d.yaml', wider));
  expect(second.log()).toContainEqual(
    expect.objectContaining({ msg: 'the maps are made anew, and filled with what they hold' }),
  );
  await expectAlive();
  expect((await state()).every(({ gap }) => gap < 1000)).toBe(true);
  const after = await reasonsSeen();
  expect(after['tx_forward']).toBeGreaterThanOrEqual(before['tx_forward'] ?? 0);
  expect(after['pass_not_ip'] ?? 0).toBeLessThan(before['tx_forward'] ?? 0);
  expect(generations()).toEqual([generation()]);
  expect(readNeighbour(entry.length)).toEqual(entry);
  await kill(second);
}, 60_000);

test('killed while maps are made, and again while programs go over to them: the next start ends the change', async () => {
  const script = `
    import { pino } from 'pino';
    import { systemClock } from '@l4d/kit/clock.ts';
    import { emptyDesiredState } from '@l4d/l4d/core/desired-state.ts';
    import { tunnelSettings } from '@l4d/l4d/core/forwarding/tunnel-settings.ts';
    import { openDataPlane } from '@l4d/l4d/io/forwarding/data-plane.ts';
    import { findHostInterface } from '@l4d/l4d/io/host-interface.ts';
    const { L4D_BPF_DIR: bpfFolder, CRASH_AT } = process.env;
    const capacity = { ...emptyDesiredState.host.capacity, vips: 100, backends: 200, tableSlots: 65536, flows: 16384 };
    const on = await findHostInterface('br0');
    const plane = openDataPlane({
      bpfFolder, capacity, flowTable: 'shared', clock: systemClock, logger: pino({ level: 'silent' }),
      onStep: (step) => { if (step === CRASH_AT) process.kill(process.pid, 'SIGKILL'); },
    });
    const tunnel = tunnelSettings(emptyDesiredState.host.tunnel, on);
    await plane.attach([{ name: on.name, interfaceIndex: on.index, mac: on.mac, mtu: on.mtu, tunnel }], 'auto');
    process.exit(0);`;
  const argv = [process.execPath, '--input-type=module', '-e', script];
  const change = (crashAt: string) => {
    const child = spawn('nsenter', [`--net=/run/netns/${host.namespaces.host}`, ...argv], {
      cwd: join(repository, 'tools'),
      env: { ...process.env, ...host.environment, CRASH_AT: crashAt, L4D_OBJECT_DIR: variant },
      stdio: 'inherit',
    });
    return new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
  };
  const before = generation();
  expect(await change('copied')).toBe('SIGKILL');
  await expectAlive();
  expect(generation()).toBe(before);
  expect(await change('swapped')).toBe('SIGKILL');
  await expectAlive();
  expect(generation()).not.toBe(before);
  expect(generations()).toHaveLength(2);
  expect(await change('nothing')).toBe(0);
  await expectAlive();
  expect(generations()).toEqual([generation()]);
}, 60_000);

test('the brake takes the generations with it', async () => {
  const answer = await host.run('l4d', 'detach', '--all', '--forget');
  expect(answer.code).toBe(0);
  expect(() => readdirSync(host.environment['L4D_BPF_DIR'] ?? '')).toThrow('ENOENT');
}, 30_000);
