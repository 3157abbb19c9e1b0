import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Clock } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { fromHex, toHex } from '@l4d/kit/hex.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type {
  BfdProcessStatus,
  BfdSessionConfig,
  BfdStatus,
  BfdVerdict,
} from '../../core/bfd/session-config.ts';
import type { BfdTrailEntry } from '../../core/bfd/trail.ts';
import type { BfdLinkSnapshot } from '../../core/handover/snapshot.ts';
import { announcerVersion } from '../../core/version.ts';
import { attachSocket, detachSocket, type Outgoing, trackOutgoing } from '../detach.ts';
import { spawnEngine } from '../engine-process.ts';
import { type BfdReport, type BfdRequest, onLines } from './messages.ts';

/** Told of a session's verdict, and why it is that. */
export type BfdListener = (verdict: BfdVerdict, why: string) => void;

/** The announcer's hand on BFD. */
export interface BfdService {
  /** Wants a session; one that runs to the same peer is taken over. `onVerdict` is told of changes alone. */
  watch(
    config: BfdSessionConfig,
    onVerdict: BfdListener,
    onTrail?: (entries: readonly BfdTrailEntry[]) => void,
  ): BfdWatch;
  /**
   * AdminDown to all that is left, settles when it has been sent; with `keep`, sessions that outlive the announcer
   * go on instead.
   */
  shutdown(keep: boolean): Promise<void>;
  /** Settles when no process of BFD is taking the sessions of another, at the latest after `longest`. */
  settled(longest: Duration): Promise<void>;
  /**
   * Lets go of the process without its noticing, for a successor; undefined when there is no connection with it. Its
   * descriptor is given to `take`, which says where it is. Throws SyscallError.
   */
  freeze(take: (descriptor: number) => number): BfdLinkSnapshot | undefined;
  /** Goes on with the process that another has let go of; call it before the first `watch`. */
  resume(from: BfdLinkSnapshot | undefined, descriptors: readonly number[]): void;
  /** The process that has the sessions, once it has told of itself. */
  process(): BfdProcessStatus | undefined;
}

/** One wanted session. */
export interface BfdWatch {
  reconfigure(config: BfdSessionConfig): void;
  /** What was last reported, a quarter of a second old at most. */
  status(): BfdStatus | undefined;
  /** Lets the session go, unless another watch has taken it over. */
  release(): void;
}

interface Watched {
  readonly config: BfdSessionConfig;
  readonly onVerdict: BfdListener;
  readonly onTrail: ((entries: readonly BfdTrailEntry[]) => void) | undefined;
}

const entry = fileURLToPath(new URL('./bfd-process.ts', import.meta.url));

/** Least time between two starts of the process, in milliseconds. */
const restartMs = 2000;

/** How often a handover to a new process is tried: a machine may be too busy for it at the moment. */
const renewals = { attempts: 3, pause: Seconds(1) };

/** What comes of it, and what to do. */
const commonPriorityHint = 'a busy machine may end sessions (give CAP_SYS_NICE and CAP_IPC_LOCK)';

/** How often it is looked whether a handover of the process has ended. */
const settlePoll = Milliseconds(20);

/** Pause between two attempts to reach the process. */
const retryTime = Milliseconds(50);

