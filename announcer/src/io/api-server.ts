import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Logger } from '@l4d/kit/logger.ts';
import { listenOnSocket } from '@l4d/kit/run-folder.ts';
import type { ApiProblem } from '../core/api-problem.ts';
import type { Announcer } from './announcer.ts';
import { type Answer, coreRoutes } from './api-routes.ts';
import { handoverPath, handoverRoute, type ProcessControl } from './handover/handover-route.ts';

/** Longest request: a million prefixes with room to spare. */
const maxBodyBytes = 256 * 1024 * 1024;

/**
 * Answers the API's requests. What announces and withdraws is taken from the socket as it comes; what only shows
 * something is loaded when it is first asked for.
 */
export function createApi(announcer: Announcer, logger: Logger, control: ProcessControl): RequestListener {
  const routes = new Map([
    ...coreRoutes(announcer, control.leave),
    [`POST ${handoverPath}`, handoverRoute(announcer, logger, control)],
  ]);
  let views: Promise<RequestListener> | undefined;

  const fail = (response: ServerResponse, error: unknown) => {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    logger.error({ error: { message, stack } }, 'a request failed');
    if (response.headersSent) response.destroy();
    else send(response, problem(500, 'The announcer failed', message));
  };

  return (request, response) => {
    if (control.isFrozen()) {
      send(response, problem(503, 'The sessions are being handed over', 'the successor answers in a moment'));
      return;
    }
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const route = routes.get(`${request.method} ${path}`);
    if (route === undefined) {
      views ??= import('./view-routes.ts').then(({ viewListener }) => viewListener(announcer, logger));
      views.then((listener) => listener(request, response)).catch((error) => fail(response, error));
      return;
    }
    readBody(
      request,
      (body) => {
        try {
          if (body === undefined) {
            send(response, problem(413, 'The request is too long', `more than ${maxBodyBytes} octets`));
            return;
          }
          const answer = route(body, query);
          if (answer instanceof Promise) {
            answer.then((late) => send(response, late)).catch((error) => fail(response, error));
          } else send(response, answer);
        } catch (error) {
          fail(response, error);
        }
      },
      // Sessions must not end with a client that leaves in the middle of its request.
      (error) => logger.debug({ error }, 'a client left in the middle of its request'),
    );
  };
}

/** Serves on a unix socket that only the owner may use. Rejects with the socket's error. */
export async function serveApi(listener: RequestListener, socketPath: string): Promise<Server> {
  const server = createServer(listener);
  await listenOnSocket(server, socketPath);
  return server;
}

function problem(status: number, title: string, detail: string): Answer {
  const body: ApiProblem = { title, detail, problems: [] };
  return { status, body };
}

function send(response: ServerResponse, { status, body }: Answer): void {
  if (body === undefined) {
    response.writeHead(status).end();
    return;
  }
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': status < 400 ? 'application/json' : 'application/problem+json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** Undefined: the body is longer than the limit. */
function readBody(
  request: IncomingMessage,
  done: (body: Uint8Array | undefined) => void,
  gone: (error: Error) => void,
): void {
  let chunks: Uint8Array[] = [];
  let size = 0;
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > maxBodyBytes) chunks = [];
    else chunks.push(chunk);
  });
  request.on('error', gone);
  request.on('end', () => {
    const [first] = chunks;
    if (size > maxBodyBytes) done(undefined);
    else done(first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks));
  });
}
