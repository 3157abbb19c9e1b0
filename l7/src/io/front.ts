import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  formatIpAddress,
  fromMappedBytes,
  type IpAddress,
  parseIpAddress,
  toMappedBytes,
} from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { mayConnect } from '../core/access.ts';
import { upgradeProtocol } from '../core/headers.ts';
import * as limits from '../core/limits.ts';
import { listenerKey, type PolicyTable } from '../core/policy.ts';
import { parserRefusal, type Refusal, refusal, refusalMessage } from '../core/refusal.ts';
import { type Counters, countResponse, type ListenerCounters, listenerCounters } from './counters.ts';
import { runExchange } from './exchange.ts';

/** What the front asks, at every connection and request anew, so that a new state holds at once. */
export interface FrontState {
  table: PolicyTable;
  readonly counters: Counters;
  /** Connections for an address and port without a listener. */
  unknownConnections: number;
  /** Every further answer ends its connection. */
  draining: boolean;
}

/** The clients' side: two HTTP servers on sockets that the kernel hands connections to. */
export interface Front {
  /** Takes connections in from now on. */
  listen(sockets: readonly [number, number]): Promise<void>;
  /** Stops taking connections in; resolves when the last has ended, or breaks them off in the end. */
  drain(): Promise<void>;
}

/** A connection that was let in. */
interface Connection {
  readonly listenerKey: string;
  readonly clientAddress: string;
  readonly counters: ListenerCounters;
  /** The last request's answer. */
  last: ServerResponse | undefined;
  /** Answers that are not finished. */
  open: number;
  refused: boolean;
  /** What came after the open requests cannot be read: no more than their answers. */
  ending: boolean;
}

