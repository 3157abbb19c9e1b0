/**
 * A balancer, three backends that say their name, and a client, on one segment:
 *
 *     client 10.89.0.1, .2 ─┐
 *     lb     10.89.0.11    ─┼─ a bridge
 *     b1 .. b3  .21 to .23 ─┘
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { readRuntimeState } from '@l4d/l4d/io/runtime-store.ts';
import { passProgram } from '../../../tools/lab/io/build-lab.ts';
import { endProcesses } from '../../../tools/lab/io/namespace-processes.ts';
import { inNamespace, runCommand } from '../../../tools/lab/io/run-command.ts';
import { ipIn, run, runIn } from './network-namespace.ts';

export const vipAddress = '203.0.113.89';

const root = join(import.meta.dirname, '../../..');
const hosts = { client: 1, lb: 11, b1: 21, b2: 22, b3: 23 } as const;
type Host = keyof typeof hosts;

/** Answers each line, and each datagram, with its name; datagrams from the VIP's address. */
const server = `
const name = process.argv[1];
for (const port of [80, 81, 82, 83, 84]) require('node:net').createServer((socket) => {
  socket.on('error', () => {});
  socket.on('data', () => socket.write(name + '\\n'));
}).listen(port);
const udp = require('node:dgram').createSocket('udp4');
udp.on('message', (message, from) => udp.send(name, from.port, from.address));
udp.bind(443, '${vipAddress}');
`;

/** Holds connections: "open PORT COUNT" and "ask PORT" answer with the names heard, "close PORT" with none. */
const client = `
const net = require('node:net');
const held = new Map();
const ask = (socket) => new Promise((resolve) => {
  const over = (answer) => { socket.removeAllListeners('data'); resolve(answer); };
  socket.once('data', (data) => over(String(data).trim()));
  socket.once('close', () => over('closed'));
  setTimeout(() => over('silent'), 3000).unref();
  socket.write('?\\n');
});
require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const [verb, port, count] = line.split(' ');
  const sockets = held.get(port) ?? [];
  if (verb === 'open') {
    for (let n = 0; n < Number(count); n++) {
      const socket = net.connect(Number(port), '${vipAddress}');
      socket.on('error', () => {});
      await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
      await ask(socket);
      sockets.push(socket);
    }
    held.set(port, sockets);
  }
  if (verb === 'close') {
    for (const socket of sockets) socket.end();
    held.delete(port);
    console.log('[]');
  } else console.log(JSON.stringify(await Promise.all(sockets.map(ask))));
});
`;

/** Sends datagrams of [source, port, payload in hex], one after the other; prints the names that answer. */
const sendDatagrams = `
const ask = ([source, port, hex]) => new Promise((resolve) => {
  const socket = require('node:dgram').createSocket('udp4');
  const over = (answer) => { socket.close(); resolve(answer); };
  socket.once('message', (message) => over(String(message)));
  socket.bind(port, source, () => socket.send(Buffer.from(hex, 'hex'), 443, '${vipAddress}'));
  setTimeout(() => resolve('silent'), 2000).unref();
});
(async () => {
  const heard = [];
  for (const one of JSON.parse(process.argv[1])) heard.push(await ask(one));
  process.stdout.write(JSON.stringify(heard), () => process.exit());
})();
`;

export type SchedulerLab = Awaited<ReturnType<typeof createSchedulerLab>>;

