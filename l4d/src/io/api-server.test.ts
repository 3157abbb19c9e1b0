import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { operations } from '../core/openapi.ts';
import { createApi } from './api/app.ts';
import { createMemoryPort, type MemoryPort } from './api/memory-port.ts';
import { type Listener, startApiServer, startMetricsServer } from './api-server.ts';

const web = {
  name: 'web',
  address: '203.0.113.10',
  port: 80,
  backends: [{ address: '10.0.0.21' }, { address: '10.0.0.22' }],
};

let folder: string;
let socketPath: string;
let port: MemoryPort;
let listener: Listener | undefined;
const internal: Error[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'l4d-api-'));
  socketPath = join(folder, 'l4d.sock');
  port = createMemoryPort();
  internal.length = 0;
  listener = await startApiServer({
    socketPath,
    port,
    version: '1.2.3',
    maxBodyBytes: 100_000,
    onInternalError: (error) => internal.push(error),
  });
});

afterEach(async () => {
  await listener?.close();
  await rm(folder, { recursive: true, force: true });
});

const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  requestJson(socketPath, method, path, body, 5000, headers);

test('the socket is for its owner alone', async () => {
  expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
});

test('desired state is put, read back and protected by its revision', async () => {
  const desired = { version: 1, vips: [web] };
  expect(await call('PUT', '/v1/desired', desired)).toEqual({ status: 200, body: { revision: 1 } });
  const read = await call('GET', '/v1/desired');
  expect(read.body).toMatchObject({ revision: 1, desired: { vips: [{ name: 'web', tableSize: 1009 }] } });
  const late = await call('PUT', '/v1/desired', desired, { 'if-match': '"0"' });
  expect(late).toMatchObject({
    status: 412,
    body: { code: 'stale-revision', detail: 'revision 1 is in force' },
  });
  expect((await call('PUT', '/v1/desired', desired, { 'if-match': '"1"' })).status).toBe(200);
  expect((await call('PUT', '/v1/desired', desired, { 'if-match': 'now' })).status).toBe(400);
  const { desired: whole } = read.body as { desired: unknown };
  expect((await call('PUT', '/v1/desired', whole)).status).toBe(200);
});

test('what is refused names each path, and nothing is changed', async () => {
  const bad = { version: 1, vips: [{ ...web, port: 70_000, prot: 'x' }] };
  const answer = await call('PUT', '/v1/desired', bad);
  expect(answer).toMatchObject({
    status: 400,
    body: {
      code: 'invalid',
      problems: [
        { path: 'vips[0].port', message: '70000 is not a port (allowed: 1 to 65535)' },
        { path: 'vips[0].prot', hint: 'did you mean "port"?' },
      ],
    },
  });
  expect((await call('POST', '/v1/plan', bad)).status).toBe(400);
  expect(port.desired().revision).toBe(0);
});

test('a plan tells what would change and moves nothing', async () => {
  const answer = await call('POST', '/v1/plan', { version: 1, vips: [web] });
  expect(answer.body).toMatchObject({ operations: ['program vip web'], warnings: [] });
  expect((answer.body as { changes: unknown[] }).changes).toContainEqual({
    action: 'add',
    subject: 'vip web',
    fields: [],
  });
  expect(port.desired().revision).toBe(0);
});

test('a VIP lives: added, shown, changed, its backends too, removed', async () => {
  expect(await call('POST', '/v1/vips', web)).toEqual({ status: 201, body: { revision: 1, name: 'web' } });
  expect(await call('POST', '/v1/vips', web)).toMatchObject({
    status: 400,
    body: { problems: [{ path: 'address' }] },
  });
  const shown = await call('GET', '/v1/vips/web');
  expect(shown.body).toMatchObject({
    vip: { name: 'web' },
    status: { announced: true, verdict: { code: 'announced' } },
  });
  expect((await call('PATCH', '/v1/vips/web', { enabled: false })).status).toBe(200);
  expect((await call('GET', '/v1/vips')).body).toMatchObject({
    vips: [{ status: { verdict: { code: 'disabled' } } }],
  });
  expect((await call('POST', '/v1/vips/web/backends', { address: '10.0.0.23', weight: 5 })).status).toBe(201);
  expect((await call('PATCH', '/v1/vips/web/backends/10.0.0.23', { drain: true })).status).toBe(200);
  expect(port.desired().state.vips[0]?.backends[2]).toMatchObject({ weight: 5, drain: true });
  expect((await call('PATCH', '/v1/vips/web/backends/10.0.0.23', { weight: -1 })).status).toBe(400);
  expect((await call('DELETE', '/v1/vips/web/backends/10.0.0.23')).status).toBe(200);
  expect((await call('DELETE', '/v1/vips/web')).status).toBe(200);
  expect(port.desired().state.vips).toEqual([]);
  expect(await call('POST', '/v1/undo')).toMatchObject({ status: 200 });
  expect(port.desired().state.vips).toHaveLength(1);
});

