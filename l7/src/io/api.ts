import { type ProxyDesired, type ProxyStatus, parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';

/** Desired state for 10,000 VIPs and 100,000 backends takes about 10 MB. */
const maxBodyBytes = 64 * 1024 * 1024;

/** What the API needs of the proxy. */
export interface ApiTarget {
  /** Takes a new desired state; returns its revision. */
  apply(desired: ProxyDesired): Promise<number>;
  status(): Promise<ProxyStatus>;
  /** Replaces all workers; returns how many. Rejects with the reason when one does not come up. */
  renew(): Promise<number>;
  /** Ends this process a moment later; its workers serve on and are the next one's. */
  leave(): void;
}

/** The API of kit/proxy-api.ts as a fetch handler. */
export function createApi(target: ApiTarget): Hono {
  const api = new Hono();
  api.use(bodyLimit({ maxSize: maxBodyBytes, onError: () => problem(413, 'the body is too large') }));
  api.put('/v1/desired', async (context) => {
    let document: unknown;
    try {
      document = JSON.parse(await context.req.text());
    } catch (error) {
      return problem(400, 'the body is not JSON', [{ path: '', message: String(error) }]);
    }
    const parsed = parseProxyDesired(document);
    if (!parsed.ok) return problem(400, 'the desired state is refused; nothing was changed', parsed.error);
    return context.json({ revision: await target.apply(parsed.value) });
  });
  api.get('/v1/status', async (context) => context.json(await target.status()));
  api.post('/v1/renew', async (context) => {
    try {
      return context.json({ renewed: await target.renew() });
    } catch (error) {
      return problem(503, (error as Error).message);
    }
  });
  api.post('/v1/leave', (context) => {
    target.leave();
    return context.json({ pid: process.pid });
  });
  api.notFound(() => problem(404, 'there is no such resource'));
  return api;
}

function problem(
  status: number,
  detail: string,
  problems: readonly { path: string; message: string }[] = [],
): Response {
  const titles: Record<number, string> = {
    400: 'Bad Request',
    404: 'Not Found',
    413: 'Content Too Large',
    503: 'Service Unavailable',
  };
  const body = { title: titles[status] ?? 'Error', detail, problems };
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/problem+json' },
  });
}
