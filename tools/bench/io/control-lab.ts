/**
 * A namespace with one interface and a daemon in it, to measure what control costs; no packet is sent but those of one
 * VIP's checks, to a server in a namespace of its own.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';

/** Servers that all backends are on: a backend is one VIP's use of a server. */
const serverCount = 1000;
const backendsPerVip = 10;

/** The lab, running or not yet. */
export interface ControlLab {
  /** Writes the file of so many VIPs with ten backends each. */
  writeConfig(vips: number): void;
  /** Starts the daemon; resolves with milliseconds until every VIP is announced. */
  start(): Promise<number>;
  /** Ends the daemon alone, as SIGTERM does; its companions and the kernel's state stay. */
  stop(): Promise<void>;
  /** One request; rejects when it is not answered with 2xx. */
  ask(method: string, path: string, body?: unknown): Promise<unknown>;
  /**
   * Has the server of `checkedVip` answer its checks or not. Resolves with milliseconds from the verdict of its check to
   * that of the VIP, which is programmed then, and the announcer is told next.
   */
  setHealth(isUp: boolean): Promise<number>;
  /** Milliseconds of processor time that the running daemon has taken. */
  processorTime(): number;
  /** Megabytes of the daemon's processes, by name. */
  resident(): Readonly<Record<string, number>>;
  /** Megabytes of the pinned maps, as the kernel counts them. */
  mapBytes(): number;
  remove(): Promise<void>;
}

