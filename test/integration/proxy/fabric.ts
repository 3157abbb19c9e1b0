import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  attachSkLookup,
  closeObject,
  loadObject,
  mapFd,
  openObject,
  pin,
  programFd,
} from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import type { ProxyWorker } from '@l4d/kit/proxy-api.ts';
import { createProxyClient, type ProxyClient } from '@l4d/kit/proxy-client.ts';
import { createListenerTable, type ProxyListener } from '@l4d/l4d/io/forwarding/listener-table.ts';
import { lookupMaps } from '@l4d/l4d/io/forwarding/proxy-lookup.ts';

import { writeAcceptingHaproxy } from '../support/haproxy.ts';

const root = new URL('../../..', import.meta.url).pathname;

/** VIPs of the tests: no interface has them. */
export const vip4 = '203.0.113.10';
export const vip6 = '2001:db8:71::10';
export const client4 = '10.71.0.2';
export const denied4 = '10.71.0.66';
export const client6 = 'fd71::2';
export const backend4 = '10.72.0.2';
export const backend6 = 'fd72::2';

/** A process of the tests with what it has written. */
export interface Running {
  readonly process: ChildProcess;
  output(): string;
}

/**
 *   client (10.71.0.2, .66) ── (10.71.0.1) balancer (10.72.0.1) ── (10.72.0.2) backends
 *
 * Three namespaces; the balancer's has the lookup program attached and the proxy in it.
 */
export interface Fabric {
  readonly proxy: ProxyClient;
  readonly runDir: string;
  readonly bpfDir: string;
  /** Runs a program in the client's namespace; resolves with its output whatever it exits with. */
  client(
    command: readonly string[],
    input?: Buffer,
  ): Promise<{ code: number; stdout: Buffer; stderr: string }>;
  curl(...args: string[]): Promise<{ code: number; body: string }>;
  startBackend(port: number, name: string, address?: string): Promise<Running>;
  startUdpBackend(port: number, name: string, address: string): Promise<Running>;
  /** dnsmasq, which knows www.example. */
  startDnsmasq(port: number): Promise<Running>;
  /** nginx that wants a PROXY header and answers with the client, its port, the VIP, and the number of the connection. */
  startAcceptingNginx(port: number): Promise<Running>;
  /** HAProxy that wants a PROXY header and answers with client and VIP. */
  startAcceptingHaproxy(port: number): Promise<Running>;
  /** nginx, which answers everything with 200 and writes a line for every request that it has read. */
  startNginx(port: number): Promise<Running>;
  startProxy(): Promise<Running>;
  /** The workers that serve, by the status. */
  workers(): Promise<ProxyWorker[]>;
  /** Processes of workers, also without a supervisor. */
  workerPids(): number[];
  /** Counts of the lookup program, by reason, over all CPUs. */
  lookupStats(): number[];
  /** A program in the client's namespace that goes on; resolves when it has written `mark`. */
  startOnClient(command: readonly string[], mark: string): Promise<Running>;
  /** The same in the namespace of the backends. */
  startOnBackend(command: readonly string[], mark: string): Promise<Running>;
  /** In the balancer's namespace, as another service of the host. */
  startOnBalancer(port: number): Promise<Running>;
  /** A fresh program and maps, without listeners. */
  loadLookup(): void;
  /** One more listener of the proxy, written as the daemon does. */
  listen(address: string, port: number, protocol?: 'tcp' | 'udp'): void;
  stop(): Promise<void>;
}

