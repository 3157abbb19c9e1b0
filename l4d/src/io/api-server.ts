/**
 * The admin API's listener: a unix socket that only its owner may use, and on request /metrics on TCP.
 */
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { createAdaptorServer } from '@hono/node-server';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { Endpoint } from '../core/desired/endpoint.ts';
import { type ApiOptions, createApi } from './api/app.ts';

/** A running listener. */
export interface Listener {
  close(): Promise<void>;
}

/**
 * Serves the API on a unix socket of mode 0600. A socket that nobody answers on is replaced; throws an
 * OperatorError when another daemon answers on it, or when something that is no socket is in its place.
 */
export async function startApiServer(
  options: ApiOptions & { readonly socketPath: string },
): Promise<Listener> {
  const { socketPath } = options;
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o755 });
  await removeStaleSocket(socketPath);
  const server = createAdaptorServer({ fetch: createApi(options).fetch }) as Server;
  // The socket is made inside listen(): nobody else may connect even before the chmod.
  const umask = process.umask(0o177);
  let listening: Promise<void>;
  try {
    listening = listen(server, () => server.listen(socketPath));
  } finally {
    process.umask(umask);
  }
  await listening;
  await chmod(socketPath, 0o600);
  return { close: () => close(server) };
}

/** Serves /metrics alone on a TCP address. Throws an OperatorError when it cannot be listened on. */
export async function startMetricsServer(
  endpoint: Endpoint,
  metrics: () => string | Promise<string>,
): Promise<Listener & { readonly port: number }> {
  const answer: RequestListener = (request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('only GET /metrics is here\n');
      return;
    }
    Promise.resolve()
      .then(metrics)
      .then(
        (text) =>
          response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text),
        () => response.writeHead(500).end(),
      );
  };
  const server = createServer(answer);
  const host = formatIpAddress(endpoint.address);
  try {
    await listen(server, () => server.listen({ host, port: endpoint.port }));
  } catch (error) {
    throw new OperatorError(
      `host.metrics: cannot listen on ${host} port ${endpoint.port}: ${messageOf(error)}`,
    );
  }
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : endpoint.port,
    close: () => close(server),
  };
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket())
    throw new OperatorError(`${path} is there and is not a socket: remove it`, exitCode.failure);
  if (await answers(path)) {
    throw new OperatorError(`another l4d answers on ${path}: stop it first`, exitCode.alreadyRunning);
  }
  await unlink(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.on('connect', () => done(true));
    socket.on('error', () => done(false));
  });
}

function listen(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    start();
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
