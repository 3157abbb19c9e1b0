import { fileURLToPath } from 'node:url';
import type { Clock } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
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
import { createEngineProcess, spawnEngine } from '../engine-process.ts';
import type { BfdReport, BfdRequest } from './messages.ts';

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

/** How often a handover to a new process is tried: a machine may be too busy for it at the moment. */
const renewals = { attempts: 3, pause: Seconds(1) };

/** What comes of it, and what to do. */
const commonPriorityHint = 'a busy machine may end sessions (give CAP_SYS_NICE and CAP_IPC_LOCK)';

/** How often it is looked whether a handover of the process has ended. */
const settlePoll = Milliseconds(20);

/** A service that starts its process with the first session, or finds the one that a dead announcer has left. */
export function createBfdService(clock: Clock, logger: Logger, socketPath: string): BfdService {
  const watched = new Map<string, { current: Watched }>();
  let statuses: Readonly<Record<string, BfdStatus>> = {};
  const verdicts = new Map<string, BfdVerdict>();
  let stopping = false;
  let present: BfdProcessStatus | undefined;
  /** The process that is being started to take the sessions. */
  let successor: number | undefined;

  const engine = createEngineProcess<BfdRequest, BfdReport>({
    name: 'BFD',
    ...{ clock, logger, socketPath, entry, onReport },
    onConnected: configure,
    // The peers miss our packets and end their sessions, which need BFD anew.
    onLost() {
      statuses = {};
      present = undefined;
    },
  });

  function configure(): void {
    if (!engine.isConnected()) {
      if (watched.size > 0) engine.start();
      return;
    }
    engine.send({ kind: 'configure', sessions: [...watched.values()].map(({ current }) => current.config) });
  }

  /** Has the process that runs replaced by what is now at its place, without its sessions noticing. */
  function renew(attempts = renewals.attempts): void {
    if (successor !== undefined || stopping) return;
    const child = spawnEngine(entry, [socketPath, '--take-over']);
    successor = child.pid;
    const onEnd = (how: string) => {
      if (successor !== child.pid) return;
      successor = undefined;
      if (stopping || !engine.isConnected()) return;
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
        engine.stopped();
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
      const link = engine.freeze(take);
      return link === undefined ? undefined : { ...link, verdicts: [...verdicts] };
    },
    resume(from, descriptors) {
      stopping = false;
      engine.resume(from, descriptors);
      if (from === undefined || descriptors[from.descriptor] === undefined) return;
      for (const [peer, verdict] of from.verdicts) verdicts.set(peer, verdict);
      // Once it has been told of all sessions that are wanted.
      queueMicrotask(() => renew());
    },
    process: () => present,
    shutdown(keep) {
      stopping = true;
      return engine.shutdown(keep ? undefined : { kind: 'shutdown' });
    },
  };
}