/** Makes the front; it does nothing before `listen`. */
export function createFront(state: FrontState, log: Logger): Front {
  const connections = new Map<Duplex, Connection>();
  const agent = new Agent({
    keepAlive: true,
    maxFreeSockets: limits.maxIdleUpstream,
    timeout: limits.upstreamIdleMs,
    scheduling: 'lifo',
  });

  /** Decides on a connection before a byte of it is read; false: it was reset. */
  function admit(socket: Socket): boolean {
    const local = normalizedAddress(socket.localAddress);
    const client = normalizedAddress(socket.remoteAddress);
    // The client can be gone already; then the socket has no addresses.
    if (local === undefined || client === undefined) return reject(socket);
    const key = listenerKey(local, socket.localPort ?? 0);
    const listener = state.table.get(key);
    if (listener === undefined) {
      state.unknownConnections += 1;
      log.debug({ address: socket.localAddress, port: socket.localPort }, 'connection without a listener');
      return reject(socket);
    }
    const counters = listenerCounters(state.counters, key);
    if (!mayConnect(listener.access, client)) {
      counters.denied += 1;
      return reject(socket);
    }
    counters.connections += 1;
    counters.activeConnections += 1;
    connections.set(socket, {
      listenerKey: key,
      clientAddress: formatIpAddress(client),
      counters,
      last: undefined,
      open: 0,
      refused: false,
      ending: false,
    });
    socket.once('close', () => {
      counters.activeConnections -= 1;
      connections.delete(socket);
    });
    return true;
  }

  function exchange(
    request: IncomingMessage,
    response: ServerResponse,
    more: { readonly expectsContinue?: boolean; readonly tunnel?: { socket: Socket; head: Buffer } },
  ): void {
    const connection = connections.get(request.socket);
    if (connection === undefined) return void request.socket.destroy();
    connection.last = response;
    connection.open += 1;
    response.once('close', () => {
      connection.open -= 1;
      if (connection.ending && connection.open === 0) request.socket.destroySoon();
    });
    response.sendDate = false;
    if (state.draining) response.shouldKeepAlive = false;
    void runExchange({
      request,
      response,
      listener: state.table.get(connection.listenerKey),
      counters: connection.counters,
      clientAddress: connection.clientAddress,
      agent,
      expectsContinue: more.expectsContinue === true,
      continued: false,
      tunnel: more.tunnel,
    });
  }

  function onTunnelRequest(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (!(socket instanceof Socket)) return void socket.destroy();
    socket.on('error', () => socket.destroy());
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.end());
    exchange(request, response, { tunnel: { socket, head } });
  }

  /** Answers on the bare connection and closes it. */
  function refuseConnection(socket: Duplex, answer: Refusal): void {
    const connection = connections.get(socket);
    if (connection === undefined || connection.refused || !socket.writable) return void socket.destroy();
    connection.refused = true;
    countResponse(connection.counters, answer.status);
    socket.end(refusalMessage(answer), 'latin1');
    setTimeout(() => socket.destroy(), limits.lingerMs).unref();
  }

  function onParserError(error: Error & { code?: string }, socket: Duplex): void {
    const connection = connections.get(socket);
    if (connection === undefined || error.code === 'ECONNRESET') return void socket.destroy();
    if (connection.refused || connection.ending) return;
    const { last, open } = connection;
    if (open > 0 && last?.req.complete) {
      // The requests before it are whole; their answers go out, and nothing after them.
      connection.ending = true;
      return;
    }
    // The body of a request that is being answered, or has others before it: no answer to it
    // could be told from theirs.
    if (open > 1 || (open === 1 && last?.headersSent)) return void socket.destroy();
    refuseConnection(socket, parserRefusal(error.code ?? ''));
  }

  const options = {
    insecureHTTPParser: false,
    maxHeaderSize: limits.maxHeadBytes,
    headersTimeout: limits.headTimeoutMs,
    // No bound on a whole upload, which may be long and slow: its silences are bounded (attempt.ts).
    requestTimeout: 0,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: 2000,
    // Host is checked with the target, where the answer is counted and explained.
    requireHostHeader: false,
    noDelay: true,
    shouldUpgradeCallback: (request: IncomingMessage) =>
      upgradeProtocol(request.rawHeaders, request.httpVersion) !== undefined,
  };

  function createFamilyServer(): Server {
    const server = createServer(options);
    server.maxRequestsPerSocket = limits.maxRequestsPerConnection;
    // Fields beyond a count would be dropped in silence, framing among them; bytes bound them.
    server.maxHeadersCount = 0;
    const [serve] = server.listeners('connection');
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => {
      if (admit(socket)) serve?.call(server, socket);
    });
    server.on('request', (request, response) => exchange(request, response, {}));
    server.on('checkContinue', (request, response) => exchange(request, response, { expectsContinue: true }));
    server.on('upgrade', onTunnelRequest);
    server.on('connect', (_request, socket) => {
      // Node has let go of this connection: an error without a listener would end the process.
      socket.on('error', () => socket.destroy());
      const connection = connections.get(socket);
      if (connection !== undefined) connection.counters.requests += 1;
      refuseConnection(socket, refusal(405, 'this is no forward proxy'));
    });
    server.on('clientError', onParserError);
    return server;
  }

  const servers = [createFamilyServer(), createFamilyServer()] as const;
  return {
    async listen(sockets) {
      for (const [index, server] of servers.entries()) {
        server.listen({ fd: sockets[index], backlog: 4096 });
        await once(server, 'listening');
      }
    },
    async drain() {
      state.draining = true;
      const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
      const breakOff = setTimeout(() => {
        for (const socket of connections.keys()) socket.destroy();
      }, limits.drainMs);
      await Promise.all(closed);
      clearTimeout(breakOff);
      agent.destroy();
    },
  };
}

function reject(socket: Socket): false {
  socket.on('error', () => undefined);
  socket.resetAndDestroy();
  return false;
}

/** An address as a socket tells it: without zone, IPv4-mapped ones as IPv4. */
function normalizedAddress(text: string | undefined): IpAddress | undefined {
  const parsed = parseIpAddress(text?.split('%', 1)[0] ?? '');
  return parsed.ok ? fromMappedBytes(toMappedBytes(parsed.value)) : undefined;
}
