/** The BGP speakers that are measured: each in the namespace of the announcer, as neighbour 10.77.0.2 of FRR. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, type WriteStream, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { announcerClient } from '@l4d/announcer/io/client.ts';
import { folder, namespaces, startAnnouncer } from '../../lab/io/bgp-lab.ts';
import { run, spawnIn } from '../../lab/io/namespace-commands.ts';

/** A speaker that runs. */
export interface RunningSpeaker {
  announce(prefix: string): Promise<unknown>;
  withdraw(prefix: string): Promise<unknown>;
  /** Makes ready what takes no part in the measurement, then gives what tells all prefixes at once. */
  prepareMany?(prefixes: readonly string[]): Promise<() => Promise<unknown>>;
  /** Watches the path to the router by BFD, 3 intervals of so many milliseconds; ready when this resolves. */
  watchPath?(intervalMs: number, promise: 'fast' | 'continuity'): Promise<unknown>;
  /** Kills it without a word. */
  kill(): void;
  readonly pid: number;
}

/** A speaker that can be measured. */
export interface Speaker {
  readonly subject: string;
  /** Why it cannot be measured here; undefined when it can. */
  readonly missing?: string;
  /** Most prefixes that it takes in a bearable time. */
  readonly maxMany: number;
  /** Has BFD. */
  readonly watches?: true;
  start(): Promise<RunningSpeaker>;
}

const router = '10.77.0.1';

const l4d: Speaker = {
  subject: 'l4d',
  maxMany: 100_000,
  watches: true,
  async start() {
    const { process: child, socketPath } = startAnnouncer();
    const client = announcerClient(socketPath, 60_000);
    const state = (prefixes: DesiredInput['prefixes']): DesiredInput => ({
      owner: 'bench',
      local: { as: 65001, routerId: '10.77.0.2', listen: false },
      peers: [{ address: router, as: 65000, connectRetryMs: 100 }],
      prefixes,
    });
    await retry(() => client.put(state([])));
    return {
      announce: (prefix) => client.patch({ add: [{ prefix }] }),
      withdraw: (prefix) => client.patch({ remove: [prefix] }),
      prepareMany: async (prefixes) => {
        // As BIRD's file is written before it is told to read it.
        const text = JSON.stringify(state(prefixes.map((prefix) => ({ prefix }))));
        return () => putText(socketPath, text);
      },
      watchPath: (intervalMs, promise) => {
        const bfd = { txIntervalMs: intervalMs, rxIntervalMs: intervalMs, multiplier: 3 };
        const peer = { address: router, as: 65000, connectRetryMs: 100, promise, bfd };
        // Short, so that the next measurement need not wait long.
        const restart = promise === 'continuity' ? { restartTimeMs: 4000 } : {};
        return client.put({ ...state([]), peers: [{ ...peer, ...restart }] });
      },
      kill: () => kill(child),
      pid: pidOf(child),
    };
  },
};

const floor: Speaker = {
  subject: 'floor',
  maxMany: 100_000,
  async start() {
    const child = spawnIn(namespaces.announcer, process.execPath, join(import.meta.dirname, 'bgp-floor.ts'));
    const tell = async (line: string) => child.stdin?.write(`${line}\n`);
    return {
      announce: (prefix) => tell(`announce ${prefix}`),
      withdraw: (prefix) => tell(`withdraw ${prefix}`),
      prepareMany: async (prefixes) => {
        const file = join(folder, 'floor.txt');
        writeFileSync(file, prefixes.join('\n'));
        await tell(`prepare ${file}`);
        await sleep(1000);
        return () => tell('go');
      },
      kill: () => kill(child),
      pid: pidOf(child),
    };
  },
};

const bird: Speaker = {
  subject: version('BIRD', 'bird', ['--version'], /version ([\d.]+)/),
  ...needs('bird'),
  maxMany: 100_000,
  watches: true,
  async start() {
    const own = mkdtempSync(join(folder, 'bird-'));
    const routes = join(own, 'routes.conf');
    const wanted = new Set<string>();
    const write = (prefixes: Iterable<string>) =>
      writeFileSync(routes, Array.from(prefixes, (prefix) => `route ${prefix} blackhole;\n`).join(''));
    write([]);
    const configuration = (bfd = '') =>
      writeFileSync(
        join(own, 'bird.conf'),
        `router id 10.77.0.2;
protocol device { scan time 10; }
protocol static vips {
  ipv4;
include "${routes}";
}
${bfd === '' ? '' : `protocol bfd { interface "*" { ${bfd} }; }`}
protocol bgp r {
  ${bfd === '' ? '' : 'bfd on;'}
  local 10.77.0.2 as 65001; neighbor ${router} as 65000;
  hold time 9; error wait time 1,2; connect delay time 1; connect retry time 1;
  ipv4 { import none; export all; next hop self; };
}
`,
      );
    configuration();
    const control = join(own, 'ctl');
    const child = spawnIn(namespaces.announcer, 'bird', '-f', '-c', join(own, 'bird.conf'), '-s', control);
    const socket = await retry(() => open(control));
    const configure = async () => socket.write('configure\n');
    const edit = (change: () => void) => {
      change();
      write(wanted);
      return configure();
    };
    return {
      announce: (prefix) => edit(() => wanted.add(prefix)),
      withdraw: (prefix) => edit(() => wanted.delete(prefix)),
      prepareMany: async (prefixes) => {
        write(prefixes);
        return configure;
      },
      async watchPath(intervalMs) {
        configuration(`interval ${intervalMs} ms; multiplier 3;`);
        await configure();
      },
      kill: () => kill(child),
      pid: pidOf(child),
    };
  },
};

