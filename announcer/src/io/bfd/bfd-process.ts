/**
 * The process of the BFD engine, started and spoken to by the announcer (service.ts) over a unix socket. A thread of
 * the announcer would not do: in a garbage collection it waits for V8's helper threads, which have no priority of
 * their own (144 ms late on a machine with more work than processors, against 14 ms here).
 *
 * What the announcer promises `fast` ends with it. Sessions of `continuity` go on without it for as long as their
 * routers keep the routes of a dead announcer; it finds them when it is back.
 *
 * With `--take-over` it is the successor of the one that runs: it takes its sessions, sockets and the connection with
 * the announcer, which notices nothing.
 */
import { getRandomValues } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { systemClock, type Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { keepInMemory, scheduleBeforeOthers } from '@l4d/kit/ffi/scheduling.ts';
import { openUnixListener } from '@l4d/kit/ffi/unix-listener.ts';
import { fromHex, toHex } from '@l4d/kit/hex.ts';
import { ok } from '@l4d/kit/result.ts';
import type { BfdProcessStatus, BfdSessionConfig, BfdVerdict } from '../../core/bfd/session-config.ts';
import {
  type BfdProcessSnapshot,
  bfdHandoverFormat,
  decodeBfdSnapshot,
  encodeBfdSnapshot,
} from '../../core/handover/bfd-snapshot.ts';
import { announcerVersion } from '../../core/version.ts';
import { attachSocket, detachSocket, type Outgoing, trackOutgoing } from '../detach.ts';
import { type Frozen, listenForSuccessor, monotonicMs } from '../handover/giver.ts';
import { takeOver } from '../handover/taker.ts';
import { onLines } from '../json-lines.ts';
import { createBfdEngine } from './engine.ts';
import { type BfdReport, type BfdRequest, statusPeriodMs } from './messages.ts';
import { warmUpBfd } from './warm-up.ts';

const [, , socketPath, mode] = process.argv;
if (socketPath === undefined) throw new TypeError('the path of the socket is missing');
const handoverPath = join(dirname(socketPath), 'bfd-handover.sock');

/** A successor must hold everything within half of what no neighbour misses a packet in; with no session Up, within this. */
const longestFreeze = Seconds(1);

/** Less than a successor is given until it must have everything; slow sessions bear more than one silence. */
const longestCalm = Seconds(3);

/** The announcer that has started this process connects at once: one that does not come has died before. */
const longestAlone = Seconds(5);

/** Where intervals leave less, a handover would never come about; it is asked for. */
const shortestFreeze = Milliseconds(5);

interface Link {
  readonly socket: Socket;
  readonly outgoing: Outgoing;
  readonly unread: () => string;
}

let announcer: Link | undefined;
let sessions: readonly BfdSessionConfig[] = [];
let farewell: Timer | undefined;
let standing: Pick<BfdProcessStatus, 'precedence' | 'inMemory'> = { precedence: 'none', inMemory: false };
let handovers = 0;
let frozenMs: number | undefined;
/** Of the system clock: no successor gets the sessions before, so that no silence follows on another. */
let calmAt = Number.NEGATIVE_INFINITY;
const verdicts = new Map<string, BfdVerdict>();

function write(bytes: Uint8Array): void {
  const link = announcer;
  link?.outgoing.add(bytes);
  link?.socket.write(bytes, () => link.outgoing.taken());
}

function tell(report: BfdReport): void {
  if (announcer !== undefined) write(new TextEncoder().encode(`${JSON.stringify(report)}\n`));
}

const engine = createBfdEngine({
  wallClock: Date.now,
  // From the kernel: discriminators must not follow from those seen before (RFC 5880 section 10).
  random: () => (getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32,
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
  for (const path of [socketPath, handoverPath]) rmSync(path as string, { force: true });
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
      announcer?.socket.end(`${JSON.stringify({ kind: 'stopped' } satisfies BfdReport)}\n`, leave);
      return;
  }
}

/** One announcer at a time; the run folder's lock sees to it, this to a connection that died unnoticed. */
function use(socket: Socket, begun = ''): void {
  const previous = announcer;
  farewell?.cancel();
  socket.on('error', () => {});
  socket.on('close', () => {
    if (announcer?.socket === socket) onAlone();
  });
  const unread = onLines(socket, (message) => onRequest(message as BfdRequest), begun);
  announcer = { socket, outgoing: trackOutgoing(socket), unread };
  previous?.socket.destroy();
}

function describeProcess(): BfdProcessStatus {
  const { pid } = process;
  return {
    pid,
    version: announcerVersion,
    ...standing,
    handovers,
    ...(frozenMs === undefined ? {} : { frozenMs }),
  };
}

function freeze(): Frozen {
  if (announcer === undefined) throw new OperatorError('no announcer is connected');
  const { socket, outgoing, unread } = announcer;
  const descriptors: number[] = [];
  const take = (descriptor: number) => descriptors.push(descriptor) - 1;
  const { descriptor, unsent } = detachSocket(socket, outgoing);
  announcer = undefined;
  const state: BfdProcessSnapshot = {
    handovers,
    link: { descriptor: take(descriptor), unread: unread(), unsent: toHex(unsent) },
    verdicts: Array.from(verdicts, ([peer, verdict]) => ({ peer, verdict })),
    engine: engine.freeze(take),
  };
  return { text: encodeBfdSnapshot(state), descriptors };
}

/** Goes on where this process or another was frozen. */
function resume(from: BfdProcessSnapshot, descriptors: readonly number[], elapsedMs: number): void {
  ({ handovers } = from);
  for (const { peer, verdict } of from.verdicts) verdicts.set(peer, verdict);
  sessions = from.engine.sessions.map(({ config }) => config);
  use(attachSocket(descriptors[from.link.descriptor] ?? -1), from.link.unread);
  const unsent = fromHex(from.link.unsent);
  if (unsent !== undefined && unsent.length > 0) write(unsent);
  engine.resume(from.engine, descriptors, elapsedMs);
  calmAt = systemClock.now() + Math.min(longestCalm, engine.graceMs() ?? 0);
}

/** Settles when every neighbour has had packets again after the last handover, or attempt at one. */
async function calm(): Promise<void> {
  const left = Math.ceil(calmAt - systemClock.now());
  if (left > 0) await new Promise<void>((resolve) => systemClock.after(Milliseconds(left), resolve));
}

function serve(): void {
  const server = createServer((socket) => {
    use(socket);
    tell({ kind: 'serving', ...describeProcess() });
    for (const [peer, verdict] of verdicts) tell({ kind: 'verdict', peer, verdict, why: 'as it was' });
  });
  server.listen({ fd: openUnixListener(socketPath as string, 'stream') });
  listenForSuccessor({
    path: handoverPath,
    clock: systemClock,
    format: bfdHandoverFormat,
    limit() {
      const graceMs = engine.graceMs() ?? 2 * longestFreeze;
      return Milliseconds(Math.round(Math.min(longestFreeze, Math.max(shortestFreeze, graceMs / 2))));
    },
    prepare: calm,
    freeze,
    resume({ text, descriptors }, elapsedMs) {
      const state = decodeBfdSnapshot(text, descriptors.length);
      if (!state.ok) throw new TypeError(`the own state cannot be read: ${state.error}`);
      resume(state.value, descriptors, elapsedMs);
    },
    unprepare: () => {},
    onOutcome(outcome) {
      // Its paths are the successor's.
      if (outcome.handedOver) process.exit(0);
      tell({ kind: 'kept', reason: outcome.reason });
    },
  });
  setInterval(() => tell({ kind: 'status', sessions: engine.status() }), statusPeriodMs);
}

/** Detection must not wait for the rest of the machine. Without the right to it, sessions work at the common priority. */
function goBeforeOthers(): void {
  standing = { precedence: scheduleBeforeOthers(), inMemory: keepInMemory() };
}

/** Takes the sessions of the process that runs; ends when it keeps them. */
async function succeed(): Promise<void> {
  // At the common priority: whoever has the sessions goes before.
  warmUpBfd();
  goBeforeOthers();
  await takeOver({
    path: handoverPath,
    version: announcerVersion,
    formats: [bfdHandoverFormat],
    hold(text, descriptors) {
      const state = decodeBfdSnapshot(text, descriptors.length);
      if (!state.ok) return state;
      return ok({
        resume(elapsedMs) {
          const resumedAt = monotonicMs();
          resume({ ...state.value, handovers: state.value.handovers + 1 }, descriptors, elapsedMs);
          frozenMs = Math.round((elapsedMs + monotonicMs() - resumedAt) * 10) / 10;
        },
      });
    },
  });
  serve();
  tell({ kind: 'serving', ...describeProcess() });
}

// A planned stop comes by message, after the peers have been told why.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});

if (mode === '--take-over') {
  succeed().catch((error: unknown) => {
    if (error instanceof OperatorError) process.exit(exitCode.unavailable);
    throw error;
  });
} else {
  goBeforeOthers();
  serve();
  // Without its paths: a later process may have taken them.
  farewell = systemClock.after(longestAlone, () => process.exit(0));
}
