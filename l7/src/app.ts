import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import type { Logger } from '@l4d/kit/logger.ts';
import { listenOnSocket, takeRunFolder } from '@l4d/kit/run-folder.ts';
import { compilePolicy } from './core/policy.ts';
import { createApi } from './io/api.ts';
import { listenerStatus } from './io/counters.ts';
import { startFront } from './io/front.ts';
import { bindLoopback } from './io/listening-socket.ts';
import { keepRegistered } from './io/registration.ts';

/** Where the proxy's files are. */
export interface ProxyFolders {
  readonly runDir: string;
  readonly bpfDir: string;
}

/**
 * Builds and starts the proxy; it then runs until SIGTERM or SIGINT, which let existing requests
 * finish. Rejects with OperatorError when another one has the run directory.
 */
export async function runProxy(folders: ProxyFolders, log: Logger): Promise<void> {
  const socketPath = await takeRunFolder(folders.runDir, 'proxy');
  const startedAt = new Date().toISOString();
  let revision = 0;

  const sockets = [bindLoopback(4), bindLoopback(6)] as const;
  const front = startFront(sockets, log);
  const registration = keepRegistered(folders.bpfDir, sockets, log);

  const api = createApi({
    apply(desired) {
      front.usePolicy(compilePolicy(desired, front.table));
      revision += 1;
      log.info({ revision, listeners: desired.listeners.length }, 'desired state taken');
      return revision;
    },
    status: () => ({
      pid: process.pid,
      startedAt,
      revision,
      registered: registration.registered(),
      unknownConnections: front.unknownConnections,
      listeners: [...front.table.values()].map((listener) =>
        listenerStatus(listener, front.counters, front.tls.get(listener.key)?.status),
      ),
    }),
  });
  const apiServer = createAdaptorServer({ fetch: api.fetch }) as Server;
  await listenOnSocket(apiServer, socketPath);
  log.info({ runDir: folders.runDir, bpfDir: folders.bpfDir }, 'proxy started');

  const stop = (signal: string) => {
    log.info({ signal }, 'stopping: no new connections, existing requests finish');
    registration.stop();
    front.drain().then(() => {
      apiServer.close();
      apiServer.closeAllConnections();
      log.info('stopped');
    });
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}