const gobgp: Speaker = {
  subject: `${version('GoBGP', 'gobgpd', ['--version'], /version ([\d.]+)/)} (its CLI)`,
  ...needs('gobgpd'),
  // Its CLI tells one prefix a process; there is no client of its gRPC interface here.
  maxMany: 0,
  async start() {
    const own = mkdtempSync(join(folder, 'gobgp-'));
    writeFileSync(
      join(own, 'gobgp.yaml'),
      `global: { config: { as: 65001, router-id: 10.77.0.2, port: -1 } }
neighbors:
  - config: { neighbor-address: ${router}, peer-as: 65000 }
    timers: { config: { connect-retry: 1, hold-time: 9, idle-hold-time-after-reset: 1 } }
`,
    );
    const file = join(own, 'gobgp.yaml');
    const child = spawnIn(namespaces.announcer, 'gobgpd', '-t', 'yaml', '-f', file);
    const cli = (...words: string[]) =>
      once(spawnIn(namespaces.announcer, 'gobgp', ...words), 'exit') as Promise<unknown>;
    return {
      announce: (prefix) => cli('global', 'rib', 'add', prefix, 'nexthop', '10.77.0.2'),
      withdraw: (prefix) => cli('global', 'rib', 'del', prefix),
      kill: () => kill(child),
      pid: pidOf(child),
    };
  },
};

const exabgp: Speaker = {
  subject: version('ExaBGP', 'exabgp', ['--version'], /ExaBGP : ([\d.]+)/),
  ...needs('exabgp'),
  maxMany: 10_000,
  async start() {
    const own = mkdtempSync(join(folder, 'exabgp-'));
    const fifo = join(own, 'commands');
    run('mkfifo', fifo);
    run('chmod', '666', fifo);
    run('chmod', '755', own);
    writeFileSync(
      join(own, 'exabgp.conf'),
      `process commands { run /bin/cat ${fifo}; encoder text; }
neighbor ${router} {
  router-id 10.77.0.2; local-address 10.77.0.2; local-as 65001; peer-as 65000; hold-time 9;
  family { ipv4 unicast; }
  api { processes [ commands ]; }
}
`,
    );
    const child = spawnIn(
      namespaces.announcer,
      'env',
      'exabgp.daemon.user=root',
      'exabgp.api.ack=false',
      'exabgp.api.cli=false',
      'exabgp.daemon.daemonize=false',
      'exabgp',
      join(own, 'exabgp.conf'),
    );
    child.stdout?.resume();
    child.stderr?.resume();
    const stream: WriteStream = createWriteStream(fifo);
    const tell = async (text: string) => stream.write(text);
    const line = (prefix: string) => `announce route ${prefix} next-hop self\n`;
    return {
      announce: (prefix) => tell(line(prefix)),
      withdraw: (prefix) => tell(`withdraw route ${prefix} next-hop self\n`),
      prepareMany: async (prefixes) => {
        const text = prefixes.map(line).join('');
        return () => tell(text);
      },
      kill() {
        stream.destroy();
        kill(child);
      },
      pid: pidOf(child),
    };
  },
};

/** All speakers; those that are not installed say so. */
export const speakers: readonly Speaker[] = [l4d, floor, bird, gobgp, exabgp];

/** Resident memory of a process in MiB. */
export function residentMebibytes(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}

function needs(program: string): { missing?: string } {
  try {
    execFileSync('which', [program], { stdio: 'ignore' });
    return {};
  } catch {
    return { missing: `${program} is not installed` };
  }
}

function version(name: string, program: string, args: string[], pattern: RegExp): string {
  try {
    const text = execFileSync('sh', ['-c', `${[program, ...args].join(' ')} 2>&1`], { encoding: 'utf8' });
    return `${name} ${pattern.exec(text)?.[1] ?? ''}`.trim();
  } catch {
    return name;
  }
}

async function retry<T>(attempt: () => Promise<T>): Promise<T> {
  for (let i = 0; ; i++) {
    try {
      return await attempt();
    } catch (error) {
      if (i >= 100) throw error;
      await sleep(100);
    }
  }
}

/** PUTs a desired state whose text is ready. */
async function putText(socketPath: string, text: string): Promise<void> {
  const sent = request({ socketPath, method: 'PUT', path: '/v1/desired' });
  sent.end(text);
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  answer.resume();
  if (answer.statusCode !== 200) throw new Error(`the announcer answered ${answer.statusCode}`);
}

async function open(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  socket.resume();
  return socket;
}

/** nsenter replaces itself: the child is the speaker. */
function pidOf(child: ChildProcess): number {
  return child.pid ?? 0;
}

function kill(child: ChildProcess): void {
  child.stdout?.resume();
  child.kill('SIGKILL');
}
