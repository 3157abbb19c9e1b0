import type { ConfigProblem } from '@l4d/kit/errors.ts';
import type { Result } from '@l4d/kit/result.ts';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { ControlPort, StoredChange } from '../../core/control-port.ts';
import { encodeVip } from '../../core/desired/vip.ts';
import {
  type DesiredState,
  encodeDesiredState,
  type JsonObject,
  parseDesiredState,
  withKnownVips,
} from '../../core/desired-state.ts';
import * as edit from '../../core/edit.ts';
import { parseFlowQuery } from '../../core/forwarding/flow-query.ts';
import { openApiDocument } from '../../core/openapi.ts';
import { maskSecrets } from '../../core/secret-masking.ts';
import { jsonParts } from './json-parts.ts';
import { guarded, invalid, refusal } from './problem.ts';

/** Largest body read; 10,000 VIPs with ten backends each encode to about 12 MiB. */
const maxBodyBytes = 64 * 1024 * 1024;

/** How often an edit is made again upon a state that changed under it. */
const maxEditAttempts = 5;

/** What the API is built from. */
export interface ApiOptions {
  readonly port: ControlPort;
  /** Version of the daemon, for the OpenAPI document. */
  readonly version: string;
  /** Told of errors that are ours; the caller gets a 500 without the details. */
  readonly onInternalError?: (error: Error) => void;
  /** For tests. */
  readonly maxBodyBytes?: number;
}

/** The admin API, without a listener. */
export function createApi(options: ApiOptions): Hono {
  const { port } = options;
  const limit = options.maxBodyBytes ?? maxBodyBytes;
  const app = new Hono();
  const tooLarge = () => refusal('too-large', `allowed: ${limit} bytes`);
  app.use(bodyLimit({ maxSize: limit, onError: tooLarge }));
  app.onError((error) => {
    options.onInternalError?.(error);
    return refusal('internal', 'the daemon could not do this; its log says why');
  });
  app.notFound((context) => refusal('not-found', `there is no ${context.req.method} ${context.req.path}`));

  desiredRoutes(app, port);
  vipRoutes(app, port);
  peerAndHostRoutes(app, port);
  app.get('/v1/status', async () => {
    const { vips, ...rest } = await port.status();
    return inParts(jsonParts(rest, { vips }), 'application/json');
  });
  app.get('/v1/flows', (context) => listFlows(context, port));
  app.get('/v1/bgp', async () => Response.json(await port.bgp()));
  app.get('/v1/vrrp', async () => Response.json(await port.vrrp()));
  // What the announcer knows of one peer: its answer is passed on as it is.
  for (const what of ['advertised', 'received', 'record']) {
    app.get(`/v1/bgp/peers/:address/${what}`, (context) => passOn(context, port, what));
  }
  app.post('/v1/bgp/peers/:address/clear', (context) => passOn(context, port, 'clear'));
  app.post('/v1/reconcile', async () => Response.json(await port.reconcile()));
  app.post('/v1/stop', async (context) => {
    const body = await context.req.text();
    const request = body === '' ? { ok: true as const, value: {} } : parseStop(body);
    if (!request.ok) return invalid(request.error);
    await port.stop({ ...request.value, force: isForced(context) });
    return Response.json({ stopping: true }, { status: 202 });
  });
  app.get('/v1/openapi.json', () => Response.json(openApiDocument(options.version)));
  app.get('/metrics', () => inParts(port.metrics(), metricsType['content-type']));
  return app;
}

