/** What happens to routes when a path or a speaker dies, with BFD. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { folder, frrCommand, namespaces } from '../../lab/io/bgp-lab.ts';
import { run, runIn, spawnIn } from '../../lab/io/namespace-commands.ts';
import type { RunningSpeaker, Speaker } from './bgp-subjects.ts';

/** Waits for changes of routes in the router's kernel. */
export interface RouteWatch {
  /** Time of the next addition or removal of a route in the router's kernel. */
  next(prefix: string, removed: boolean): Promise<number>;
  close(): void;
}

type Note = (name: string, metric: string, unit: string, value: number) => void;

const frrFolder = join(folder, 'frr');
const prefix = '203.0.113.88';
const upTimeoutMs = 10_000;

/** Adds BFD to the router that runs. */
export function startBfd(): void {
  const file = join(folder, 'bfdd.conf');
  writeFileSync(file, 'hostname frr\n');
  const files = ['-i', join(frrFolder, 'bfdd.pid'), '-f', file, '--bfdctl', join(frrFolder, 'bfdd.sock')];
  const common = [
    '--vty_socket',
    frrFolder,
    '-z',
    join(frrFolder, 'zserv.api'),
    '-A',
    '127.0.0.1',
    '-P',
    '0',
  ];
  run('ip', 'netns', 'exec', namespaces.frr, '/usr/lib/frr/bfdd', '-d', ...common, ...files);
  // The router of a bench shares its processors with the bench, which a router does not.
  run('chrt', '--all-tasks', '--rr', '--pid', '5', readFileSync(join(frrFolder, 'bfdd.pid'), 'utf8').trim());
}

/** Ends what startBfd has started. */
export function stopBfd(): void {
  try {
    process.kill(Number(readFileSync(join(frrFolder, 'bfdd.pid'), 'utf8')));
  } catch {
    // It was never started.
  }
}

/** Silent loss of the link with two intervals, and the promise continuity where there is one. */
export async function measurePaths(
  speaker: Speaker,
  withSpeaker: (work: (running: RunningSpeaker) => Promise<void>) => Promise<void>,
  routes: RouteWatch,
  note: Note,
): Promise<void> {
  if (!speaker.watches) return;
  for (const intervalMs of [50, 10]) {
    await withPath(intervalMs, withSpeaker, 'fast', async () => {
      // A loaded machine may have BFD down for a moment before the link is cut: that is no measurement.
      if (runIn(namespaces.frr, 'ip', 'route', 'show', prefix).trim() === '') return;
      note(`link lost, BFD 3 x ${intervalMs} ms`, 'gone', 'ms', await lostLink(routes.next(prefix, true)));
    });
  }
  if (speaker.subject !== 'l4d') return;
  await withPath(50, withSpeaker, 'continuity', async () => {
    note('host dead, continuity, BFD 3 x 50 ms', 'gone', 'ms', await lostLink(routes.next(prefix, true)));
  });
  await withPath(50, withSpeaker, 'continuity', async (running) => {
    const gone = routes.next(prefix, true);
    running.kill();
    const moved = await Promise.race([gone, sleep(2000)]);
    note('killed, continuity', 'routes moved in 2 s', '', moved === undefined ? 0 : 1);
    // The restart time ends what is left.
    await gone;
  });
}

async function withPath(
  intervalMs: number,
  withSpeaker: (work: (running: RunningSpeaker) => Promise<void>) => Promise<void>,
  promise: 'fast' | 'continuity',
  work: (running: RunningSpeaker) => Promise<void>,
): Promise<void> {
  const profile = [
    'bfd',
    'profile bench',
    `transmit-interval ${intervalMs}`,
    `receive-interval ${intervalMs}`,
    'detect-multiplier 3',
  ];
  const neighbor = (text: string) =>
    frrCommand('configure terminal', 'router bgp 65000', `${text}neighbor 10.77.0.2 bfd profile bench`);
  frrCommand('configure terminal', ...profile);
  try {
    await withSpeaker(async (running) => {
      if (running.watchPath === undefined) return;
      neighbor('');
      await running.watchPath(intervalMs, promise);
      await untilUp(intervalMs);
      await announceUntilThere(running);
      // Graceful restart is promised with End-of-RIB behind the routes.
      await sleep(500);
      await work(running);
    });
  } finally {
    endLeftovers();
    frrCommand('configure terminal', 'router bgp 65000', 'no neighbor 10.77.0.2 bfd');
  }
}

async function announceUntilThere(running: RunningSpeaker): Promise<void> {
  await running.announce(`${prefix}/32`);
  for (let i = 0; i < 100; i++) {
    if (runIn(namespaces.frr, 'ip', 'route', 'show', prefix).trim() !== '') return;
    await sleep(100);
  }
  throw new Error(`${prefix} is not at the router`);
}

/** Until BFD is up at the interval, and the session beside it. */
async function untilUp(intervalMs: number): Promise<void> {
  for (const end = performance.now() + upTimeoutMs; performance.now() < end; await sleep(100)) {
    const peers = show('show bfd peers json') as Record<string, unknown>[];
    const isUp = peers.some(
      (peer) => peer['status'] === 'up' && peer['remote-transmit-interval'] === intervalMs,
    );
    const sessions = show('show bgp neighbors 10.77.0.2 json') as Record<string, { bgpState?: string }>;
    if (isUp && sessions['10.77.0.2']?.bgpState === 'Established') return;
  }
  throw new Error(`BFD is not up with ${intervalMs} ms`);
}

function show(command: string): unknown {
  return JSON.parse(run('vtysh', '--vty_socket', frrFolder, '-c', command));
}

/** Cuts the link without a sign, both ways; milliseconds until the router's kernel has lost the route. */
async function lostLink(gone: Promise<number>): Promise<number> {
  // Started before: it waits for its input, so that the start of a process takes no part in the measurement.
  const nft = spawnIn(namespaces.frr, 'nft', '-f', '-');
  await sleep(300);
  const from = performance.now();
  nft.stdin?.end(`table inet cut {
  chain in { type filter hook input priority 0; iifname "up0" drop; }
  chain out { type filter hook output priority 0; oifname "up0" drop; }
}
`);
  try {
    const late = sleep(upTimeoutMs, undefined, { ref: false });
    const at = await Promise.race([gone, late]);
    return (at ?? Number.NaN) - from;
  } finally {
    runIn(namespaces.frr, 'nft', 'delete', 'table', 'inet', 'cut');
  }
}

/** Ends what a speaker has left running. */
function endLeftovers(): void {
  for (const pid of run('ip', 'netns', 'pids', namespaces.announcer).split('\n').filter(Boolean)) {
    process.kill(Number(pid), 'SIGKILL');
  }
}
