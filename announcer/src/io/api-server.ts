import { createServer, type Server } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import type { Logger } from '@l4d/kit/logger.ts';
import { listenOnSocket } from '@l4d/kit/run-folder.ts';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { z } from 'zod';
import {
  type ApiProblem,
  type Desired,
  describeProblems,
  desiredSchema,
  patchSchema,
  shutdownSchema,
  withdrawSchema,
} from '../core/api.ts';
import type { Announcer } from './announcer.ts';
import { tcpAoMissing } from './tcp-keys.ts';
import { addViewRoutes } from './view-routes.ts';

/** Longest request: a million prefixes with room to spare. */
const maxBodyBytes = 256 * 1024 * 1024;

/** The routes of the API. `onShutdown` is called once the peers have been told. */
export function createApi(announcer: Announcer, logger: Logger, onShutdown: () => void): Hono {
  const app = new Hono();
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: (context) =>
        problem(context, 413, { title: 'The request is too long', detail: '', problems: [] }),
    }),
  );
  app.put('/v1/desired', async (context) => {
    const text = await context.req.text();
    if (announcer.isCurrent(text)) return context.json({ revision: announcer.revision() });
    const body = parse(desiredSchema, text);
    if ('title' in body) return problem(context, 400, body);
    const refusal = refuseUnsupported(body.value);
    if (refusal !== undefined) return problem(context, 400, refusal);
    return context.json({ revision: announcer.put(body.value, text) });
  });
  app.patch('/v1/prefixes', async (context) => {
    const body = parse(patchSchema, await context.req.text());
    if ('title' in body) return problem(context, 400, body);
    const result = announcer.patch(body.value);
    if ('revision' in result) return context.json(result);
    return problem(context, 409, {
      title: 'The change does not fit',
      detail: result.conflict,
      problems: [],
    });
  });
  app.post('/v1/heartbeat', (context) => {
    announcer.heartbeat();
    return context.body(null, 204);
  });
  app.post('/v1/withdraw', async (context) => {
    const body = parse(withdrawSchema, await context.req.text());
    if ('title' in body) return problem(context, 400, body);
    announcer.withdraw(body.value.prefixes);
    return context.json({ revision: announcer.revision() });
  });
  app.get('/v1/status', (context) => context.json(announcer.status()));
  addViewRoutes(app, announcer);
  app.post('/v1/shutdown', async (context) => {
    const text = await context.req.text();
    const body = parse(shutdownSchema, text === '' ? '{}' : text);
    if ('title' in body) return problem(context, 400, body);
    await announcer.shutdown(body.value);
    setImmediate(onShutdown);
    return context.json({});
  });
  // A client that leaves in the middle of its request ends up here as well: sessions must not end with it.
  app.onError((error, context) => {
    logger.error({ error: { message: error.message, stack: error.stack } }, 'a request failed');
    return problem(context, 500, { title: 'The announcer failed', detail: error.message, problems: [] });
  });
  app.notFound((context) =>
    problem(context, 404, {
      title: 'There is no such operation',
      detail: `${context.req.method} ${context.req.path}`,
      problems: [],
    }),
  );
  return app;
}

/** Serves the API on a unix socket that only the owner may use. Rejects with the socket's error. */
export async function serveApi(app: Hono, socketPath: string): Promise<Server> {
  const server = createServer(getRequestListener(app.fetch));
  await listenOnSocket(server, socketPath);
  return server;
}

/** What the schema allows and this kernel cannot do. */
function refuseUnsupported(desired: Desired): ApiProblem | undefined {
  const index = desired.peers.findIndex(({ tcpAo }) => tcpAo !== undefined);
  const message = index < 0 ? undefined : tcpAoMissing();
  if (message === undefined) return undefined;
  const path = `peers[${index}].tcpAo`;
  return { title: 'The request is refused', detail: `${path}: ${message}`, problems: [{ path, message }] };
}

function parse<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
): { readonly value: z.output<Schema> } | ApiProblem {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { title: 'The request is not JSON', detail: message, problems: [{ path: '', message }] };
  }
  const result = schema.safeParse(json);
  return result.success ? { value: result.data } : describeProblems(result.error);
}

function problem(context: Context, status: 400 | 404 | 409 | 413 | 500, body: ApiProblem): Response {
  return context.body(JSON.stringify(body), status, { 'content-type': 'application/problem+json' });
}