/** Of the text that Prometheus takes. */
export const metricsType = { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' };

/** An answer that is sent as it is made: there may be much of it. */
function inParts(text: AsyncIterable<string>, contentType: string): Response {
  return new Response(ReadableStream.from(bytesOf(text)), { headers: { 'content-type': contentType } });
}

async function* bytesOf(text: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  for await (const part of text) yield Buffer.from(part);
}

async function listFlows(context: Context, port: ControlPort): Promise<Response> {
  const query = parseFlowQuery(context.req.query());
  if (!query.ok) return invalid(query.error);
  const { vip } = query.value;
  return (vip === undefined ? undefined : vipGone(port, vip)) ?? Response.json(await port.flows(query.value));
}

async function passOn(context: Context, port: ControlPort, what: string): Promise<Response> {
  const { method, url } = context.req;
  const address = encodeURIComponent(context.req.param('address') ?? '');
  let body: unknown;
  if (method !== 'GET') {
    const read = await readJson(context);
    if (!read.ok) return read.error;
    body = read.value;
  }
  const path = `/v1/peers/${address}/${what}${new URL(url).search}`;
  const answer = await port.askAnnouncer(method, path, body);
  if (answer === undefined) return refusal('no-announcer', 'the announcer does not answer');
  const { status } = answer;
  if (status < 200 || status >= 300) {
    const { detail } = answer.body as { readonly detail?: string };
    return refusal(status === 404 ? 'not-found' : 'refused-by-announcer', detail ?? '');
  }
  return Response.json(answer.body);
}

function desiredRoutes(app: Hono, port: ControlPort): void {
  app.get('/v1/desired', (context) => {
    const { revision, state } = port.desired();
    const desired = encodeDesiredState(state);
    const withSecrets = context.req.query('secrets') === 'show';
    return Response.json(
      { revision, desired: withSecrets ? desired : maskSecrets(desired) },
      { headers: { etag: `"${revision}"` } },
    );
  });
  app.put('/v1/desired', (context) =>
    change(context, port, 'replace all', (state, body) => {
      const next = parseDesiredState(body, state);
      return next.ok ? { ok: true, value: withKnownVips(state, next.value) } : next;
    }),
  );
  app.post('/v1/plan', async (context) => {
    const body = await readJson(context);
    if (!body.ok) return body.error;
    const next = parseDesiredState(body.value, port.desired().state);
    return next.ok ? Response.json(await port.plan(next.value)) : invalid(next.error);
  });
  app.post('/v1/undo', async (context) => {
    const undone = await port.undo({ force: isForced(context) });
    if (undone.ok) return Response.json(withoutEmpty(undone.value));
    if (undone.error.kind === 'stale') return stale(undone.error.revision);
    if (undone.error.kind === 'guarded') return guarded(undone.error.reasons);
    if (undone.error.kind === 'refused') return invalid(undone.error.problems);
    return refusal('nothing-to-undo', 'no earlier desired state is kept');
  });
}

function vipRoutes(app: Hono, port: ControlPort): void {
  app.get('/v1/vips', async () => inParts(await vipViews(port), 'application/json'));
  app.post('/v1/vips', (context) =>
    change(context, port, 'vip add', edit.addVip, 201, (state) => ({ name: state.vips.at(-1)?.name })),
  );
  app.delete('/v1/vips', (context) => {
    const names = [...new Set(context.req.queries('name') ?? [])];
    if (names.length === 0)
      return invalid([{ path: 'name', message: 'is missing (allowed: ?name=A&name=B)' }]);
    for (const name of names) {
      const gone = vipGone(port, name);
      if (gone !== undefined) return gone;
    }
    return apply(context, port, `vip rm ${names.join(' ')}`, (state) => edit.removeVips(state, names));
  });
  app.get('/v1/vips/:name', async (context) => {
    const found = edit.findVip(port.desired().state, context.req.param('name'));
    if (!found.ok) return missing(found.error);
    const { vip } = found.value;
    const status = (await port.status()).vips.find((running) => running.name === vip.name);
    return Response.json({ revision: port.desired().revision, vip: encodeVip(vip), status });
  });
  app.patch('/v1/vips/:name', (context) => {
    const name = context.req.param('name');
    const gone = vipGone(port, name);
    return (
      gone ?? change(context, port, `vip change ${name}`, (state, body) => edit.changeVip(state, name, body))
    );
  });
  app.delete('/v1/vips/:name', (context) => {
    const name = context.req.param('name');
    return (
      vipGone(port, name) ?? apply(context, port, `vip rm ${name}`, (state) => edit.removeVip(state, name))
    );
  });
  app.post('/v1/vips/:name/backends', (context) => {
    const name = context.req.param('name');
    const add: Edit = (state, body) => edit.addBackend(state, name, body);
    return vipGone(port, name) ?? change(context, port, `backend add to ${name}`, add, 201);
  });
  app.patch('/v1/vips/:name/backends/:address', (context) => {
    const { name, address } = context.req.param();
    const gone = vipGone(port, name, address);
    const note = `backend change ${address} of ${name}`;
    return (
      gone ?? change(context, port, note, (state, body) => edit.changeBackend(state, name, address, body))
    );
  });
  app.delete('/v1/vips/:name/backends/:address', (context) => {
    const { name, address } = context.req.param();
    const gone = vipGone(port, name, address);
    const note = `backend rm ${address} of ${name}`;
    return gone ?? apply(context, port, note, (state) => edit.removeBackend(state, name, address));
  });
}

function peerAndHostRoutes(app: Hono, port: ControlPort): void {
  app.get('/v1/peers', () => {
    const { revision, state } = port.desired();
    return Response.json({ revision, peers: maskSecrets(encodeDesiredState(state)).peers });
  });
  app.post('/v1/peers', (context) => change(context, port, 'peer add', edit.addPeer, 201));
  app.delete('/v1/peers/:address', (context) => {
    const address = context.req.param('address');
    const found = edit.findPeer(port.desired().state, address);
    if (!found.ok) return missing(found.error);
    return apply(context, port, `peer rm ${address}`, (state) => edit.removePeer(state, address));
  });
  app.get('/v1/host', () => {
    const { revision, state } = port.desired();
    return Response.json({ revision, host: encodeDesiredState(state).host });
  });
  app.patch('/v1/host', (context) => change(context, port, 'host change', edit.changeHost));
  app.put('/v1/host/draining', (context) =>
    change(context, port, 'host draining', (state, body) => {
      const { draining, ...rest } = (body ?? {}) as { readonly [key: string]: unknown };
      const unknown = Object.keys(rest)[0];
      if (typeof draining === 'boolean' && unknown === undefined) return edit.changeHost(state, { draining });
      const message = 'the body is { "draining": true } or { "draining": false }';
      return { ok: false, error: [{ path: unknown ?? 'draining', message }] };
    }),
  );
}

/** The body of a planned stop: `{ "text": "why" }`, told to the operators of the routers (RFC 9003). */
function parseStop(body: string): Result<{ readonly text?: string }, readonly ConfigProblem[]> {
  const refused = (path: string, message: string) => ({ ok: false as const, error: [{ path, message }] });
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return refused('', 'the body is not JSON (allowed: { "text": "why" }, or nothing)');
  }
  const { text, ...rest } = (json ?? {}) as { readonly [key: string]: unknown };
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) return refused(unknown, 'is not known (allowed: text)');
  if (text === undefined) return { ok: true, value: {} };
  if (typeof text === 'string' && new TextEncoder().encode(text).length <= 255)
    return { ok: true, value: { text } };
  return refused('text', 'is not a text of at most 255 octets (RFC 9003)');
}

