import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Clock } from '@l4d/kit/clock.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { VrrpDesired } from '../../core/vrrp/config.ts';
import type { VrrpStatus } from '../../core/vrrp/status.ts';
import { createEngineProcess } from '../engine-process.ts';
import type { VrrpReport, VrrpRequest } from './messages.ts';

/** The announcer's hand on VRRP. */
export interface VrrpService {
  /** Replaces the groups; `outliveMs`: how long they go on without an announcer. Undefined: all leave. */
  configure(desired: VrrpDesired | undefined, outliveMs: number): void;
  /** What was last reported, a quarter of a second old at most; undefined before, and without groups. */
  status(): VrrpStatus | undefined;
  /** All leave with priority 0, settles when it has been sent; with `keep` they go on instead. */
  shutdown(keep: boolean): Promise<void>;
}

const entry = fileURLToPath(new URL('./vrrp-process.ts', import.meta.url));

/** A service that starts its process with the first group, or finds the one that a dead announcer has left. */
export function createVrrpService(clock: Clock, logger: Logger, socketPath: string): VrrpService {
  let wanted: Extract<VrrpRequest, { kind: 'configure' }> | undefined;
  let status: VrrpStatus | undefined;
  const engine = createEngineProcess<VrrpRequest, VrrpReport>({
    name: 'VRRP',
    clock,
    logger,
    socketPath,
    entry,
    onConnected: tell,
    onReport,
    onLost() {
      status = undefined;
    },
  });

  function tell(): void {
    if (wanted !== undefined) engine.send(wanted);
  }

  function onReport(report: VrrpReport): void {
    switch (report.kind) {
      case 'status':
        status = report.status;
        return;
      case 'changed': {
        const { group, vrid, family, state, priority } = report.router;
        logger.warn({ group, vrid, family, state, priority, reason: report.reason }, `VRRP: ${state}`);
        return;
      }
      case 'stopped':
        engine.stopped();
        return;
    }
  }

  return {
    configure(desired, outliveMs) {
      // A process that was never needed is not started to be told so; one that an earlier announcer has left is told.
      if (desired === undefined && wanted === undefined && !existsSync(socketPath)) return;
      const next = { kind: 'configure', desired: desired ?? { groups: [] }, outliveMs } as const;
      if (JSON.stringify(next) === JSON.stringify(wanted)) return;
      wanted = next;
      // What was reported is about other groups.
      status = undefined;
      if (engine.isConnected()) tell();
      else engine.start();
    },
    status: () => ((wanted?.desired.groups.length ?? 0) === 0 ? undefined : status),
    shutdown: (keep) => engine.shutdown(keep ? undefined : { kind: 'shutdown' }),
  };
}