/** Builds namespaces, program, routes. The caller stops it, also after failure. */
export function buildFabric(): Fabric {
  const id = `l7p${process.pid}`;
  const names = { client: `${id}-c`, balancer: `${id}-b`, backend: `${id}-s` };
  const runDir = mkdtempSync(join(tmpdir(), `${id}-`));
  const bpfDir = `/sys/fs/bpf/${id}`;
  const children: ChildProcess[] = [];
  let link: number | undefined;
  let object: ReturnType<typeof openObject> | undefined;
  let listenersMap = -1;
  let listeners: ProxyListener[] = [];

  const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' });
  const inside = (name: string) => ['nsenter', `--net=/run/netns/${name}`];

  function connect(a: string, aAddresses: string[], b: string, bAddresses: string[]): void {
    const veth = `${a}0`.slice(-15);
    const peer = `${a}1`.slice(-15);
    ip('link', 'add', veth, 'netns', a, 'type', 'veth', 'peer', 'name', peer, 'netns', b);
    for (const [namespace, device, addresses] of [
      [a, veth, aAddresses],
      [b, peer, bAddresses],
    ] as const) {
      for (const address of addresses)
        ip(
          '-n',
          namespace,
          'addr',
          'add',
          address,
          'dev',
          device,
          ...(address.includes(':') ? ['nodad'] : []),
        );
      ip('-n', namespace, 'link', 'set', device, 'up');
      ip('-n', namespace, 'link', 'set', 'lo', 'up');
    }
  }

  function start(namespace: string, command: readonly string[]): Running {
    const [program = '', ...args] = [...inside(namespace), ...command];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: root });
    children.push(child);
    let written = '';
    child.stdout.on('data', (chunk) => {
      written += chunk;
    });
    child.stderr.on('data', (chunk) => {
      written += chunk;
    });
    return { process: child, output: () => written };
  }

  async function startAndWait(namespace: string, command: readonly string[], mark: string): Promise<Running> {
    const running = start(namespace, command);
    // Processes take their time to start on a busy machine.
    const has = () => running.output().includes(mark);
    await until(has, `${command.join(' ')}: "${mark}"`, running.output, 40_000);
    return running;
  }

  function loadLookup(): void {
    if (link !== undefined) closeFd(link);
    if (object !== undefined) closeObject(object);
    rmSync(bpfDir, { recursive: true, force: true });
    mkdirSync(bpfDir, { recursive: true });
    object = openObject(join(root, 'bpf/build/l7_lookup.bpf.o'));
    loadObject(object, 'l7_lookup');
    for (const map of lookupMaps) pin(mapFd(object, map), join(bpfDir, map));
    listenersMap = mapFd(object, 'l7_listeners');
    listeners = [];
    const namespace = openSync(`/run/netns/${names.balancer}`, 'r');
    try {
      link = attachSkLookup(programFd(object, 'l7_lookup'), namespace);
    } finally {
      closeSync(namespace);
    }
  }

  /** nginx, whose output is a line for every request that it has read. */
  async function startNginxServer(port: number, server: string): Promise<Running> {
    const own = join(runDir, `nginx-${port}`);
    mkdirSync(own);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((kind) => `${kind}_temp_path ${own}/${kind};`)
      .join(' ');
    writeFileSync(
      join(own, 'nginx.conf'),
      `daemon off; master_process off; error_log stderr notice; pid ${own}/pid; events {}
http { log_format line 'read "$request" $status'; access_log ${own}/read line; ${temporary}
  server { ${server} } }`,
    );
    const command = ['nginx', '-c', join(own, 'nginx.conf')];
    const running = await startAndWait(names.backend, command, 'using the "epoll"');
    return { ...running, output: () => readFileSync(join(own, 'read'), 'utf8') };
  }

  async function client(command: readonly string[], input?: Buffer) {
    const [program = '', ...args] = [...inside(names.client), ...command];
    return new Promise<{ code: number; stdout: Buffer; stderr: string }>((resolve) => {
      const child = execFile(
        program,
        args,
        { encoding: 'buffer', maxBuffer: 1 << 28, timeout: 60_000 },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
          resolve({ code, stdout, stderr: stderr.toString() });
        },
      );
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(input);
    });
  }

  const fabric: Fabric = {
    proxy: createProxyClient(runDir),
    runDir,
    bpfDir,
    client,
    async curl(...args) {
      const { code, stdout } = await client(['curl', '-sS', '--max-time', '20', ...args]);
      return { code, body: stdout.toString() };
    },
    startBackend: (port, name, address = backend4) =>
      startAndWait(
        names.backend,
        [process.execPath, 'test/integration/proxy/backend.ts', address, String(port), name],
        'listening',
      ),
    startUdpBackend: (port, name, address) =>
      startAndWait(
        names.backend,
        [process.execPath, 'test/integration/proxy/udp-backend.ts', address, String(port), name],
        'listening',
      ),
    startDnsmasq: (port) =>
      startAndWait(
        names.backend,
        [
          ...['dnsmasq', '--keep-in-foreground', '--log-facility=-', '--conf-file=/dev/null', '--user=root'],
          ...['--no-resolv', '--no-hosts', '--bind-interfaces', `--pid-file=${runDir}/dnsmasq.pid`],
          ...[`--listen-address=${backend4}`, `--port=${port}`, '--address=/www.example/192.0.2.80'],
        ],
        'started',
      ),
    startAcceptingNginx: (port) =>
      startNginxServer(
        port,
        `listen ${backend4}:${port} proxy_protocol; location / { return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $connection"; }`,
      ),
    startAcceptingHaproxy: (port) =>
      startAndWait(
        names.backend,
        ['haproxy', '-db', '-V', '-f', writeAcceptingHaproxy(runDir, backend4, port)],
        'epoll',
      ),
    startNginx: (port) =>
      startNginxServer(port, `listen ${backend4}:${port}; location / { return 200 "ok"; }`),
    startOnClient: (command, mark) => startAndWait(names.client, command, mark),
    startOnBackend: (command, mark) => startAndWait(names.backend, command, mark),
    startOnBalancer: (port) =>
      startAndWait(
        names.balancer,
        [process.execPath, 'test/integration/proxy/backend.ts', '::', String(port), 'stranger'],
        'listening',
      ),
    startProxy: () =>
      startAndWait(
        names.balancer,
        ['l7/bin/l4-proxy', '--run-dir', runDir, '--bpf-dir', bpfDir],
        'proxy started',
      ),
    workers: async () => (await fabric.proxy.status()).workers.filter(({ state }) => state === 'serving'),
    workerPids: () =>
      processesOf(names.balancer).filter((pid) =>
        readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('worker-process'),
      ),
    lookupStats() {
      const dump = execFileSync('bpftool', ['-j', 'map', 'dump', 'pinned', join(bpfDir, 'l7_lookup_stats')]);
      const rows = JSON.parse(dump.toString()) as { formatted: { values: { value: number }[] } }[];
      return rows.map((row) => row.formatted.values.reduce((sum, cpu) => sum + cpu.value, 0));
    },
    loadLookup,
    listen(address, port, protocol = 'tcp') {
      listeners.push({ address: ipAddress(address), port, protocol });
      createListenerTable(listenersMap).replace(listeners);
    },
    async stop() {
      for (const child of children) child.kill('SIGKILL');
      // Workers are children of the proxy, and outlive it.
      for (const pid of processesOf(names.balancer)) process.kill(pid, 'SIGKILL');
      if (link !== undefined) closeFd(link);
      if (object !== undefined) closeObject(object);
      for (const name of Object.values(names)) {
        try {
          ip('netns', 'del', name);
        } catch {
          // Never made, or gone: nothing is left to remove.
        }
      }
      rmSync(bpfDir, { recursive: true, force: true });
      rmSync(runDir, { recursive: true, force: true });
    },
  };

  try {
    execFileSync('sh', [join(root, 'bpf/build.sh')], { stdio: 'pipe' });
    for (const name of Object.values(names)) ip('netns', 'add', name);
    connect(names.client, [`${client4}/24`, `${denied4}/24`, `${client6}/64`], names.balancer, [
      '10.71.0.1/24',
      'fd71::1/64',
    ]);
    connect(names.backend, [`${backend4}/24`, `${backend6}/64`], names.balancer, [
      '10.72.0.1/24',
      'fd72::1/64',
    ]);
    ip('-n', names.client, 'route', 'add', 'default', 'via', '10.71.0.1');
    ip('-n', names.client, '-6', 'route', 'add', 'default', 'via', 'fd71::1');
    ip('-n', names.balancer, 'route', 'add', 'local', `${vip4}/32`, 'dev', 'lo');
    ip('-n', names.balancer, '-6', 'route', 'add', 'local', `${vip6}/128`, 'dev', 'lo');
  } catch (error) {
    void fabric.stop();
    throw error;
  }
  return fabric;
}

function processesOf(namespace: string): number[] {
  try {
    const pids = execFileSync('ip', ['netns', 'pids', namespace], { stdio: 'pipe' }).toString();
    return pids.split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Waits until something holds; rejects with what was waited for after `timeoutMs`. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  context: () => string = () => '',
  timeoutMs = 30_000,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}\n${context()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
