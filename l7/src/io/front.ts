import { setTimeout as sleep } from 'node:timers/promises';
import { returnFreeHeap } from '@l4d/kit/ffi/heap.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { lookAtHeap, noHeapReturn } from '../core/heap-return.ts';
import { defaultLimits, type ProxyLimits } from '../core/limits.ts';
import { backendTlsOf, type PolicyTable } from '../core/policy.ts';
import { type Counters, pruneCounters } from './counters.ts';
import { startDatagramFront } from './datagrams/datagram-front.ts';
import { lookAtLimit } from './descriptor-room.ts';
import { ClientConnection } from './event-loop/client-connection.ts';
import type { Engine } from './event-loop/engine.ts';
import { ListenerSocket } from './event-loop/listener-socket.ts';
import { EventLoop } from './event-loop/loop.ts';
import { prunePool } from './event-loop/upstream-pool.ts';
import { KernelRelays } from './kernel-relays.ts';
import { createResolver, type ResolveName } from './resolve-name.ts';
import { BackendTls } from './tls/backend-tls.ts';
import { TlsListeners } from './tls/listener-tls.ts';

/** After so long without an event garbage is collected in one go. */
const collectAfterMs = 500;

/** The clients' side: everything between the sockets that the kernel hands connections to and the backends. */
export interface Front {
  readonly table: PolicyTable;
  readonly counters: Counters;
  readonly tls: TlsListeners;
  /** Connections for an address and port without a listener. */
  readonly unknownConnections: number;
  /** Connections of clients, tunnels included, and sessions of UDP clients. */
  readonly openClients: number;
  /** Another policy, for every connection and request from now on. */
  usePolicy(table: PolicyTable): void;
  /**
   * Takes connections in on bound sockets, which belong to it from now on, until the returned function is
   * called, which takes in what waits there and closes them. Throws SyscallError.
   */
  serve(sockets: readonly number[]): () => void;
  /** As `serve`, for bound UDP sockets. */
  serveDatagrams(sockets: readonly number[]): () => void;
  /**
   * Stops taking connections in after `acceptMs`, ends kept connections with their next answer or when they
   * have been idle for a moment; resolves when the last has ended. After `atMostMs` it ends what can end without a
   * loss, and resets the rest a moment later.
   */
  drain(bounds?: { readonly acceptMs: number; readonly atMostMs: number }): Promise<void>;
}

/**
 * Begins without connections, in a loop of its own in this thread. `bpfDir`: where the maps of the kernel's lookup are
 * pinned, if it steers to this process. Throws SyscallError.
 */
export function startFront(
  log: Logger,
  limits: ProxyLimits = defaultLimits,
  resolve: ResolveName = createResolver(),
  bpfDir?: string,
): Front {
  const loop = new EventLoop(limits.loopWaitMs);
  const engine: Engine = {
    loop,
    pool: new Map(),
    counters: new Map(),
    log,
    limits,
    tls: new TlsListeners(log),
    backendTls: new BackendTls(log),
    resolve,
    kernelRelays: new KernelRelays(log),
    table: new Map(),
    unknownConnections: 0,
    draining: false,
    openClients: 0,
    onEmpty: undefined,
  };
  const listeners = new Set<ListenerSocket>();
  const datagrams = startDatagramFront(engine, bpfDir);
  loop.start();
  lookAtLimit();
  let heap = noHeapReturn;
  /** What connections were in JavaScript is still to be collected. */
  let garbage = false;
  const returnHeap = () => {
    const { state, due } = lookAtHeap(heap, engine.openClients, performance.now());
    heap = state;
    garbage ||= due;
    // Under load the engine collects by itself, in small steps; without any it never would, and this takes tens of ms.
    const collect = garbage && loop.quietMs >= collectAfterMs;
    if (collect) {
      // Any other flavour keeps the pages.
      globalThis.gc?.({ type: 'major', flavor: 'last-resort' });
      garbage = false;
    }
    if (due || collect) returnFreeHeap();
  };
  const filePoll = setInterval(() => {
    lookAtLimit();
    returnHeap();
    engine.tls.poll();
    engine.backendTls.poll();
    datagrams.look();
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
    get openClients() {
      return engine.openClients;
    },
    usePolicy(table) {
      engine.tls.use(table);
      engine.backendTls.use(backendTlsOf(table));
      // One assignment: a connection or request sees the old policy or the new one, whole.
      engine.table = table;
      pruneCounters(engine.counters, table);
      prunePool(engine.pool, table);
      datagrams.usePolicy();
    },
    serve(sockets) {
      const own = sockets.map((fd) => new ListenerSocket(engine, fd));
      for (const listener of own) listeners.add(listener);
      return () => {
        for (const listener of own) {
          listener.acceptAll();
          listener.close();
          listeners.delete(listener);
        }
      };
    },
    serveDatagrams: (sockets) => datagrams.serve(sockets),
    async drain({ acceptMs, atMostMs } = { acceptMs: 0, atMostMs: limits.drainMs }) {
      engine.draining = true;
      if (acceptMs > 0) await sleep(acceptMs);
      for (const listener of listeners) {
        listener.acceptAll();
        listener.close();
      }
      listeners.clear();
      datagrams.drain();
      // Closed at once, a connection that is about to carry a request would lose it.
      const idle = setTimeout(() => {
        for (const stream of loop.streams()) {
          if (stream instanceof ClientConnection && stream.idle) stream.close();
        }
      }, limits.drainIdleMs);
      await new Promise<void>((resolve) => {
        let timer = setTimeout(() => {
          // A client's next datagram begins another session elsewhere.
          datagrams.close();
          for (const stream of loop.streams()) if (!stream.closed) stream.endDrain();
          timer = setTimeout(resolve, limits.drainEndMs);
          if (engine.openClients === 0) engine.onEmpty?.();
        }, atMostMs);
        engine.onEmpty = () => {
          clearTimeout(timer);
          resolve();
        };
        if (engine.openClients === 0) engine.onEmpty();
      });
      // In the middle of something: it must not be taken for whole.
      if (engine.openClients > 0) for (const stream of loop.streams()) stream.reset();
      clearTimeout(idle);
      engine.onEmpty = undefined;
      clearInterval(filePoll);
      datagrams.close();
      loop.stop();
    },
  };
}
