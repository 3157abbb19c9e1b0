import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { encodeMessage, splitMessages } from '@l4d/announcer/core/codec/message.ts';
import { makeOpen } from '@l4d/announcer/core/negotiation.ts';
import { announcerClient } from '@l4d/announcer/io/client.ts';
import { OperatorError } from '@l4d/kit/errors.ts';
import { repositoryRoot, waitUntil } from '../lab/io/build-lab.ts';
import type { SoakOptions } from './soak.ts';

/** What was measured during a flood. */
export interface FloodResult {
  readonly routesPerSecond: number;
  /** Resident memory of the announcer, MiB: before, and the most during the flood. */
  readonly residentBefore: number;
  readonly residentMost: number;
  /** Milliseconds from the request to the octets at another peer, by PATCH. */
  readonly latencyMedian: number;
  readonly latencyMost: number;
  /** What the announcer tells of the flooding peer, and of the good one. */
  readonly counted: { readonly prefixes: number; readonly truncated: boolean };
  readonly goodFlaps: number;
  readonly goodKeepalives: number;
  /** Connections of strangers that were tried, and that the announcer says it has refused. */
  readonly strangers: number;
  readonly refused: number;
  /** Descriptors of the announcer before, and with all strangers and silent connections there. */
  readonly descriptorsBefore: number;
  readonly descriptorsMost: number;
}

const good = '127.0.0.41';
const flooding = '127.0.0.42';
const silent = '127.0.0.43';

