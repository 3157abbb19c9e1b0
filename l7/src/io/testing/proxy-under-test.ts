import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastName, readLocalName } from '@l4d/kit/ffi/event-socket.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { type ProxyDesiredInput, parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import {
  defaultLimits,
  defaultListenerLimits,
  type ListenerLimits,
  type ProxyLimits,
} from '../../core/limits.ts';
import { compilePolicy } from '../../core/policy.ts';
import { listenerStatus } from '../counters.ts';
import { type Front, startFront } from '../front.ts';
import { bindLoopback } from '../listening-socket.ts';
import type { ResolveName } from '../resolve-name.ts';

/** What a test's backend does with a connection. */
export type BackendScript = (socket: Socket, request: string) => void;

/** A proxy on loopback in this process, with one backend that does what its `script` says. */
export interface ProxyUnderTest {
  readonly front: Front;
  readonly port: number;
  readonly backend: {
    /** Called with everything that a connection has sent so far, at each piece. */
    script: BackendScript;
    /** Connections that were ever opened, and those that are open. */
    readonly opened: number;
    readonly open: ReadonlySet<Socket>;
  };
  client(): Promise<TestClient>;
  status(): ReturnType<typeof listenerStatus>;
  stop(): Promise<void>;
}

/** A client's connection, and what it got. */
export interface TestClient {
  readonly socket: Socket;
  readonly text: string;
  /** `end`, `reset`, or undefined while it is open. */
  readonly ended: 'end' | 'reset' | undefined;
  send(text: string): void;
  /** Resolves with all text when it matches; rejects after 30 s. */
  got(pattern: RegExp): Promise<string>;
  /** Resolves with how the connection has ended. */
  over(): Promise<'end' | 'reset'>;
}

/** Of a listener, besides what every test has. */
export interface ListenerParts {
  readonly mode?: NonNullable<ProxyDesiredInput['listeners'][number]['mode']>;
  readonly idleMs?: number;
  readonly keepAliveMs?: number;
  readonly destinations?: NonNullable<ProxyDesiredInput['listeners'][number]['destinations']>;
  /** In place of name servers. */
  readonly resolve?: ResolveName;
  readonly routes?: NonNullable<ProxyDesiredInput['listeners'][number]['routes']>;
  /** In place of the scripted backend's pool. */
  readonly pools?: NonNullable<ProxyDesiredInput['listeners'][number]['pools']>;
  readonly tls?: NonNullable<ProxyDesiredInput['listeners'][number]['tls']>;
  readonly redirectToHttps?: number;
  readonly backendTls?: NonNullable<
    NonNullable<ProxyDesiredInput['listeners'][number]['pools']>[number]['tls']
  >;
  /** In place of the scripted one's. */
  readonly backendPort?: number;
  /** Whatever else the listener is declared with. */
  readonly listener?: Partial<ProxyDesiredInput['listeners'][number]>;
}

/** Starts proxy and backend. */
export async function startProxyUnderTest(
  limits: Partial<ProxyLimits & ListenerLimits> = {},
  options: { readonly responseMs?: number } & ListenerParts = {},
): Promise<ProxyUnderTest> {
  const open = new Set<Socket>();
  const backend = { script: (() => undefined) as BackendScript, opened: 0, open };
  const server = createServer((socket) => {
    backend.opened += 1;
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => undefined);
    let request = '';
    socket.on('data', (piece) => {
      request += piece.toString('latin1');
      backend.script(socket, request);
      // One request after another: the next begins with nothing.
      if (request.includes('\r\n\r\n')) request = '';
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const fd = bindLoopback(4);
  const front = startFront(
    createLogger('l7-test'),
    {
      ...defaultLimits,
      // The clients are in the same thread.
      loopWaitMs: 1,
      drainIdleMs: 0,
      ...limits,
    },
    options.resolve,
  );
  front.serve([fd]);
  const port = portOf(fd);
  const desired = parseProxyDesired({
    listeners: [
      {
        name: 'test',
        address: '127.0.0.1',
        port,
        mode: options.mode,
        routes: options.routes,
        destinations: options.destinations,
        tls: options.tls,
        redirectToHttps: options.redirectToHttps,
        pools: options.pools ?? [
          {
            name: 'default',
            tls: options.backendTls,
            backends: [
              { address: '127.0.0.1', port: options.backendPort ?? (server.address() as AddressInfo).port },
            ],
          },
        ],
        timeouts: {
          connectMs: 1000,
          responseMs: options.responseMs ?? 60_000,
          idleMs: options.idleMs,
          keepAliveMs: options.keepAliveMs,
        },
        ...options.listener,
      },
    ],
  });
  if (!desired.ok) throw new Error(JSON.stringify(desired.error));
  front.usePolicy(compilePolicy(desired.value, undefined, { ...defaultListenerLimits, ...limits }));
  return {
    front,
    port,
    backend,
    client: () => startClient(port),
    status() {
      const [listener] = [...front.table.values()];
      if (listener === undefined) throw new Error('no listener');
      return listenerStatus(listener, front.counters, front.tls.get(listener.key)?.status);
    },
    async stop() {
      await front.drain();
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

function portOf(fd: number): number {
  readLocalName(fd);
  const name = lastName();
  return name.charCodeAt(0) * 256 + name.charCodeAt(1);
}

async function startClient(port: number): Promise<TestClient> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const state = { text: '', ended: undefined as 'end' | 'reset' | undefined };
  socket.on('data', (piece) => {
    state.text += piece.toString('latin1');
  });
  socket.on('end', () => {
    state.ended ??= 'end';
  });
  socket.on('error', () => {
    state.ended ??= 'reset';
  });
  await once(socket, 'connect');
  return {
    socket,
    get text() {
      return state.text;
    },
    get ended() {
      return state.ended;
    },
    send: (text) => void socket.write(text, 'latin1'),
    async got(pattern) {
      await until(
        () => pattern.test(state.text),
        () => `${pattern} in ${JSON.stringify(state.text.slice(0, 2000))}`,
      );
      return state.text;
    },
    async over() {
      await until(
        () => state.ended !== undefined,
        () => `an end; there is ${JSON.stringify(state.text.slice(0, 2000))}`,
      );
      socket.destroy();
      return state.ended ?? 'end';
    },
  };
}

/** Waits until something holds; rejects after 30 s. */
export async function until(holds: () => boolean, what: () => string = () => 'it holds'): Promise<void> {
  const end = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within 30 s: ${what()}`);
    await sleep(5);
  }
}

/** Sockets that this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
