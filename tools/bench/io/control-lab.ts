/** A namespace with one interface and a daemon in it, to measure what control costs; no packet is sent. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';

/** Servers that all backends are on: a backend is one VIP's use of a server. */
const servers = 1000;
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
      address: serverAddress((number * backendsPerVip + index) % servers),
    })),
  };
}

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
  const main = new URL('../../../l4d/src/main.ts', import.meta.url).pathname;
  let daemon: ChildProcess | undefined;
  const run = (command: string, ...args: readonly string[]) =>
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  run('ip', 'netns', 'add', name);
  const neighbours = Array.from({ length: servers }, (_, server) => {
    const mac = `02:64:00:00:${hex(server >> 8)}:${hex(server & 255)}`;
    return `neigh replace ${serverAddress(server)} lladdr ${mac} dev up0 nud permanent`;
  });
  const batch = join(folder, 'batch');
  writeFileSync(
    batch,
    [
      'link add up0 type veth peer name up1',
      'link set up0 up',
      'link set up1 up',
      'link set lo up',
      'address add 10.64.0.1/16 dev up0',
      ...neighbours,
    ].join('\n'),
  );
  run('nsenter', inside, 'ip', '-batch', batch);

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
        host: { interface: 'up0', xdpMode: 'native', bgp: { as: 65011, routerId: '10.64.0.1' } },
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
        const process = /l4d\/src\/main/.test(command)
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
      let bytes = 0;
      for (const pin of readdirSync(bpfDir, { recursive: true }) as string[]) {
        try {
          const shown = JSON.parse(run('bpftool', '-j', 'map', 'show', 'pinned', join(bpfDir, pin)));
          bytes += Number(shown.bytes_memlock ?? 0);
        } catch {
          // A link, not a map.
        }
      }
      return bytes / 2 ** 20;
    },
    async remove() {
      await lab.stop();
      await requestJson(`${folder}/run/announcer.sock`, 'POST', '/v1/shutdown').catch(() => undefined);
      rmSync(bpfDir, { recursive: true, force: true });
      run('ip', 'netns', 'delete', name);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return lab;
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