test('IPv6 backends and names with colons are addressed by their URL encoding', async () => {
  const vip = {
    address: '2001:db8::10',
    port: 53,
    protocol: 'udp',
    backends: [{ address: 'fd00::1' }, { address: 'fd00::2' }],
  };
  await call('POST', '/v1/vips', vip);
  const path = `/v1/vips/${encodeURIComponent('2001:db8::10-53-udp')}/backends/${encodeURIComponent('fd00::2')}`;
  expect((await call('DELETE', path)).status).toBe(200);
});

test.each([
  ['GET', '/v1/vips/wbe'],
  ['PATCH', '/v1/vips/wbe'],
  ['DELETE', '/v1/vips/wbe'],
  ['DELETE', '/v1/vips?name=web&name=wbe'],
  ['POST', '/v1/vips/wbe/backends'],
  ['PATCH', '/v1/vips/web/backends/10.9.9.9'],
  ['DELETE', '/v1/vips/web/backends/nonsense'],
  ['DELETE', '/v1/peers/10.9.9.9'],
  ['GET', '/v1/nothing'],
])('%s %s is 404 with a reason', async (method, path) => {
  await call('POST', '/v1/vips', web);
  const answer = await call(method, path, method === 'PATCH' || method === 'POST' ? {} : undefined);
  expect(answer).toMatchObject({
    status: 404,
    body: { code: 'not-found', detail: expect.stringMatching(/no/) },
  });
});

test.each<[string, string, unknown]>([
  ['POST', '/v1/vips', undefined],
  ['PUT', '/v1/desired', undefined],
  ['PUT', '/v1/desired', null],
  ['PUT', '/v1/desired', [1]],
  ['PATCH', '/v1/vips/web', 'text'],
  ['PATCH', '/v1/vips/web', { enabled: 'yes' }],
  ['POST', '/v1/vips/web/backends', 7],
  ['POST', '/v1/peers', { address: 'x' }],
  ['PATCH', '/v1/host', { interfac: 'eth0' }],
  ['PUT', '/v1/host/draining', {}],
  ['PUT', '/v1/host/draining', { draining: null }],
  ['PUT', '/v1/host/draining', { draining: true, x: 1 }],
  ['PUT', '/v1/host/draining', null],
])('%s %s with the body %j is 400, never 500', async (method, path, body) => {
  await call('POST', '/v1/vips', web);
  const answer = await call(method, path, body);
  expect(answer.status).toBe(400);
  expect((answer.body as { problems: unknown[] }).problems.length).toBeGreaterThan(0);
  expect(internal).toEqual([]);
  expect(port.desired().revision).toBe(1);
});

test('a body that is too large is refused', async () => {
  expect(await call('PUT', '/v1/desired', 'x'.repeat(100_001))).toMatchObject({
    status: 413,
    body: { code: 'too-large' },
  });
});

test('an edit meets another change: it is made again upon the new state, or refused when it named a revision', async () => {
  await call('POST', '/v1/vips', web);
  let meddled = 0;
  port.beforeReplace = () => {
    if (meddled++ > 0) return;
    void port.replace(port.desired().state, {});
  };
  expect((await call('PATCH', '/v1/vips/web', { enabled: false })).status).toBe(200);
  expect(port.desired()).toMatchObject({ revision: 3, state: { vips: [{ enabled: false }] } });
  meddled = 0;
  expect((await call('PATCH', '/v1/vips/web', { enabled: true }, { 'if-match': '3' })).status).toBe(412);
});

test('peers and the host', async () => {
  const peer = { address: '10.0.0.1', as: 65000 };
  expect(await call('POST', '/v1/peers', peer)).toMatchObject({
    status: 400,
    body: { problems: [{ path: 'peers' }] },
  });
  expect((await call('PATCH', '/v1/host', { bgp: { as: 65001, routerId: '10.0.0.11' } })).status).toBe(200);
  expect((await call('POST', '/v1/peers', peer)).status).toBe(201);
  expect((await call('GET', '/v1/peers')).body).toMatchObject({
    peers: [{ address: '10.0.0.1', holdTime: '9s' }],
  });
  expect((await call('DELETE', '/v1/peers/10.0.0.1')).status).toBe(200);
  expect((await call('PUT', '/v1/host/draining', { draining: true })).status).toBe(200);
  expect((await call('GET', '/v1/host')).body).toMatchObject({
    host: { draining: true, bgp: { as: 65001 } },
  });
  expect((await call('GET', '/v1/status')).body).toMatchObject({
    host: { draining: true },
    dataplane: { mode: 'native' },
  });
  expect((await call('GET', '/v1/bgp')).body).toMatchObject({ state: 'off' });
  expect((await call('POST', '/v1/reconcile')).body).toEqual({ operations: [] });
});