/** Builds it; what is left of a failed attempt is removed. */
export async function createSchedulerLab(prefix: string) {
  const name = (host: string) => `${prefix}${process.pid}-${host}`;
  const path = (host: Host) => `/run/netns/${name(host)}`;
  const folder = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
  const environment = {
    L4D_RUN_DIR: join(folder, 'run'),
    L4D_STATE_DIR: join(folder, 'state'),
    L4D_BPF_DIR: `/sys/fs/bpf/${prefix}${process.pid}`,
    PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
  };
  const socket = join(environment.L4D_RUN_DIR, 'l4d.sock');
  const configPath = join(folder, 'l4d.yaml');
  const started: ChildProcess[] = [];
  const all = ['sw', ...Object.keys(hosts)];
  let log = '';
  let daemon: ChildProcess | undefined;

  const remove = async () => {
    await endProcesses((Object.keys(hosts) as Host[]).map(path), 500).catch(() => undefined);
    for (const child of started) child.kill('SIGKILL');
    for (const host of all) await runCommand(['ip', 'netns', 'delete', name(host)]);
    for (const one of [environment.L4D_BPF_DIR, folder]) rmSync(one, { recursive: true, force: true });
  };
  const start = (host: Host, ...argv: readonly string[]): ChildProcess => {
    const [command = '', ...args] = inNamespace(path(host), argv);
    const child = spawn(command, args, { stdio: 'pipe', env: { ...process.env, ...environment } });
    started.push(child);
    return child;
  };
  const status = async () =>
    (await requestJson(socket, 'GET', '/v1/status', undefined, 2000)).body as FabricStatus;

  try {
    for (const host of all) {
      run('ip', 'netns', 'add', name(host));
      ipIn(name(host), 'link set lo up');
    }
    ipIn(name('sw'), 'link add br0 type bridge');
    ipIn(name('sw'), 'link set br0 up');
    for (const [host, last] of Object.entries(hosts)) {
      ipIn(name('sw'), `link add ${host} type veth peer name eth0 netns ${name(host)}`);
      ipIn(name('sw'), `link set ${host} up master br0`);
      for (const [where, device] of [
        ['sw', host],
        [host, 'eth0'],
      ] as const) {
        runIn(name(where), 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off');
      }
      // What XDP sends is taken by a port with a program of its own alone.
      ipIn(name('sw'), `link set dev ${host} xdpdrv obj ${passProgram} sec xdp.frags`);
      ipIn(name(host), `address add 10.89.0.${last}/24 dev eth0`);
      ipIn(name(host), 'link set eth0 up');
      if (!host.startsWith('b')) continue;
      runIn(
        name(host),
        'sysctl',
        '-qw',
        'net.ipv4.conf.all.arp_ignore=1',
        'net.ipv4.conf.all.arp_announce=2',
      );
      ipIn(name(host), `address add ${vipAddress}/32 dev lo`);
      start(host as Host, process.execPath, '-e', server, host);
    }
    ipIn(name('client'), 'address add 10.89.0.2/24 dev eth0');
    ipIn(name('client'), `route add ${vipAddress} via 10.89.0.11`);
    for (const part of ['run', 'state']) mkdirSync(join(folder, part));
  } catch (error) {
    await remove();
    throw error;
  }

  const holder = start('client', process.execPath, '-e', client);
  const answers = createInterface({ input: holder.stdout as NonNullable<typeof holder.stdout> });
  const say = (line: string): Promise<string[]> =>
    new Promise((resolve) => {
      answers.once('line', (answer) => resolve(JSON.parse(answer) as string[]));
      holder.stdin?.write(`${line}\n`);
    });

  return {
    remove,
    status,
    log: () => log,
    configPath,
    /** What the daemon keeps over restarts beside the desired state. */
    runtime: () => readRuntimeState(join(environment.L4D_STATE_DIR, 'runtime.json')),
    /** The daemon that was started last. */
    daemon: () => daemon,
    /** Opens connections to a port; gives the names that answer on all that are open to it. */
    open: (port: number, count: number) => say(`open ${port} ${count}`),
    /** Asks on each open connection. */
    ask: (port: number) => say(`ask ${port}`),
    close: (port: number) => say(`close ${port}`),
    writeConfig: (text: string) => writeFileSync(configPath, text),
    /** Starts the daemon; resolves when it runs. */
    async startDaemon(): Promise<void> {
      daemon = start('lb', 'l4d', 'run', '-c', configPath);
      await new Promise<void>((resolve, reject) => {
        let text = '';
        daemon?.stderr?.on('data', (chunk: Buffer) => {
          text += chunk.toString();
          log += chunk.toString();
          if (text.includes('"msg":"running"')) resolve();
        });
        daemon?.on('close', () => reject(new Error(`the daemon has ended:\n${log}`)));
      });
    },
    /** Runs a command of the product on the balancer. */
    async onHost(...argv: readonly string[]): Promise<string> {
      const result = await runCommand(inNamespace(path('lb'), argv), { env: environment, timeout: 20_000 });
      if (result.code !== 0) throw new Error(`${argv.join(' ')}: ${result.stderr}${result.stdout}`);
      return result.stdout;
    },
    /** Sends datagrams to the VIP's port 443; gives the names that answer. */
    async datagrams(
      all: readonly { source: string; port: number; payload: Uint8Array }[],
    ): Promise<string[]> {
      const given = all.map(({ source, port, payload }) => [
        source,
        port,
        Buffer.from(payload).toString('hex'),
      ]);
      const argv = inNamespace(path('client'), [
        process.execPath,
        '-e',
        sendDatagrams,
        JSON.stringify(given),
      ]);
      return JSON.parse((await runCommand(argv)).stdout) as string[];
    },
    /** Sends so many frames from the client, each of another source port. */
    async flood(frame: Uint8Array, count: number): Promise<void> {
      const script = join(import.meta.dirname, 'flood.ts');
      const hex = Buffer.from(frame).toString('hex');
      const argv = inNamespace(path('client'), [process.execPath, script, 'eth0', hex, String(count)]);
      const result = await runCommand(argv, { timeout: 60_000 });
      if (result.code !== 0) throw new Error(result.stderr);
    },
    /** MAC address of the balancer's interface. */
    lbMac: () => /link\/ether (\S+)/.exec(ipIn(name('lb'), 'link show eth0'))?.[1] ?? '',
  };
}