type Edit = (state: DesiredState, body: unknown) => Result<DesiredState, readonly ConfigProblem[]>;

/** Reads the body, edits, stores, answers the new revision and what `more` tells of the new state. */
async function change(
  context: Context,
  port: ControlPort,
  note: string,
  edited: Edit,
  status = 200,
  more?: (stored: DesiredState) => JsonObject,
): Promise<Response> {
  const body = await readJson(context);
  return body.ok
    ? apply(context, port, note, (state) => edited(state, body.value), status, more)
    : body.error;
}

/** Edits and stores; upon a state that changed meanwhile it edits again, unless the caller named a revision. */
async function apply(
  context: Context,
  port: ControlPort,
  note: string,
  edited: (state: DesiredState) => ReturnType<Edit>,
  status = 200,
  more: (stored: DesiredState) => JsonObject = () => ({}),
): Promise<Response> {
  const wanted = ifMatch(context);
  if (!wanted.ok) return wanted.error;
  let revision = 0;
  for (let attempt = 0; attempt < maxEditAttempts; attempt++) {
    const current = port.desired();
    revision = current.revision;
    if (wanted.value !== undefined && wanted.value !== revision) return stale(revision);
    const next = edited(current.state);
    if (!next.ok) return invalid(next.error);
    const stored = await port.replace(next.value, { ifRevision: revision, note, force: isForced(context) });
    if (stored.ok) {
      return Response.json({ ...withoutEmpty(stored.value), ...more(next.value) }, { status });
    }
    if (stored.error.kind === 'guarded') return guarded(stored.error.reasons);
    if (stored.error.kind === 'refused') return invalid(stored.error.problems);
    revision = stored.error.revision;
  }
  return stale(revision);
}

/** A change as it is told: warnings only when there are any. */
function withoutEmpty({ warnings, ...rest }: StoredChange): JsonObject {
  return { ...rest, ...(warnings.length > 0 ? { warnings } : {}) };
}

function ifMatch(context: Context): Result<number | undefined, Response> {
  const header = context.req.header('if-match');
  if (header === undefined || header === '*') return { ok: true, value: undefined };
  const digits = /^"?(\d{1,15})"?$/.exec(header.trim())?.[1];
  if (digits !== undefined) return { ok: true, value: Number(digits) };
  const message = `${JSON.stringify(header)} is not a revision (allowed: a number)`;
  return { ok: false, error: invalid([{ path: 'If-Match', message }]) };
}

/** `?force=true`: what the guard says does not count. */
function isForced(context: Context): boolean {
  return context.req.query('force') === 'true';
}

function stale(revision: number): Response {
  return refusal('stale-revision', `revision ${revision} is in force`);
}

async function readJson(context: Context): Promise<Result<unknown, Response>> {
  const text = await context.req.text();
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    const detail = text === '' ? 'the body is empty' : error instanceof Error ? error.message : String(error);
    return { ok: false, error: refusal('not-json', detail, [{ path: '', message: detail }]) };
  }
}

function missing(problems: readonly ConfigProblem[]): Response {
  return refusal('not-found', problems.map((problem) => problem.message).join('; '), problems);
}

/** The 404 for a VIP, or a backend of it, that is not there. */
function vipGone(port: ControlPort, name: string, address?: string): Response | undefined {
  const found = edit.findVip(port.desired().state, name);
  if (!found.ok) return missing(found.error);
  if (address === undefined) return undefined;
  const backends = edit.findBackends(found.value.vip, address);
  return backends.ok ? undefined : missing(backends.error);
}

async function vipViews(port: ControlPort): Promise<AsyncIterable<string>> {
  const { revision, state } = port.desired();
  const running = new Map((await port.status()).vips.map((vip) => [vip.name, vip]));
  const views = function* () {
    for (const vip of state.vips) yield { vip: encodeVip(vip), status: running.get(vip.name) };
  };
  return jsonParts({ revision }, { vips: views() });
}
