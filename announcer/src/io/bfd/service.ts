import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { BfdSessionConfig, BfdStatus, BfdVerdict } from '../../core/bfd/session-config.ts';
import type { BfdReport, BfdRequest } from './messages.ts';

/** The announcer's hand on BFD. */
export interface BfdService {
  /** Wants a session; one that runs to the same peer is taken over. `onVerdict` is told of changes alone. */
  watch(config: BfdSessionConfig, onVerdict: (verdict: BfdVerdict, why: string) => void): BfdWatch;
  /** AdminDown to all that is left; settles when it has been sent. */
  shutdown(): Promise<void>;
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
  readonly onVerdict: (verdict: BfdVerdict, why: string) => void;
}

const entry = fileURLToPath(new URL('./bfd-process.ts', import.meta.url));

/** Pause before a process that has died is replaced. */
const restartTime = Seconds(1);

/** A service that starts its process with the first session. */
export function createBfdService(clock: Clock, logger: Logger): BfdService {
  const watched = new Map<string, { current: Watched }>();
  let statuses: Readonly<Record<string, BfdStatus>> = {};
  const verdicts = new Map<string, BfdVerdict>();
  let child: ChildProcess | undefined;
  let restart: Timer | undefined;
  let onStopped: (() => void) | undefined;

  function configure(): void {
    if (child === undefined) {
      if (watched.size === 0 || restart !== undefined) return;
      child = start();
    }
    send({ kind: 'configure', sessions: [...watched.values()].map(({ current }) => current.config) });
  }

  function start(): ChildProcess {
    // Without helper threads, whose priority it would inherit in its pauses.
    const started = fork(entry, {
      execArgv: ['--single-threaded'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    started.on('message', onReport);
    started.on('error', (error) => logger.error({ error: error.message }, 'the BFD process: error'));
    started.on('exit', (code, signal) => {
      if (child !== started) return;
      child = undefined;
      statuses = {};
      if (onStopped !== undefined) {
        onStopped();
        return;
      }
      // The peers miss our packets and end their sessions, which need BFD anew.
      logger.error({ code, signal }, 'the BFD process has died: it is started again');
      restart = clock.after(restartTime, () => {
        restart = undefined;
        configure();
      });
    });
    // The announcer ends when its own work is done.
    started.unref();
    started.channel?.unref();
    return started;
  }

  function send(request: BfdRequest): void {
    // A child that is going away takes no message: its exit tells.
    child?.send(request, () => {});
  }

  function onReport(report: BfdReport): void {
    switch (report.kind) {
      case 'status':
        statuses = report.sessions;
        return;
      case 'verdict': {
        const { peer, verdict, why } = report;
        logger.warn({ peer, bfd: verdict, why }, `BFD is ${verdict}`);
        verdicts.set(peer, verdict);
        watched.get(peer)?.current.onVerdict(verdict, why);
        return;
      }
      case 'stopped':
        onStopped?.();
        return;
    }
  }

  return {
    watch(config, onVerdict) {
      const { peer } = config;
      const held = { current: { config, onVerdict } };
      watched.set(peer, held);
      configure();
      const known = verdicts.get(peer);
      if (known !== undefined) onVerdict(known, 'as it was');
      return {
        reconfigure(changed) {
          if (watched.get(peer) !== held) return;
          if (JSON.stringify(held.current.config) === JSON.stringify(changed)) return;
          held.current = { config: changed, onVerdict };
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
    async shutdown() {
      restart?.cancel();
      if (child === undefined) return;
      const stopped = new Promise<void>((resolve) => {
        onStopped = resolve;
      });
      child.ref();
      send({ kind: 'shutdown' });
      await stopped;
      watched.clear();
      statuses = {};
    },
  };
}
