import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Sidecar } from '../app/sidecar.ts';

/** Body of `PUT /v1/maintenance`. */
export const maintenanceSchema = z.strictObject({
  /** All services without it. */
  service: z.string().optional(),
  on: z.boolean(),
  /** Milliseconds after which it ends by itself. */
  forMs: z.number().int().min(1).max(31_536_000_000).optional(),
  reason: z.string().max(200).optional(),
});

const maxBodyBytes = 64 * 1024;

/**
 * The announcer's API, of which a sidecar takes what shows something and the reset of a session: its state comes from
 * its file. Beside it `GET /v1/services` and `PUT /v1/maintenance`.
 */
export function sidecarListener(
  sidecar: Sidecar,
  announcerApi: RequestListener,
  wallClock: () => number,
): RequestListener {
  return (request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? '';
    if (request.method === 'GET' && path === '/v1/services') {
      answer(response, 200, sidecar.status());
    } else if (request.method === 'PUT' && path === '/v1/maintenance') {
      readText(request).then((text) => changeMaintenance(text, response));
    } else if (request.method === 'GET' || /^\/v1\/peers\/[^/]+\/clear$/.test(path)) {
      announcerApi(request, response);
    } else {
      const detail = 'what this announcer does is in its configuration: change that and send SIGHUP';
      answer(response, 409, { title: 'A sidecar takes no orders here', detail, problems: [] });
    }
  };

  function changeMaintenance(text: string | undefined, response: ServerResponse): void {
    let json: unknown;
    try {
      json = JSON.parse(text ?? '');
    } catch {
      answer(response, 400, { title: 'The request is not JSON', detail: '', problems: [] });
      return;
    }
    const body = maintenanceSchema.safeParse(json);
    if (!body.success) {
      const problems = body.error.issues.map(({ path, message }) => ({ path: path.join('.'), message }));
      const detail = problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
      answer(response, 400, { title: 'The request is refused', detail, problems });
      return;
    }
    const { service, on, forMs, reason } = body.data;
    const now = wallClock();
    const until = forMs === undefined ? undefined : now + forMs;
    sidecar.setMaintenance(service, on ? { since: now, until, reason } : undefined).then(
      (isKnown) => {
        if (isKnown) answer(response, 200, sidecar.status());
        else {
          const known = sidecar.status().services.map(({ name }) => name);
          const detail = `"${service}" is not a service here (there are: ${known.join(', ')})`;
          answer(response, 404, { title: 'Not found', detail, problems: [] });
        }
      },
      (error: Error) =>
        answer(response, 500, { title: 'It could not be kept', detail: error.message, problems: [] }),
    );
  }
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  const type = status < 400 ? 'application/json' : 'application/problem+json';
  response.writeHead(status, { 'content-type': type }).end(JSON.stringify(body));
}

/** Undefined when it is too long, or the client has left. */
async function readText(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxBodyBytes) return undefined;
      chunks.push(chunk);
    }
  } catch {
    return undefined;
  }
  return Buffer.concat(chunks).toString('utf8');
}
