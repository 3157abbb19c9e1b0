import type { Server } from 'node:http';
import { availableParallelism } from 'node:os';
import { createAdaptorServer } from '@hono/node-server';
import type { Logger } from '@l4d/kit/logger.ts';
import { maxProxyWorkers, type ProxyDesired, type ProxyStatus } from '@l4d/kit/proxy-api.ts';
import { listenOnSocket, takeRunFolder } from '@l4d/kit/run-folder.ts';
import { compilePolicy, type PolicyTable } from './core/policy.ts';
import { createApi } from './io/api.ts';
import { listenerCountersOf, listenerStatus } from './io/counters.ts';
import { buildName } from './io/supervisor/build-name.ts';
import { makeRoomForConnections } from './io/supervisor/open-files.ts';
import { type Supervisor, startSupervisor, type WorkerView } from './io/supervisor/supervisor.ts';

/** Where the proxy's files are. */
export interface ProxyFolders {
  readonly runDir: string;
  readonly bpfDir: string;
}

/**
 * Builds and starts the proxy's supervisor, which starts the workers; it then runs until SIGTERM or SIGINT, which
 * let existing requests finish. Rejects with OperatorError when another one has the run directory.
 */
export async function runProxy(folders: ProxyFolders, log: Logger): Promise<void> {
  const socketPath = await takeRunFolder(folders.runDir, 'proxy');
  makeRoomForConnections(log);
  const startedAt = new Date().toISOString();
  const supervisor = startSupervisor({ ...folders, build: buildName() }, log);
  let compiled: { readonly revision: number; readonly table: PolicyTable } | undefined;

  /** The policy in use, to name what is counted. */
  function table(): PolicyTable {
    const policy = supervisor.policy();
    if (policy === undefined) return new Map();
    if (compiled?.revision !== policy.revision)
      compiled = { revision: policy.revision, table: compilePolicy(policy.desired) };
    return compiled.table;
  }

  const api = createApi({
    async apply(desired) {
      const next = compilePolicy(desired);
      const count = workersFor(desired);
      const settings = { declared: (key: string) => next.has(key), count, drainMs: desired.drainMs };
      const revision = await supervisor.usePolicy(desired, settings);
      log.info({ revision, listeners: desired.listeners.length, workers: count }, 'desired state taken');
      return revision;
    },
    status: () => statusOf(supervisor, startedAt, table),
    renew: () => supervisor.renew(),
    leave() {
      log.info('leaving the workers to the next supervisor');
      // After the answer has gone.
      setTimeout(() => process.exit(0), 100);
    },
  });
  const apiServer = createAdaptorServer({ fetch: api.fetch }) as Server;
  await listenOnSocket(apiServer, socketPath);
  log.info({ runDir: folders.runDir, bpfDir: folders.bpfDir }, 'proxy started');

  const stop = (signal: string) => {
    const stopped = supervisor.stop();
    log.info({ signal }, 'stopping: no new connections, existing requests finish');
    stopped.then(() => {
      apiServer.close();
      apiServer.closeAllConnections();
      log.info('stopped');
    });
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  process.on('SIGHUP', () => {
    supervisor
      .renew()
      .then((renewed) => log.info({ renewed }, 'all workers are replaced'))
      .catch((error) => log.error({ err: error }, 'the workers are not replaced'));
  });
}

/** Without listeners nothing is to be done: one worker is enough to begin with. */
function workersFor(desired: ProxyDesired): number {
  if (desired.listeners.length === 0) return 1;
  return desired.workers ?? Math.min(availableParallelism(), maxProxyWorkers);
}

async function statusOf(
  supervisor: Supervisor,
  startedAt: string,
  table: () => PolicyTable,
): Promise<ProxyStatus> {
  const { unknownConnections, listeners, facts = {} } = await supervisor.counts();
  const policy = supervisor.policy();
  const counters = new Map(
    Object.entries(listeners).map(([key, counts]) => [
      key,
      listenerCountersOf(counts, facts[key]?.tlsProblems),
    ]),
  );
  return {
    pid: process.pid,
    startedAt,
    revision: policy?.revision ?? 0,
    registered: supervisor.registered(),
    workers: supervisor.workers().map(workerStatus),
    wantedWorkers: supervisor.wanted(),
    deaths: supervisor.deaths(),
    unknownConnections,
    listeners: [...table().values()].map((listener) =>
      listenerStatus(listener, counters, facts[listener.key]?.tls),
    ),
  };
}

function workerStatus({ counts, ...worker }: WorkerView): ProxyStatus['workers'][number] {
  const all = Object.values(counts.listeners).map((one) => listenerCountersOf(one));
  const sum = (of: 'activeConnections' | 'connections' | 'requests') =>
    all.reduce((total, counted) => total + counted[of], 0);
  return {
    ...worker,
    activeConnections: sum('activeConnections'),
    connections: sum('connections'),
    requests: sum('requests'),
  };
}
