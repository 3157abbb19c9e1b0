import type { RequestListener } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import type { Logger } from '@l4d/kit/logger.ts';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { z } from 'zod';
import { type ApiProblem, describeProblems } from '../core/api-problem.ts';
import type { AnnouncerSummary } from '../core/api-status.ts';
import { announcerMetrics } from '../core/metric-families.ts';
import { metricText } from '../core/metric-text.ts';
import { entryToJson, type RecordPage } from '../core/record-json.ts';
import { vrrpMetrics } from '../core/vrrp/metrics.ts';
import type { Announcer } from './announcer.ts';
import type { Peer } from './peer.ts';

/** Routes and entries of one answer, unless fewer are asked for. */
const pageSize = 1000;

const count = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const pageSchema = z.strictObject({
  offset: count.default(0),
  limit: count.max(10_000).default(pageSize),
});
const recordSchema = z.strictObject({ after: count.default(0), limit: count.max(10_000).default(pageSize) });
const clearSchema = z.strictObject({ soft: z.boolean().default(false) });

/** Longest request of those that have a body. */
const maxBodyBytes = 64 * 1024;

/** Answers what operators look at, and whatever there is no operation for. */
export function viewListener(announcer: Announcer, logger: Logger): RequestListener {
  const app = new Hono();
  app.use(bodyLimit({ maxSize: maxBodyBytes }));
  addViewRoutes(app, announcer);
  app.onError((error) => {
    logger.error({ error: { message: error.message, stack: error.stack } }, 'a request failed');
    return problem(500, { title: 'The announcer failed', detail: error.message, problems: [] });
  });
  app.notFound((context) => {
    const detail = `${context.req.method} ${context.req.path}`;
    return problem(404, { title: 'There is no such operation', detail, problems: [] });
  });
  return getRequestListener(app.fetch);
}

/** What operators look at beside the status: routes, the flight record, metrics; and the reset of a session. */
function addViewRoutes(app: Hono, announcer: Announcer): void {
  app.get('/v1/other-paths', (context) => context.json({ paths: announcer.otherPaths() }));
  app.get('/v1/peers/:address/advertised', (context) =>
    withPeer(context, announcer, (peer) =>
      withQuery(context, pageSchema, ({ offset, limit }) => peer.advertised(offset, limit)),
    ),
  );
  app.get('/v1/peers/:address/received', (context) =>
    withPeer(context, announcer, (peer) =>
      withQuery(context, pageSchema, ({ offset, limit }) => peer.received(offset, limit)),
    ),
  );
  app.get('/v1/peers/:address/record', (context) => {
    const address = context.req.param('address');
    const record = announcer.record(address);
    if (record === undefined) return noPeer(address);
    return withQuery(context, recordSchema, ({ after, limit }): RecordPage => {
      const entries = record.entries(after, limit + 1);
      return {
        peer: address,
        present: announcer.peer(address) !== undefined,
        evicted: record.evicted(),
        newest: record.newest(),
        entries: entries.slice(0, limit).map((entry) => entryToJson(entry, announcer.wallTimeOf)),
        more: entries.length > limit,
      };
    });
  });
  app.get('/v1/changes', () =>
    Response.json({
      changes: announcer
        .status()
        .peers.flatMap(({ address }) =>
          (announcer.peer(address)?.changes() ?? []).map((change) => ({ peer: address, ...change })),
        ),
    }),
  );
  app.post('/v1/peers/:address/clear', async (context) => {
    const text = await context.req.text();
    let body: unknown;
    try {
      body = text === '' ? {} : JSON.parse(text);
    } catch (error) {
      return problem(400, { title: 'The request is not JSON', detail: String(error), problems: [] });
    }
    const parsed = clearSchema.safeParse(body);
    if (!parsed.success) return problem(400, describeProblems(parsed.error));
    return withPeer(context, announcer, (peer) => {
      const state = peer.status().state;
      if (parsed.data.soft && state !== 'Established') {
        const detail = `the session is ${state}: there is nobody to send routes to`;
        return problem(409, { title: 'The session is not established', detail, problems: [] });
      }
      peer.clear(parsed.data.soft);
      return Response.json({ peer: peer.config.address, soft: parsed.data.soft, was: state });
    });
  });
  app.get('/metrics', () => new Response(metricText(metricsOf(announcer.status())), metricHeaders));
}

const metricHeaders = { headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' } };

function withPeer(context: Context, announcer: Announcer, answer: (peer: Peer) => Response): Response {
  const address = context.req.param('address') ?? '';
  const peer = announcer.peer(address);
  return peer === undefined ? noPeer(address) : answer(peer);
}

function withQuery<Schema extends z.ZodType>(
  context: Context,
  schema: Schema,
  answer: (query: z.output<Schema>) => unknown,
): Response {
  const query = schema.safeParse(context.req.query());
  return query.success ? Response.json(answer(query.data)) : problem(400, describeProblems(query.error));
}

function noPeer(address: string): Response {
  return problem(404, {
    title: 'There is no such peer',
    detail: `${address} is no peer of this host (see: l4ctl bgp summary)`,
    problems: [],
  });
}

function problem(status: 400 | 404 | 409 | 500, body: ApiProblem): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/problem+json' },
  });
}

/** Of the peers, and of the virtual routers where there are any. */
function metricsOf(status: AnnouncerSummary) {
  return [...announcerMetrics(status), ...vrrpMetrics(status.vrrp ?? { routers: [] })];
}
