import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemClock } from '@l4d/kit/clock.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { createLogger, type Logger } from '@l4d/kit/logger.ts';
import { holdLock, takeRunFolder } from '@l4d/kit/run-folder.ts';
import { notifySupervisor, type ServiceNotice, watchdogIntervalMs } from '@l4d/kit/service-notify.ts';
import { collectStartupGarbage } from '@l4d/kit/startup-garbage.ts';
import { createAnnouncer } from '../../io/announcer.ts';
import { createApi, serveApi } from '../../io/api-server.ts';
import { createBfdService } from '../../io/bfd/service.ts';
import { withoutHandover } from '../../io/handover/handover-route.ts';
import type { SidecarFlags } from '../core/command-line.ts';
import type { SidecarStatus } from '../core/status.ts';
import { openAddressRecord } from '../io/address-record.ts';
import { createLoopbackAddresses } from '../io/loopback-addresses.ts';
import { createMaintenanceStore } from '../io/maintenance-store.ts';
import { ownInterfaces } from '../io/own-interfaces.ts';
import { sidecarListener } from '../io/sidecar-api.ts';
import { loadConfig } from './load-config.ts';
import { createMetricsServer } from './metrics-server.ts';
import { createSidecar } from './sidecar.ts';

/** Where a sidecar lives, and what it is told. */
export interface SidecarOptions {
  readonly runDir: string;
  readonly stateDir: string;
  readonly config: string | undefined;
  readonly flags: SidecarFlags;
}

/** Beyond the graceful shutdown and the linger, for what a slow router takes. */
const stopSlackMs = 5000;

/** Runs in the foreground until SIGTERM or SIGINT; SIGHUP reads the configuration again. Exits the process. */
export async function runSidecar(options: SidecarOptions): Promise<void> {
  const { runDir, stateDir } = options;
  // Before anything takes time: without a handler SIGHUP would end the process.
  let isHungUp = false;
  let onHangUp = () => {
    isHungUp = true;
  };
  process.on('SIGHUP', () => onHangUp());
  const { config, warnings } = await loadConfig(options.config, options.flags);
  const socketPath = await takeRunFolder(runDir, 'announcer');
  const logger = createLogger('l4-announcer');
  const warn = (texts: readonly string[]) => {
    for (const warning of texts) logger.warn({ warning }, 'the configuration is allowed, but hardly meant');
  };
  warn(warnings);
  takeStateFolder(stateDir, logger);
  const announcer = createAnnouncer({
    clock: systemClock,
    wallClock: Date.now,
    random: Math.random,
    logger,
    bfd: createBfdService(systemClock, logger, join(dirname(socketPath), 'bfd.sock')),
  });
  let ready = false;
  const tell = (notice: ServiceNotice) => notifySupervisor(process.env, notice);
  const sidecar = await createSidecar({
    announcer,
    addresses: createLoopbackAddresses(await openAddressRecord(join(stateDir, 'addresses.json'), logger)),
    maintenance: createMaintenanceStore(join(stateDir, 'maintenance.json')),
    clock: systemClock,
    wallClock: Date.now,
    random: Math.random,
    logger,
    interfaces: ownInterfaces,
    onChange: (status) => {
      if (ready) tell({ status: statusLine(status) });
    },
  });
  let running = config;
  const api = createApi(
    announcer,
    logger,
    withoutHandover(() => {}),
  );
  await serveApi(sidecarListener(sidecar, api, Date.now), socketPath);
  const metrics = createMetricsServer(sidecar, announcer);
  await metrics.listen(config.metrics);
  await sidecar.configure(config);
  ready = true;
  tell({ ready: true, status: statusLine(sidecar.status()) });
  collectStartupGarbage();
  logger.info({ socket: socketPath, services: config.services.map(({ name }) => name) }, 'ready');
  const watchdog = watchdogIntervalMs(process.env);
  if (watchdog !== undefined) setInterval(() => tell({ watchdog: true }), watchdog);

  let leaving = false;
  const leave = (code: number) => {
    rmSync(socketPath, { force: true });
    process.exit(code);
  };
  const stop = (signal: string) => {
    // Twice: whoever asks again does not want to wait.
    if (leaving) {
      logger.warn({ signal }, 'stopped at once: what is still announced is withdrawn as the sessions end');
      leave(exitCode.failure);
    }
    leaving = true;
    logger.info({ signal }, 'stopping: withdrawing, then the peers are told');
    const linger = Math.max(...running.services.map((service) => service.linger));
    const boundMs = running.gracefulShutdown + linger + stopSlackMs;
    // The supervisor's own patience may be shorter than what the configuration asks for.
    tell({ stopping: true, extendTimeoutMs: boundMs + stopSlackMs });
    sidecar.stop(boundMs).then(
      () => {
        logger.info('stopped: everything is withdrawn');
        leave(exitCode.ok);
      },
      (error: Error) => {
        logger.error({ error: error.message }, 'the stop has failed');
        leave(exitCode.failure);
      },
    );
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));

  async function reload(): Promise<void> {
    tell({ reloading: true });
    try {
      const { config: next, warnings: found } = await loadConfig(options.config, options.flags);
      warn(found);
      await metrics.listen(next.metrics);
      await sidecar.configure(next);
      running = next;
      logger.info('the configuration was read again');
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      logger.error({ error: message }, 'the new configuration is refused: the old one stays');
      await metrics.listen(running.metrics).catch(() => undefined);
    }
    tell({ ready: true, status: statusLine(sidecar.status()) });
  }

  let isReloading = false;
  /** One at a time: who hangs up meanwhile has the file read once more after that. */
  async function reloadWhileAsked(): Promise<void> {
    if (isReloading) return;
    isReloading = true;
    while (isHungUp && !leaving) {
      isHungUp = false;
      await reload();
    }
    isReloading = false;
  }
  onHangUp = () => {
    isHungUp = true;
    void reloadWhileAsked();
  };
  if (isHungUp) onHangUp();
  process.on('uncaughtException', (error) => {
    logger.fatal({ error: { message: error.message, stack: error.stack } }, 'invariant broken');
    process.exit(exitCode.failure);
  });
}

/** Keeps another sidecar from what this one keeps; without a disk to keep it on there is nothing to share. */
function takeStateFolder(stateDir: string, logger: Logger): void {
  let isHeld: boolean;
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o755 });
    isHeld = holdLock(join(stateDir, 'sidecar.lock'));
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    logger.warn(
      { stateDir, reason },
      'nothing can be kept here: a restart forgets maintenance (--state-dir)',
    );
    return;
  }
  if (isHeld) return;
  throw new OperatorError(
    `another sidecar keeps its state in ${stateDir} (needed: --state-dir FOLDER, one for each)`,
    exitCode.alreadyRunning,
  );
}

function statusLine({ services }: SidecarStatus): string {
  return services
    .map(({ name, condition, vips }) => {
      const routers = Math.max(0, ...vips.map(({ advertisedTo }) => advertisedTo.length));
      return `${name} ${condition}, announced to ${routers} routers`;
    })
    .join('; ');
}
