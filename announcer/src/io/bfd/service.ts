import { Worker } from 'node:worker_threads';
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

/** A service that starts its thread with the first session. */
export function createBfdService(logger: Logger): BfdService {
  const watched = new Map<string, { current: Watched }>();
  let statuses: Readonly<Record<string, BfdStatus>> = {};
  let verdicts = new Map<string, BfdVerdict>();
  let worker: Worker | undefined;
  let onStopped = () => {};

  function configure(): void {
    if (worker === undefined) {
      if (watched.size === 0) return;
      worker = new Worker(new URL('./worker.ts', import.meta.url), { name: 'bfd' });
      worker.on('message', onReport);
      // Without detection the sessions would be trusted blindly: this is an invariant of ours.
      worker.on('error', (error) => {
        throw error;
      });
      // The process ends when its own work is done.
      worker.unref();
    }
    send({ kind: 'configure', sessions: [...watched.values()].map(({ current }) => current.config) });
  }

  function send(request: BfdRequest): void {
    worker?.postMessage(request);
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
        onStopped();
        return;
    }
  }

  return {
    watch(config, onVerdict) {
      const { peer } = config;
      const entry = { current: { config, onVerdict } };
      watched.set(peer, entry);
      configure();
      const known = verdicts.get(peer);
      if (known !== undefined) onVerdict(known, 'as it was');
      return {
        reconfigure(changed) {
          if (watched.get(peer) !== entry) return;
          if (JSON.stringify(entry.current.config) === JSON.stringify(changed)) return;
          entry.current = { config: changed, onVerdict };
          configure();
        },
        status: () => (watched.get(peer) === entry ? statuses[peer] : undefined),
        release() {
          if (watched.get(peer) !== entry) return;
          watched.delete(peer);
          verdicts.delete(peer);
          configure();
        },
      };
    },
    async shutdown() {
      if (worker === undefined) return;
      const stopped = new Promise<void>((resolve) => {
        onStopped = resolve;
      });
      worker.ref();
      send({ kind: 'shutdown' });
      await stopped;
      await worker.terminate();
      worker = undefined;
      watched.clear();
      statuses = {};
      verdicts = new Map();
    },
  };
}