/** A VIP of the bench by number, as the API takes it. */
export function benchVip(number: number) {
  const address = `100.${64 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
  return {
    name: `vip-${number}`,
    address,
    port: 80,
    check: { type: 'none' },
    backends: Array.from({ length: backendsPerVip }, (_, index) => ({
      address: serverAddress((number * backendsPerVip + index) % serverCount),
    })),
  };
}

/** A VIP with one backend that is checked, as the API takes it. */
export const checkedVip = {
  name: 'checked',
  address: '100.127.0.1',
  port: 80,
  check: { type: 'tcp', interval: '100ms', timeout: '100ms', rise: 1, fall: 1 },
  backends: [{ address: '10.64.15.1' }],
} as const;

/** Address of a server by number. */
export function serverAddress(server: number): string {
  return `10.64.${16 + (server >> 8)}.${server & 255}`;
}

/** Makes the namespace with its servers as permanent neighbours. Throws what a command says. */
export async function createControlLab(): Promise<ControlLab> {
  const name = `l4dctl${process.pid}`;
  // Where a daemon keeps its state, not a memory file system: writes are measured with their fsync.
  const folder = await mkdtemp('/var/tmp/l4d-control-');
  const folders = ['--run-dir', `${folder}/run`, '--state-dir', `${folder}/state`];
  const bpfDir = `/sys/fs/bpf/${name}`;
  const inside = `--net=/run/netns/${name}`;
  const config = join(folder, 'l4d.yaml');
  const log = join(folder, 'l4d.log');
  const servers = `${name}s`;
  const main = new URL('../../../l4d/bin/start.mjs', import.meta.url).pathname;
  let daemon: ChildProcess | undefined;
  const run = (command: string, ...args: readonly string[]) =>
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  for (const one of [name, servers]) run('ip', 'netns', 'add', one);
  const neighbours = Array.from({ length: serverCount }, (_, server) => {
    const mac = `02:64:00:00:${hex(server >> 8)}:${hex(server & 255)}`;
    return `neigh replace ${serverAddress(server)} lladdr ${mac} dev up0 nud permanent`;
  });
  const batch = join(folder, 'batch');
  writeFileSync(
    batch,
    [
      `link add up0 type veth peer name up1 netns ${servers}`,
      'link set up0 up',
      'link set lo up',
      'address add 10.64.0.1/16 dev up0',
      ...neighbours,
    ].join('\n'),
  );
  run('nsenter', inside, 'ip', '-batch', batch);
  for (const command of [
    'link set up1 up',
    'link set lo up',
    `address add ${checkedVip.backends[0].address}/16 dev up1`,
    `address add ${checkedVip.address}/32 dev lo`,
    'route add default dev up1',
  ])
    run('nsenter', `--net=/run/netns/${servers}`, 'ip', ...command.split(' '));
  const server = spawn(
    'nsenter',
    [`--net=/run/netns/${servers}`, process.execPath, '-e', toggledServer(checkedVip.port)],
    { stdio: ['pipe', 'ignore', 'inherit'] },
  );

  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await requestJson(`${folder}/run/l4d.sock`, method, path, body, 120_000);
    if (answer.status < 200 || answer.status >= 300) {
      throw new OperatorError(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
    return answer.body;
  };

  // Programmed, read back, judged and told to the announcer; and the API answers.
  const isInEffect = () => {
    const text = readFileSync(log, 'utf8');
    return text.includes('every VIP has its verdict') && text.includes('"running"');
  };

  const lab: ControlLab = {
    ask,
    writeConfig(vips) {
      const document = {
        version: 1,
        host: {
          interface: 'up0',
          xdpMode: 'native',
          bgp: { as: 65011, routerId: '10.64.0.1' },
          // Room for the VIPs that are added to the largest size.
          capacity: { vips: 10_100, backends: 101_000 },
        },
        peers: [{ address: '10.64.0.2', as: 65000 }],
        vips: Array.from({ length: vips }, (_, number) => benchVip(number)),
      };
      writeFileSync(config, JSON.stringify(document));
    },
    async start() {
      const out = openSync(log, 'w');
      const begin = performance.now();
      const flags = (process.env['L4D_BENCH_NODE'] ?? '').split(' ').filter(Boolean);
      const args = [
        inside,
        process.execPath,
        ...flags,
        main,
        ...folders,
        '--bpf-dir',
        bpfDir,
        'run',
        '-c',
        config,
      ];
      daemon = spawn('nsenter', args, { stdio: ['ignore', out, out], cwd: folder });
      for (;;) {
        await sleep(20);
        if (isInEffect()) return performance.now() - begin;
        if (daemon.exitCode !== null || performance.now() - begin > 300_000) {
          throw new OperatorError(`the daemon did not start:\n${readFileSync(log, 'utf8').slice(-2000)}`);
        }
      }
    },
    async stop() {
      if (daemon === undefined || daemon.exitCode !== null) return;
      const ended = new Promise((resolve) => daemon?.once('exit', resolve));
      daemon.kill('SIGTERM');
      await ended;
    },
    async setHealth(isUp) {
      const from = readFileSync(log, 'utf8').length;
      server.stdin?.write(isUp ? 'up' : 'down');
      for (const begin = performance.now(); ; ) {
        await sleep(10);
        const lines = readFileSync(log, 'utf8')
          .slice(from)
          .split('\n')
          .filter((line) => line.startsWith('{') && line.endsWith('}'))
          .map((line) => JSON.parse(line) as Readonly<Record<string, string>>);
        const check = lines.find(
          ({ msg, verdict }) => msg === 'health' && verdict === (isUp ? 'up' : 'down'),
        );
        const vip = lines.findLast((line) => line['msg'] === 'verdict' && line['vip'] === checkedVip.name);
        if (check !== undefined && vip !== undefined && (vip['verdict'] === 'announced') === isUp)
          return Date.parse(vip['time'] ?? '') - Date.parse(check['time'] ?? '');
        if (performance.now() - begin > 60_000) throw new OperatorError('the verdict does not change');
      }
    },
    processorTime() {
      // utime and stime in clock ticks of 10 ms (proc(5)); nsenter has become the daemon.
      const stat = readUnlessGone(`/proc/${daemon?.pid}/stat`);
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 10;
    },
    resident() {
      const sizes: Record<string, number> = {};
      for (const pid of readdirSync('/proc')) {
        if (!/^\d+$/.test(pid)) continue;
        const command = readUnlessGone(`/proc/${pid}/cmdline`);
        if (!command.includes(folder)) continue;
        const process = /l4d\/bin\/start/.test(command)
          ? 'l4d'
          : /announcer/.test(command)
            ? 'announcer'
            : undefined;
        if (process === undefined) continue;
        const kilobytes = Number(/VmRSS:\s+(\d+)/.exec(readUnlessGone(`/proc/${pid}/status`))?.[1] ?? 0);
        sizes[process] = (sizes[process] ?? 0) + kilobytes / 1024;
      }
      return sizes;
    },
    mapBytes() {
      // A generation in force has two paths.
      const bytes = new Map<number, number>();
      for (const pin of readdirSync(bpfDir, { recursive: true }) as string[]) {
        try {
          const shown = JSON.parse(run('bpftool', '-j', 'map', 'show', 'pinned', join(bpfDir, pin)));
          bytes.set(Number(shown.id), Number(shown.bytes_memlock ?? 0));
        } catch {
          // A link, not a map.
        }
      }
      return [...bytes.values()].reduce((sum, one) => sum + one, 0) / 2 ** 20;
    },
    async remove() {
      await lab.stop();
      await requestJson(`${folder}/run/announcer.sock`, 'POST', '/v1/shutdown').catch(() => undefined);
      rmSync(bpfDir, { recursive: true, force: true });
      server.kill('SIGKILL');
      for (const one of [name, servers]) run('ip', 'netns', 'delete', one);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return lab;
}

/** A server that listens when it is told `up`, and refuses when it is told `down`. */
function toggledServer(port: number): string {
  return `
    const net = require('node:net');
    let server;
    process.stdin.on('data', (text) => {
      if (String(text) === 'down') server?.close();
      else server = net.createServer((socket) => socket.on('error', () => {}).end()).listen(${port});
    });`;
}

function readUnlessGone(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
