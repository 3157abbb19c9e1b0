/**
 * The admin API's listener: a unix socket that only its owner may use, and on request /metrics on TCP.
 */
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createAdaptorServer } from '@hono/node-server';
import { type Duration, Seconds } from '@l4d/kit/duration.ts';
import { OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { listenOnSocket } from '@l4d/kit/run-folder.ts';
import type { Endpoint } from '@l4d/kit/schema/endpoint.ts';
import { type ApiOptions, createApi, metricsType } from './api/app.ts';

/** A running listener. */
export interface Listener {
  close(): Promise<void>;
}

/** Serves the API on a unix socket of mode 0600, in a run folder that was taken. Rejects with the socket's error. */
export async function startApiServer(
  options: ApiOptions & { readonly socketPath: string },
): Promise<Listener> {
  const server = createAdaptorServer({ fetch: createApi(options).fetch }) as Server;
  await listenOnSocket(server, options.socketPath);
  return { close: () => close(server) };
}

/** How long a scraper may take nothing; those of Prometheus give up after 10 s. */
const patience = Seconds(30);

/**
 * Serves /metrics alone on a TCP address. Who takes nothing of an answer for `stalled` is left: the counters that were read for it
 * are held as long as it is not at its end. Throws an OperatorError when it cannot be listened on.
 */
export async function startMetricsServer(
  endpoint: Endpoint,
  metrics: () => AsyncIterable<string>,
  stalled: Duration = patience,
): Promise<Listener & { readonly port: number }> {
  const answer: RequestListener = (request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('only GET /metrics is here\n');
      return;
    }
    // One that breaks off is not answered further: the scraper sees that the text is not whole.
    pipeline(Readable.from(metrics()), startedBy(response), response).catch(() =>
      response.headersSent ? response.destroy() : response.writeHead(500).end(),
    );
  };
  const server = createServer(answer);
  // Sockets on which nothing moves for so long are destroyed.
  server.setTimeout(stalled);
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

/** Writes the head once there is something to answer: what fails before that is answered as a failure. */
function startedBy(response: ServerResponse) {
  return async function* (parts: AsyncIterable<string>): AsyncGenerator<string> {
    for await (const part of parts) {
      if (!response.headersSent) response.writeHead(200, metricsType);
      yield part;
    }
  };
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