/** A service that starts its process with the first session, or finds the one that a dead announcer has left. */
export function createBfdService(clock: Clock, logger: Logger, socketPath: string): BfdService {
  const watched = new Map<string, { current: Watched }>();
  let statuses: Readonly<Record<string, BfdStatus>> = {};
  const verdicts = new Map<string, BfdVerdict>();
  /** Connected or connecting. */
  let socket: Socket | undefined;
  let connected = false;
  let stopping = false;
  let spawnedAt = Number.NEGATIVE_INFINITY;
  let onStopped: (() => void) | undefined;
  let outgoing: Outgoing | undefined;
  let unread = () => '';
  let present: BfdProcessStatus | undefined;
  /** The process that is being started to take the sessions. */
  let successor: number | undefined;

  function configure(): void {
    if (socket === undefined) {
      if (watched.size > 0) attach();
      return;
    }
    if (connected)
      send({ kind: 'configure', sessions: [...watched.values()].map(({ current }) => current.config) });
  }

  function attach(): void {
    const attempt = connect(socketPath);
    attempt.on('connect', () => {
      connected = true;
      configure();
    });
    use(attempt);
  }

  function use(attempt: Socket, begun = ''): void {
    socket = attempt;
    outgoing = trackOutgoing(attempt);
    unread = onLines(attempt, (message) => onReport(message as BfdReport), begun);
    attempt.on('error', () => {});
    attempt.on('close', () => {
      if (socket !== attempt) return;
      const lost = connected;
      connected = false;
      socket = undefined;
      statuses = {};
      present = undefined;
      onStopped?.();
      if (stopping) return;
      // The peers miss our packets and end their sessions, which need BFD anew.
      if (lost) logger.error('the BFD process has died: it is started again');
      else start();
      clock.after(retryTime, () => {
        if (socket === undefined && !stopping) attach();
      });
    });
  }

  /** Not more often than every `restartMs`: it takes a moment until it listens. */
  function start(): void {
    if (clock.now() - spawnedAt < restartMs) return;
    spawnedAt = clock.now();
    spawnEngine(entry, [socketPath]).on('error', (error) =>
      logger.error({ error: error.message }, 'the BFD process cannot be started'),
    );
  }

  /** Has the process that runs replaced by what is now at its place, without its sessions noticing. */
  function renew(attempts = renewals.attempts): void {
    if (successor !== undefined || stopping) return;
    const child = spawnEngine(entry, [socketPath, '--take-over']);
    successor = child.pid;
    const onEnd = (how: string) => {
      if (successor !== child.pid) return;
      successor = undefined;
      if (stopping || !connected) return;
      if (attempts > 1) clock.after(renewals.pause, () => renew(attempts - 1));
      else logger.warn({ how }, 'the BFD process goes on with the code that it was started with');
    };
    child.on('error', (error) => onEnd(error.message));
    child.on('exit', (code, signal) => onEnd(`its successor has ended (${signal ?? `exit code ${code}`})`));
  }

  function onServing({ kind, ...current }: BfdProcessStatus & { readonly kind: 'serving' }): void {
    present = current;
    if (current.pid === successor) successor = undefined;
    if (current.precedence === 'none') {
      const { pid, inMemory } = current;
      logger.warn({ pid, inMemory }, `BFD works at the common priority: ${commonPriorityHint}`);
    }
    if (current.handovers > 0) {
      const { pid, frozenMs } = current;
      logger.info({ successor: pid, frozenMs }, 'the BFD sessions are with a new process');
    }
    if (current.version !== announcerVersion) renew();
  }

  function send(request: BfdRequest): void {
    const line = new TextEncoder().encode(`${JSON.stringify(request)}\n`);
    write(line);
  }

  function write(bytes: Uint8Array): void {
    const record = outgoing;
    record?.add(bytes);
    socket?.write(bytes, () => record?.taken());
  }

  function onReport(report: BfdReport): void {
    switch (report.kind) {
      case 'status':
        statuses = report.sessions;
        return;
      case 'verdict': {
        const { peer, verdict, why } = report;
        if (verdicts.get(peer) === verdict) return;
        logger[verdict === 'up' ? 'info' : 'warn']({ peer, bfd: verdict, why }, `BFD is ${verdict}`);
        verdicts.set(peer, verdict);
        watched.get(peer)?.current.onVerdict(verdict, why);
        return;
      }
      case 'trail':
        watched.get(report.peer)?.current.onTrail?.(report.entries);
        return;
      case 'serving':
        onServing(report);
        return;
      case 'kept':
        logger.warn({ reason: report.reason }, 'no handover of BFD: all goes on as it was');
        return;
      case 'stopped':
        onStopped?.();
        return;
    }
  }

  return {
    watch(config, onVerdict, onTrail) {
      const { peer } = config;
      const held = { current: { config, onVerdict, onTrail } };
      watched.set(peer, held);
      configure();
      const known = verdicts.get(peer);
      if (known !== undefined) onVerdict(known, 'as it was');
      return {
        reconfigure(changed) {
          if (watched.get(peer) !== held) return;
          if (JSON.stringify(held.current.config) === JSON.stringify(changed)) return;
          held.current = { config: changed, onVerdict, onTrail };
          configure();
        },
        status: () => (watched.get(peer) === held ? statuses[peer] : undefined),
        release() {
          if (watched.get(peer) !== held) return;
          watched.delete(peer);
          verdicts.delete(peer);
          configure();
        },
      };
    },
    async settled(longest) {
      const end = clock.now() + longest;
      while (successor !== undefined && clock.now() < end)
        await new Promise<void>((resolve) => clock.after(settlePoll, resolve));
    },
    freeze(take) {
      stopping = true;
      watched.clear();
      const held = socket;
      socket = undefined;
      if (held === undefined || outgoing === undefined) return undefined;
      if (!connected) {
        held.destroy();
        return undefined;
      }
      connected = false;
      const { descriptor, unsent } = detachSocket(held, outgoing);
      return {
        descriptor: take(descriptor),
        unread: unread(),
        unsent: toHex(unsent),
        verdicts: [...verdicts],
      };
    },
    resume(from, descriptors) {
      stopping = false;
      const descriptor = from === undefined ? undefined : descriptors[from.descriptor];
      if (from === undefined || descriptor === undefined) return;
      for (const [peer, verdict] of from.verdicts) verdicts.set(peer, verdict);
      use(attachSocket(descriptor), from.unread);
      const unsent = fromHex(from.unsent);
      if (unsent !== undefined && unsent.length > 0) write(unsent);
      // Once all peers have said what they want: what the process is not told of, it ends.
      queueMicrotask(() => {
        connected = true;
        configure();
        renew();
      });
    },
    process: () => present,
    async shutdown(keep) {
      stopping = true;
      if (socket === undefined) return;
      if (keep) {
        socket.end();
        return;
      }
      const stopped = new Promise<void>((resolve) => {
        onStopped = resolve;
      });
      send({ kind: 'shutdown' });
      await stopped;
    },
  };
}