test('nothing to undo is a conflict', async () => {
  expect(await call('POST', '/v1/undo')).toMatchObject({ status: 409, body: { code: 'nothing-to-undo' } });
});

test('an error of ours is a 500 without details for the caller, with them for the log', async () => {
  port.reconcile = () => Promise.reject(new Error('the secret cause'));
  const answer = await call('POST', '/v1/reconcile');
  expect(answer.status).toBe(500);
  expect(JSON.stringify(answer.body)).not.toContain('secret');
  expect(internal[0]?.message).toBe('the secret cause');
});

test('the OpenAPI document and the routes are the same set', async () => {
  const { body } = await call('GET', '/v1/openapi.json');
  expect(body).toMatchObject({ openapi: '3.1.0', info: { version: '1.2.3' } });
  const documented = operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`).sort();
  const served = createApi({ port, version: '' })
    .routes.filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`);
  expect([...new Set(served)].sort()).toEqual(documented);
});

test('who takes nothing of the metrics is left, and what was held for them goes', async () => {
  let [parts, isLeft] = [0, false];
  async function* endless() {
    try {
      for (;;) {
        parts += 1;
        yield 'x'.repeat(1 << 20);
      }
    } finally {
      isLeft = true;
    }
  }
  const tcp = await startMetricsServer(
    { address: ipAddress('127.0.0.1'), port: 0 },
    endless,
    Milliseconds(50),
  );
  const client = connect(tcp.port, '127.0.0.1', () =>
    client.write('GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n'),
  );
  client.on('error', () => undefined).pause();
  try {
    await vi.waitFor(() => expect(isLeft).toBe(true), 3000);
    expect(parts).toBeLessThan(100);
  } finally {
    client.destroy();
    await tcp.close();
  }
});

test('metrics are on the socket and, on request, on TCP', async () => {
  expect((await call('GET', '/metrics')).body).toContain('l4d_up 1');
  const tcp = await startMetricsServer({ address: ipAddress('127.0.0.1'), port: 0 }, port.metrics);
  try {
    expect(await (await fetch(`http://127.0.0.1:${tcp.port}/metrics`)).text()).toContain('l4d_up 1');
    expect((await fetch(`http://127.0.0.1:${tcp.port}/v1/status`)).status).toBe(404);
    const taken = startMetricsServer({ address: ipAddress('127.0.0.1'), port: tcp.port }, port.metrics);
    await expect(taken).rejects.toThrow(
      /^host\.metrics: cannot listen on 127\.0\.0\.1 port \d+: .*EADDRINUSE/,
    );
  } finally {
    await tcp.close();
  }
});

/** A host that announces four VIPs to one peer. */
const announcing = (names: readonly string[]) => ({
  version: 1,
  host: { bgp: { as: 65001, routerId: '10.0.0.11' } },
  peers: [{ address: '10.0.0.1', as: 65000 }],
  vips: names.map((name, index) => ({ ...web, name, port: 80 + index })),
});

test('what the guard refuses goes by force alone; a plan says it before', async () => {
  await call('PUT', '/v1/desired', announcing(['a', 'b', 'c', 'd']));
  const fewer = announcing(['a']);
  const plan = await call('POST', '/v1/plan', fewer);
  expect(plan.body).toMatchObject({ guard: [expect.stringMatching(/^withdraws 3 of 4 VIPs \(b, c, d\)/)] });
  const refused = await call('PUT', '/v1/desired', fewer);
  expect(refused).toMatchObject({ status: 409, body: { code: 'guarded' } });
  expect((refused.body as { detail: string }).detail).toMatch(/maxWithdrawShare allows 50%.*\?force=true/);
  expect(await call('DELETE', '/v1/peers/10.0.0.1')).toMatchObject({ status: 409 });
  expect(await call('GET', '/v1/desired')).toMatchObject({ body: { revision: 1 } });
  expect(await call('PUT', '/v1/desired?force=true', fewer)).toMatchObject({ status: 200 });
  expect(await call('DELETE', '/v1/peers/10.0.0.1?force=true')).toMatchObject({ status: 200 });
});

test('a planned stop takes a text of at most 255 octets', async () => {
  expect(await call('POST', '/v1/stop', { text: 'é'.repeat(128) })).toMatchObject({ status: 400 });
  expect(await call('POST', '/v1/stop', { why: 'x' })).toMatchObject({ status: 400 });
  expect(port.stopped).toBeUndefined();
  expect(await call('POST', '/v1/stop', { text: 'é'.repeat(127) })).toMatchObject({ status: 202 });
  expect(port.stopped).toBe('é'.repeat(127));
});
