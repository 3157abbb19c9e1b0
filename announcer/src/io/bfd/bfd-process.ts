/**
 * The process of the BFD engine, started and spoken to by the announcer (service.ts) over a unix socket. A thread of
 * the announcer would not do: in a garbage collection it waits for V8's helper threads, which have no priority of
 * their own (144 ms late on a machine with more work than processors, against 14 ms here).
 *
 * What the announcer promises `fast` ends with it. Sessions of `continuity` go on without it for as long as their
 * routers keep the routes of a dead announcer; it finds them when it is back.
 */
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { systemClock, type Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { keepInMemory, scheduleBeforeOthers } from '@l4d/kit/ffi/scheduling.ts';
import type { BfdSessionConfig, BfdVerdict } from '../../core/bfd/session-config.ts';
import { createBfdEngine } from './engine.ts';
import { type BfdReport, type BfdRequest, onLines, statusPeriodMs } from './messages.ts';

const [, , socketPath] = process.argv;
if (socketPath === undefined) throw new TypeError('the path of the socket is missing');

let announcer: Socket | undefined;
let sessions: readonly BfdSessionConfig[] = [];
let farewell: Timer | undefined;
const verdicts = new Map<string, BfdVerdict>();

const tell = (report: BfdReport) => {
  announcer?.write(`${JSON.stringify(report)}\n`);
};

const engine = createBfdEngine({
  wallClock: Date.now,
  random: Math.random,
  onVerdict(peer, verdict, why) {
    verdicts.set(peer, verdict);
    tell({ kind: 'verdict', peer, verdict, why });
    tell({ kind: 'status', sessions: engine.status() });
  },
  onTrail: (peer, entries) => tell({ kind: 'trail', peer, entries }),
});

function configure(wanted: readonly BfdSessionConfig[]): void {
  sessions = wanted;
  const kept = new Set(wanted.map(({ peer }) => peer));
  for (const peer of verdicts.keys()) if (!kept.has(peer)) verdicts.delete(peer);
  engine.configure(wanted);
  tell({ kind: 'status', sessions: engine.status() });
}

function leave(): void {
  engine.shutdown();
  rmSync(socketPath as string, { force: true });
  process.exit(0);
}

/** The announcer has died or been stopped: only what outlives it goes on, and not for ever. */
function onAlone(): void {
  announcer = undefined;
  const staying = sessions.filter(({ outliveMs }) => outliveMs > 0);
  // Without a word: what the announcer announced is gone with its TCP connections.
  if (staying.length === 0) process.exit(0);
  configure(staying);
  farewell = systemClock.after(Milliseconds(Math.max(...staying.map(({ outliveMs }) => outliveMs))), leave);
}

function onRequest(request: BfdRequest): void {
  switch (request.kind) {
    case 'configure':
      configure(request.sessions);
      return;
    case 'shutdown':
      engine.shutdown();
      announcer?.end(`${JSON.stringify({ kind: 'stopped' } satisfies BfdReport)}\n`, leave);
      return;
  }
}

const server = createServer((socket) => {
  // One announcer at a time; the run folder's lock sees to it, this to a connection that died unnoticed.
  announcer?.removeAllListeners('close');
  announcer?.destroy();
  announcer = socket;
  farewell?.cancel();
  socket.on('error', () => {});
  socket.on('close', onAlone);
  for (const [peer, verdict] of verdicts) tell({ kind: 'verdict', peer, verdict, why: 'as it was' });
  onLines(socket, (message) => onRequest(message as BfdRequest));
});

// Detection must not wait for the rest of the machine. Niceness does not do it: with automatic task groups it
// counts within a session alone. Without the right to it, sessions work at the common priority.
scheduleBeforeOthers();
keepInMemory();

// A planned stop comes by message, after the peers have been told why.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
setInterval(() => tell({ kind: 'status', sessions: engine.status() }), statusPeriodMs);

rmSync(socketPath, { force: true });
const mask = process.umask(0o177);
server.listen(socketPath);
process.umask(mask);
