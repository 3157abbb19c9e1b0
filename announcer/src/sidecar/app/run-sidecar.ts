import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { systemClock } from '@l4d/kit/clock.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { takeRunFolder } from '@l4d/kit/run-folder.ts';
import { notifySupervisor, watchdogIntervalMs } from '@l4d/kit/service-notify.ts';
import { createAnnouncer } from '../../io/announcer.ts';
import { createApi, serveApi } from '../../io/api-server.ts';
import { createBfdService } from '../../io/bfd/service.ts';
import { withoutHandover } from '../../io/handover/handover-route.ts';
import type { SidecarFlags } from '../core/command-line.ts';
import type { SidecarConfig } from '../core/config.ts';
import type { SidecarStatus } from '../core/status.ts';
import { createLoopbackAddresses } from '../io/loopback-addresses.ts';
import { createMaintenanceStore } from '../io/maintenance-store.ts';
import { sidecarListener } from '../io/sidecar-api.ts';
import { findNextHops, findRouterId, loadConfig } from './load-config.ts';
import { createSidecar, type Sidecar } from './sidecar.ts';

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
  const config = await loadConfig(options.config, options.flags);
  const socketPath = await takeRunFolder(options.runDir, 'announcer');
  const logger = createLogger('l4-announcer');
  const announcer = createAnnouncer({
    clock: systemClock,
    wallClock: Date.now,
    random: Math.random,
    logger,
    bfd: createBfdService(systemClock, logger, join(dirname(socketPath), 'bfd.sock')),
  });
  let ready = false;
  const sidecar = await createSidecar({
    announcer,
    addresses: createLoopbackAddresses(),
    maintenance: createMaintenanceStore(join(options.stateDir, 'maintenance.json')),
    clock: systemClock,
    wallClock: Date.now,
    random: Math.random,
    logger,
    findRouterId,
    findNextHops,
    onChange: (status) => {
      if (ready) notifySupervisor(process.env, { status: statusLine(status) });
    },
  });
  let running = config;
  const api = createApi(
    announcer,
    logger,
    withoutHandover(() => {}),
  );
  await serveApi(sidecarListener(sidecar, api, Date.now), socketPath);
  await sidecar.configure(config);
  await serveMetrics(config, sidecar, api);
  ready = true;
  notifySupervisor(process.env, { ready: true, status: statusLine(sidecar.status()) });
  logger.info({ socket: socketPath, services: config.services.map(({ name }) => name) }, 'ready');
  const watchdog = watchdogIntervalMs(process.env);
  if (watchdog !== undefined) setInterval(() => notifySupervisor(process.env, { watchdog: true }), watchdog);

  let leaving = false;
  const leave = (code: number) => {
    rmSync(socketPath, { force: true });
    process.exit(code);
  };
  const stop = (signal: string) => {
    // Twice: whoever asks again does not want to wait.
    if (leaving) leave(exitCode.failure);
    leaving = true;
    logger.info({ signal }, 'stopping: withdrawing, then the peers are told');
    notifySupervisor(process.env, { stopping: true });
    const linger = Math.max(...running.services.map((service) => service.linger));
    sidecar.stop(running.gracefulShutdown + linger + stopSlackMs).then(
      () => leave(exitCode.ok),
      (error: Error) => {
        logger.error({ error: error.message }, 'the stop has failed');
        leave(exitCode.failure);
      },
    );
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
  process.on('SIGHUP', () => {
    notifySupervisor(process.env, { reloading: true });
    loadConfig(options.config, options.flags)
      .then(async (next) => {
        await sidecar.configure(next);
        running = next;
        logger.info('the configuration was read again');
      })
      .catch((error: Error) =>
        logger.error({ error: error.message }, 'the new configuration is refused: the old one stays'),
      )
      .finally(() => notifySupervisor(process.env, { ready: true, status: statusLine(sidecar.status()) }));
  });
  process.on('uncaughtException', (error) => {
    logger.fatal({ error: { message: error.message, stack: error.stack } }, 'invariant broken');
    process.exit(exitCode.failure);
  });
}

function statusLine({ services }: SidecarStatus): string {
  return services
    .map(({ name, condition, vips }) => {
      const routers = Math.max(0, ...vips.map(({ advertisedTo }) => advertisedTo.length));
      return `${name} ${condition}, announced to ${routers} routers`;
    })
    .join('; ');
}

/** /metrics of the announcer, and /healthz, which says whether the sidecar runs: not whether the services do. */
async function serveMetrics(
  { metrics }: SidecarConfig,
  sidecar: Sidecar,
  api: Parameters<typeof createServer>[1] & object,
): Promise<void> {
  if (metrics === undefined) return;
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0];
    if (request.method !== 'GET') response.writeHead(405).end();
    else if (path === '/metrics') api(request, response as never);
    else if (path === '/healthz') response.writeHead(200).end('ok\n');
    else if (path === '/services') {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(sidecar.status()));
    } else response.writeHead(404).end();
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new OperatorError(
          `metrics: cannot listen on ${formatIpAddress(metrics.address)} port ${metrics.port}: ${error.message}`,
          exitCode.system,
        ),
      ),
    );
    server.listen(metrics.port, formatIpAddress(metrics.address), resolve);
  });
}
