import type { Logger } from '@l4d/kit/logger.ts';
import { defaultLimits, type ProxyLimits } from '../core/limits.ts';
import { backendTlsOf, type PolicyTable } from '../core/policy.ts';
import { type Counters, pruneCounters } from './counters.ts';
import { ClientConnection } from './event-loop/client-connection.ts';
import { ClientHandshake } from './event-loop/client-handshake.ts';
import type { Engine } from './event-loop/engine.ts';
import { ListenerSocket } from './event-loop/listener-socket.ts';
import { EventLoop } from './event-loop/loop.ts';
import { prunePool } from './event-loop/upstream-pool.ts';
import { BackendTls } from './tls/backend-tls.ts';
import { TlsListeners } from './tls/listener-tls.ts';

/** The clients' side: everything between the sockets that the kernel hands connections to and the backends. */
export interface Front {
  readonly table: PolicyTable;
  readonly counters: Counters;
  readonly tls: TlsListeners;
  /** Connections for an address and port without a listener. */
  readonly unknownConnections: number;
  /** Another policy, for every connection and request from now on. */
  usePolicy(table: PolicyTable): void;
  /** Stops taking connections in; resolves when the last has ended, or breaks them off in the end. */
  drain(): Promise<void>;
}

/** Takes connections in on bound sockets, in a loop of its own in this thread. Throws SyscallError. */
export function startFront(
  sockets: readonly number[],
  log: Logger,
  limits: ProxyLimits = defaultLimits,
): Front {
  const loop = new EventLoop();
  const engine: Engine = {
    loop,
    pool: new Map(),
    counters: new Map(),
    log,
    limits,
    tls: new TlsListeners(log),
    backendTls: new BackendTls(log),
    table: new Map(),
    unknownConnections: 0,
    draining: false,
    openClients: 0,
    onEmpty: undefined,
  };
  const listeners = sockets.map((fd) => new ListenerSocket(engine, fd));
  loop.start();
  const filePoll = setInterval(() => {
    engine.tls.poll();
    engine.backendTls.poll();
  }, limits.tlsFilePollMs);
  return {
    get table() {
      return engine.table;
    },
    counters: engine.counters,
    tls: engine.tls,
    get unknownConnections() {
      return engine.unknownConnections;
    },
    usePolicy(table) {
      engine.tls.use(table);
      engine.backendTls.use(backendTlsOf(table));
      // One assignment: a connection or request sees the old policy or the new one, whole.
      engine.table = table;
      pruneCounters(engine.counters, table);
      prunePool(engine.pool, table);
    },
    async drain() {
      for (const listener of listeners) {
        listener.acceptAll();
        listener.close();
      }
      engine.draining = true;
      for (const stream of loop.streams()) {
        if (stream instanceof ClientConnection && stream.idle) stream.close();
        if (stream instanceof ClientHandshake) stream.close();
      }
      await new Promise<void>((resolve) => {
        const breakOff = setTimeout(resolve, limits.drainMs);
        engine.onEmpty = () => {
          clearTimeout(breakOff);
          resolve();
        };
        if (engine.openClients === 0) engine.onEmpty();
      });
      engine.onEmpty = undefined;
      clearInterval(filePoll);
      loop.stop();
    },
  };
}