/** Announces `count` routes to an announcer, with strangers at its port, and watches another session meanwhile. */
export async function flood(count: number, strangers: number, say: SoakOptions['say']): Promise<FloodResult> {
  const runDir = mkdtempSync(join(tmpdir(), `l4dflood${process.pid}-`));
  const main = join(repositoryRoot, 'announcer/bin/start.mjs');
  const announcer = spawn(process.execPath, [main, '--run-dir', runDir], { stdio: 'ignore' });
  const flooder = spawn(
    process.execPath,
    [join(import.meta.dirname, 'flooding-peer.ts'), flooding, `${count}`],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const lines = createInterface({ input: flooder.stdout });
  // At once: a line that nobody waits for is lost.
  const portLine = once(lines, 'line') as Promise<[string]>;
  const router = goodRouter();
  const sockets: Socket[] = [];
  let watch: NodeJS.Timeout | undefined;
  try {
    const client = announcerClient(join(runDir, 'announcer.sock'));
    await waitUntil(
      'the announcer answers',
      () =>
        client.status().then(
          () => true,
          () => false,
        ),
      10_000,
    );
    const [floodPort] = await portLine;
    const port = 21_000 + (process.pid % 10_000);
    const peer = { as: 65000, connectRetryMs: 50, families: ['ipv4' as const], nextHop4: '127.0.0.1' };
    const desired: DesiredInput = {
      owner: 'soak',
      local: { as: 65001, routerId: '10.0.0.1', listen: { port } },
      peers: [
        { ...peer, address: good, port: await router.port, holdTimeMs: 3000 },
        { ...peer, address: flooding, port: Number(floodPort), holdTimeMs: 30_000 },
        { ...peer, address: silent, mode: 'passive' },
      ],
      prefixes: [],
    };
    await client.put(desired);
    const view = async (address: string) =>
      (await client.status()).peers.find((one) => one.address === address);
    for (const address of [good, flooding]) {
      await waitUntil(`${address} is up`, async () => (await view(address))?.state === 'Established', 10_000);
    }
    const { pid = 0 } = announcer;
    const [residentBefore, descriptorsBefore] = [residentOf(pid), descriptorsOf(pid)];
    let residentMost = residentBefore;
    let descriptorsMost = descriptorsBefore;
    watch = setInterval(() => {
      residentMost = Math.max(residentMost, residentOf(pid));
      descriptorsMost = Math.max(descriptorsMost, descriptorsOf(pid));
    }, 20);
    flooder.stdin.write('go\n');
    let seconds: number | undefined;
    lines.once('line', (line: string) => {
      seconds = Number(line.split(' ')[1]);
    });
    // Half of them are strangers, half are of a peer's address, and all of them say nothing.
    const crowd = (async () => {
      for (let i = 0; i < strangers; i++) {
        const localAddress = i % 2 === 0 ? `127.0.1.${i % 250}` : silent;
        const socket = connect({ host: '127.0.0.1', port, localAddress });
        socket.on('error', () => undefined);
        sockets.push(socket);
        // No more at a time than the kernel keeps for a listener: it would forget the others.
        if (i % 100 === 99) await sleep(100);
      }
    })();
    const latencies: number[] = [];
    for (let i = 0; seconds === undefined || i < 20; i++) {
      const prefix = `203.0.${(i >> 8) & 255}.${i & 255}/32`;
      const seen = router.nextUpdate();
      const start = performance.now();
      await client.patch({ add: [{ prefix }] });
      await seen;
      latencies.push(performance.now() - start);
      await sleep(20);
    }
    const told = async () => (await view(flooding))?.messages.received.update ?? 0;
    await waitUntil('all is read', async () => (await told()) >= Math.ceil(count / 811), 120_000);
    await crowd;
    const refused = async () => (await client.status()).connectionsRefused >= 0.8 * (strangers / 2);
    await waitUntil('all strangers are refused', refused, 20_000).catch(() => undefined);
    const [ours, theirs] = [await view(good), await view(flooding)];
    latencies.sort((a, b) => a - b);
    say(`${latencies.length} announcements meanwhile`);
    return {
      routesPerSecond: Math.round(count / (seconds ?? 1)),
      residentBefore,
      residentMost,
      latencyMedian: latencies[latencies.length >> 1] ?? 0,
      latencyMost: latencies.at(-1) ?? 0,
      counted: {
        prefixes: theirs?.prefixesReceived ?? 0,
        truncated: theirs?.prefixesReceivedTruncated ?? false,
      },
      goodFlaps: ours?.flaps ?? -1,
      goodKeepalives: ours?.messages.sent.keepalive ?? 0,
      strangers: Math.ceil(strangers / 2),
      refused: (await client.status()).connectionsRefused,
      descriptorsBefore,
      descriptorsMost,
    };
  } finally {
    clearInterval(watch);
    for (const socket of sockets) socket.destroy();
    router.close();
    for (const child of [announcer, flooder]) await end(child);
    rmSync(runDir, { recursive: true, force: true });
  }
}

/** The soak: throws when memory, latency or the other session suffers. */
export async function run({ count = 10_000_000, say }: SoakOptions): Promise<string> {
  const result = await flood(count, 2000, say);
  const problem = problemOf(result);
  const text = JSON.stringify(result);
  if (problem !== undefined) throw new OperatorError(`${problem}: ${text}`);
  return `${count} routes: ${text}`;
}

/** What of a flood is not as it must be; bounds that only something unbounded passes. */
export function problemOf(result: FloodResult): string | undefined {
  if (result.goodFlaps !== 0) return 'the other session was lost';
  if (result.residentMost - result.residentBefore > 300) return 'memory grew by more than 300 MiB';
  if (result.latencyMedian > 250) return 'an announcement took more than 250 ms in the median';
  // The kernel forgets some of those who came while its queue was full; they believe to be connected.
  if (result.refused < 0.8 * result.strangers) return 'strangers were not counted';
  if (result.descriptorsMost - result.descriptorsBefore > 600) return 'connections pile up';
  return undefined;
}

/** A router of AS 65000 with a hold time of three seconds. */
function goodRouter() {
  const keepalive = encodeMessage({ type: 'keepalive' });
  const open = {
    localAs: 65000,
    routerId: 2,
    peerAs: 65001,
    holdTimeSeconds: 3,
    families: ['ipv4'],
  } as const;
  const sockets: Socket[] = [];
  let waiting: (() => void) | undefined;
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.write(encodeMessage(makeOpen(open)));
    socket.write(keepalive);
    const timer = setInterval(() => socket.write(keepalive), 700);
    socket.on('close', () => clearInterval(timer));
    let rest: Uint8Array = new Uint8Array(0);
    socket.on('data', (chunk) => {
      const split = splitMessages(Buffer.concat([rest, chunk]));
      rest = split.rest;
      if (split.messages.some((message) => message[18] === 2)) waiting?.();
    });
  });
  server.listen(0, good);
  return {
    port: once(server, 'listening').then(() => (server.address() as { port: number }).port),
    nextUpdate: () =>
      new Promise<void>((resolve) => {
        waiting = resolve;
      }),
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function residentOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0) / 1024);
}

const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}
