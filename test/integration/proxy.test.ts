import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ProxyDesiredInput } from '@l4d/kit/proxy-api.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { proxyMetrics } from '@l4d/l4d/core/proxy-metrics.ts';
import { socketsPerBucket, steeringBuckets } from '@l4d/l7/core/steering.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  backend4,
  backend6,
  buildFabric,
  client4,
  client6,
  denied4,
  type Fabric,
  type Running,
  until,
  vip4,
  vip6,
} from './proxy/fabric.ts';

let fabric: Fabric;
let proxy: Running;
let b: Running;

const pool = (name: string, ...ports: number[]) => ({
  name,
  backends: ports.map((port) => ({ address: backend4, port, weight: 1 })),
});

/** 9001 a, 9002 b, 9003 IPv6; nobody listens on 9999; 10.72.0.77 does not exist. */
const desired: ProxyDesiredInput = {
  // Whose turn it is in a pool, and connections that are kept, are each worker's own.
  workers: 1,
  listeners: [
    {
      name: 'web4',
      address: vip4,
      port: 80,
      access: { deny: [`${denied4}/32`] },
      pools: [
        pool('default', 9001),
        pool('both', 9001, 9002),
        pool('half-dead', 9999, 9001),
        pool('dead', 9999, 9998),
        pool('empty'),
        {
          name: 'hanging',
          backends: [
            { address: '10.72.0.77', port: 80 },
            { address: backend4, port: 9001 },
          ],
        },
      ],
      routes: [
        { host: 'web.example', pool: 'default' },
        { host: 'both.example', pool: 'both' },
        { host: 'half.example', pool: 'half-dead' },
        { host: 'dead.example', pool: 'dead' },
        { host: 'empty.example', pool: 'empty' },
        { host: 'hanging.example', pool: 'hanging' },
        { host: '*.wild.example', pathPrefix: '/api', pool: 'default' },
      ],
      timeouts: { connectMs: 500, responseMs: 1000 },
    },
    {
      name: 'web6',
      address: vip6,
      port: 8443,
      access: { allow: ['fd71::/64'] },
      pools: [{ name: 'default', backends: [{ address: backend6, port: 9003 }] }],
    },
    { name: 'alt', address: vip4, port: 12345, pools: [pool('default', 9002)] },
  ],
};

const url = (host: string, path = '/') => ['--resolve', `${host}:80:${vip4}`, `http://${host}${path}`];

interface Seen {
  name: string;
  method: string;
  url: string;
  rawHeaders: string[];
  length: number;
  sha256: string;
  connection: { opened: number; isNew: boolean };
}

async function seen(...args: string[]): Promise<Seen> {
  const { code, body } = await fabric.curl(...args);
  expect({ code, body: body.slice(0, 1) }).toEqual({ code: 0, body: '{' });
  return JSON.parse(body) as Seen;
}

const field = (request: Seen, name: string) =>
  request.rawHeaders.filter((_value, i) => request.rawHeaders[i - 1]?.toLowerCase() === name && i % 2 === 1);

async function status(...args: string[]): Promise<string> {
  const { body } = await fabric.curl('-o', '/dev/null', '-w', '%{http_code}', ...args);
  return body;
}

/** Sends bytes as they are from the client's namespace; the answer until the connection ends. */
async function raw(bytes: string, source = client4): Promise<string> {
  const script = `
    const s = require('net').connect({ host: ${JSON.stringify(vip4)}, port: 80, localAddress: ${JSON.stringify(source)} });
    s.on('connect', () => s.write(${JSON.stringify(bytes)}, 'latin1'));
    s.pipe(process.stdout); s.on('error', (e) => process.stdout.write('!' + e.code));
    setTimeout(() => s.destroy(), 3000).unref();`;
  const { stdout } = await fabric.client([process.execPath, '-e', script]);
  return stdout.toString();
}

/** Begins a long download; resolves as soon as the proxy has its request. */
async function startDownload() {
  const asked = async () => (await listenerStatus('web4')).requests;
  const before = await asked();
  const done = fabric.client(['curl', '-sS', '--limit-rate', '40M', ...url('web.example', '/big')]);
  await until(async () => (await asked()) > before, 'the proxy has the request', proxy.output);
  return { done };
}

async function listenerStatus(name: string) {
  const found = (await fabric.proxy.status()).listeners.find((listener) => listener.name === name);
  if (found === undefined) throw new Error(`no listener ${name}`);
  return found;
}

beforeAll(async () => {
  fabric = buildFabric();
  [, b] = await Promise.all([
    fabric.startBackend(9001, 'a'),
    fabric.startBackend(9002, 'b'),
    fabric.startBackend(9003, 'six', backend6),
  ]);
  proxy = await fabric.startProxy();
});

afterAll(async () => {
  await fabric?.stop();
});

test('registers its sockets when the map appears, and again in a new map', async () => {
  expect((await fabric.proxy.status()).registered).toBe(false);
  fabric.loadLookup();
  await until(async () => (await fabric.proxy.status()).registered, 'registered', proxy.output);
  const entries = () =>
    execFileSync('bpftool', ['map', 'dump', 'pinned', join(fabric.bpfDir, 'l7_sockets')]).toString();
  const all = `Found ${steeringBuckets * socketsPerBucket} elements`;
  expect(entries()).toContain(all);
  fabric.loadLookup();
  await until(() => entries().includes(all), 'registered anew', proxy.output);
  for (const [address, port] of [
    [vip4, 80],
    [vip6, 8443],
    [vip4, 12345],
  ] as const) {
    fabric.listen(address, port);
  }
  expect(await fabric.proxy.putDesired(desired)).toBe(1);
});

test('the socket is private, a second proxy is told so', async () => {
  expect(statSync(join(fabric.runDir, 'proxy.sock')).mode & 0o777).toBe(0o600);
  const second = spawn('l7/bin/l4-proxy', ['--run-dir', fabric.runDir, '--bpf-dir', fabric.bpfDir]);
  let text = '';
  second.stderr.on('data', (chunk) => {
    text += chunk;
  });
  const [code] = await once(second, 'exit');
  expect({ code, lines: text.trim().split('\n').length }).toEqual({ code: 75, lines: 1 });
  expect(text).toMatch(/already running/);
});

test('bad desired state is refused by path and changes nothing', async () => {
  const answer = await requestJson(join(fabric.runDir, 'proxy.sock'), 'PUT', '/v1/desired', {
    listeners: [{ name: 'x', address: 'nowhere', port: 80 }],
  });
  expect(answer).toMatchObject({ status: 400, body: { problems: [{ path: 'listeners[0].address' }] } });
  expect((await fabric.proxy.status()).revision).toBe(1);
});

test('IPv4: the backend sees the true client, not what it claims', async () => {
  const request = await seen(
    '-H',
    'X-Forwarded-For: 1.2.3.4',
    '-H',
    'X-Real-IP: 1.2.3.4',
    '-H',
    'Connection: X-Hop',
    '-H',
    'X-Hop: 1',
    ...url('web.example', '/x?y=1'),
  );
  expect(request).toMatchObject({ name: 'a', method: 'GET', url: '/x?y=1' });
  expect(field(request, 'x-forwarded-for')).toEqual([client4]);
  expect(field(request, 'x-forwarded-proto')).toEqual(['http']);
  expect(field(request, 'x-forwarded-port')).toEqual(['80']);
  expect(field(request, 'host')).toEqual(['web.example']);
  expect([...field(request, 'x-hop'), ...field(request, 'x-real-ip'), ...field(request, 'via')]).toEqual([]);
});

test('IPv6, another VIP and port, over an IPv6 backend', async () => {
  const request = await seen(`http://[${vip6}]:8443/`);
  expect(request.name).toBe('six');
  expect(field(request, 'x-forwarded-for')).toEqual([client6]);
  expect(field(request, 'x-forwarded-port')).toEqual(['8443']);
  expect((await seen(`http://${vip4}:12345/`)).name).toBe('b');
});

test('hop-by-hop answers fields stay here; Server and every Set-Cookie pass', async () => {
  const { body } = await fabric.curl('-i', ...url('web.example'));
  expect(body).toMatch(/^Server: backend\/1\r$/m);
  expect(body.match(/^Set-Cookie: /gm)).toHaveLength(2);
  expect(body.match(/^Date: /gm)).toHaveLength(1);
  expect(body).not.toMatch(/X-Private/i);
});

test('a denied client is reset and no backend sees it', async () => {
  const told = (await seen(...url('web.example'))).connection;
  const before = await listenerStatus('web4');
  const { code, body } = await fabric.curl('--interface', denied4, ...url('web.example'));
  // Reset while curl still looks at the finished connect, while it sends, or while it reads.
  expect([7, 52, 55, 56]).toContain(code);
  expect(body).toBe('');
  expect(await raw('GET / HTTP/1.1\r\nHost: web.example\r\n\r\n', denied4)).toBe('!ECONNRESET');
  await until(async () => (await listenerStatus('web4')).denied >= before.denied + 2, 'both are counted');
  const after = await listenerStatus('web4');
  expect(after.denied).toBe(before.denied + 2);
  expect(after.connections).toBe(before.connections);
  // Whoever asks now may have opened one himself.
  const { opened, isNew } = (await seen(...url('web.example'))).connection;
  expect(opened - (isNew ? 1 : 0)).toBe(told.opened);
});

test('routes: wildcard and path, and 404', async () => {
  expect((await seen(...url('x.wild.example', '/api/1'))).name).toBe('a');
  expect(await status(...url('x.wild.example', '/apis'))).toBe('404');
  expect(await status('--path-as-is', ...url('x.wild.example', '/api/%2e%2e/secret'))).toBe('404');
  expect(await status(...url('other.example'))).toBe('404');
});

test('backends take turns', async () => {
  const names: string[] = [];
  for (let i = 0; i < 6; i++) names.push((await seen(...url('both.example'))).name);
  expect(names.filter((name) => name === 'a')).toHaveLength(3);
});

test('a backend that refuses, or does not answer its SYN, gives way to the next', async () => {
  // One of the two meets the one that refuses: the body has not been touched by the failed try.
  for (let i = 0; i < 2; i++) expect((await seen('-d', 'x=1', ...url('half.example'))).length).toBe(3);
  for (let i = 0; i < 4; i++) expect((await seen(...url('half.example'))).name).toBe('a');
  for (let i = 0; i < 2; i++) expect((await seen(...url('hanging.example'))).name).toBe('a');
  const { backends } = await listenerStatus('web4');
  expect(backends.find(({ port }) => port === 9999)?.errors).toBeGreaterThanOrEqual(1);
});

test.each([
  ['503', 'empty.example', '/'],
  ['502', 'dead.example', '/'],
  ['502', 'web.example', '/break'],
  ['502', 'web.example', '/garbage'],
  ['504', 'web.example', '/silent'],
])('%s of %s%s', async (expected, host, path) => {
  expect(await status(...url(host, path))).toBe(expected);
});

test('an answer that breaks off is not passed off as whole', async () => {
  const { code } = await fabric.curl(...url('web.example', '/half'));
  expect([18, 56]).toContain(code);
});

test.each([
  [
    'Content-Length and Transfer-Encoding',
    'POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  [
    'two Content-Lengths',
    'POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
  ],
  ['a Content-Length list', 'POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: 5, 5\r\n\r\nhello'],
  ['a signed Content-Length', 'POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length: +5\r\n\r\nhello'],
  ['a folded field', 'GET / HTTP/1.1\r\nHost: web.example\r\nX-A: b\r\n c\r\n\r\n'],
  ['a space before the colon', 'POST / HTTP/1.1\r\nHost: web.example\r\nContent-Length : 5\r\n\r\nhello'],
  [
    'chunked not last',
    'POST / HTTP/1.1\r\nHost: web.example\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n',
  ],
  [
    'an unknown coding',
    'POST / HTTP/1.1\r\nHost: web.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
  ],
  [
    'Transfer-Encoding in 1.0',
    'POST / HTTP/1.0\r\nHost: web.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['whitespace as a name', 'GET / HTTP/1.1\r\n Host: web.example\r\nHost: web.example\r\n\r\n'],
  ['a bare LF', 'GET / HTTP/1.1\nHost: web.example\n\n'],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: web.example\r\nHost: both.example\r\n\r\n'],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
  [
    'a wrong chunk size',
    'POST / HTTP/1.1\r\nHost: web.example\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n',
  ],
])('400 for %s', async (_name, message) => {
  const answer = await raw(
    `${message}GET /smuggled HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n`,
  );
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
});

test('CONNECT is refused; an oversized head is 431', async () => {
  expect(await raw('CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n')).toMatch(/^HTTP\/1\.1 405 /);
  expect(await raw(`GET / HTTP/1.1\r\nHost: web.example\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)).toMatch(
    /^HTTP\/1\.1 431 /,
  );
});

test('clients that reset at a bad moment do no harm', async () => {
  const { pid } = await fabric.proxy.status();
  const script = `
    const heads = ['CONNECT a:80 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n', 'GET /ws HTTP/1.1\\r\\nHost: web.example\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n',
      'GET /big HTTP/1.1\\r\\nHost: web.example\\r\\n\\r\\n', 'POST /up HTTP/1.1\\r\\nHost: web.example\\r\\nContent-Length: 9\\r\\n\\r\\nx', '\\0'];
    for (let i = 0; i < 100; i++) {
      const s = require('net').connect(80, '${vip4}', () => {
        s.write(heads[i % heads.length]);
        setTimeout(() => s.resetAndDestroy(), i / 10);
      });
      s.on('error', () => {});
    }`;
  await fabric.client([process.execPath, '-e', script]);
  expect((await fabric.proxy.status()).pid).toBe(pid);
  await until(
    async () => (await listenerStatus('web4')).activeConnections === 0,
    'no connection is left over',
  );
});

test('an answer goes out although what follows its request is not HTTP, which is then told so', async () => {
  const answer = await raw('GET /good HTTP/1.1\r\nHost: web.example\r\n\r\n\0garbage\r\n\r\n');
  expect(answer).toMatch(/"url":"\/good"/);
  expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400']);
});

test('HTTP/1.0, absolute-form and pipelining', async () => {
  expect(await raw('GET /old HTTP/1.0\r\nHost: web.example\r\n\r\n')).toMatch(/"url":"\/old"/);
  const absolute = await raw(
    'GET http://web.example/abs HTTP/1.1\r\nHost: dead.example\r\nConnection: close\r\n\r\n',
  );
  expect(absolute).toMatch(/"url":"\/abs".*"Host","web.example"/);
  const two = await raw(
    'GET /1 HTTP/1.1\r\nHost: web.example\r\n\r\nGET /2 HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n',
  );
  expect([...two.matchAll(/"url":"(\/\d)"/g)].map((match) => match[1])).toEqual(['/1', '/2']);
});

test('curl in HTTP/1.0, HEAD, and several requests on one connection', async () => {
  expect(await seen('--http1.0', ...url('web.example', '/ten'))).toMatchObject({ name: 'a', url: '/ten' });
  const { code, body } = await fabric.curl('-I', ...url('web.example'));
  expect({ code, status: body.slice(0, 12) }).toEqual({ code: 0, status: 'HTTP/1.1 200' });
  const [, ...three] = ['1', '2', '3'].flatMap((path) => [
    '--next',
    '-sS',
    ...url('web.example', `/${path}`),
  ]);
  const { connections } = await listenerStatus('web4');
  const answers = await fabric.curl(...three);
  expect([...answers.body.matchAll(/"url":"(\/\d)"/g)].map((match) => match[1])).toEqual(['/1', '/2', '/3']);
  expect((await listenerStatus('web4')).connections).toBe(connections + 1);
});

test('a chunked upload and 50 MB downloads arrive intact', async () => {
  const upload = randomBytes(5_000_000);
  const { stdout } = await fabric.client(
    ['curl', '-sS', '-T', '-', '-H', 'Transfer-Encoding: chunked', ...url('web.example', '/up')],
    upload,
  );
  const got = JSON.parse(stdout.toString()) as Seen;
  expect(got.length).toBe(upload.length);
  expect(got.sha256).toBe(createHash('sha256').update(upload).digest('hex'));
  expect(field(got, 'transfer-encoding')).toEqual(['chunked']);

  const big = await fabric.client(['curl', '-sS', ...url('web.example', '/big')]);
  const whole = createHash('sha256')
    .update(Buffer.alloc(50 << 20, 'l4d '))
    .digest('hex');
  expect(createHash('sha256').update(big.stdout).digest('hex')).toBe(whole);
});

test('100-continue reaches the backend, and its refusal the client', async () => {
  const { body } = await fabric.curl(
    '-v',
    '--stderr',
    '-',
    '-H',
    'Expect: 100-continue',
    '--expect100-timeout',
    '15',
    '-d',
    'x=1',
    ...url('web.example', '/up'),
  );
  expect(body).toMatch(/100 Continue/);
  expect(body).toMatch(/"length":3/);
  expect(
    await status(
      '-H',
      'Expect: 100-continue',
      '--expect100-timeout',
      '15',
      '-d',
      'x=1',
      ...url('web.example', '/early'),
    ),
  ).toBe('413');
});

test('an early answer is whole, and the upload that still comes is not reset', async () => {
  const script = `
    const s = require('net').connect({ host: '${vip4}', port: 80, allowHalfOpen: true }, () => {
      s.write('POST /early HTTP/1.1\\r\\nHost: web.example\\r\\nContent-Length: 1000000\\r\\n\\r\\n');
      let left = 10;
      const timer = setInterval(() => { s.write(Buffer.alloc(100000)); if (--left === 0) { clearInterval(timer); s.end(); } }, 50);
    });
    s.pipe(process.stdout); s.on('error', (e) => process.stdout.write('!' + e.code));`;
  const answer = (await fabric.client([process.execPath, '-e', script])).stdout.toString();
  expect(answer).toMatch(/^HTTP\/1\.1 413 [^!]*too much[^!]*$/);
  expect(answer).toMatch(/^Connection: close\r$/m);
});

test('a client that leaves has its upstream request aborted', async () => {
  // Long before the response timeout of this listener, 60 s.
  await fabric.curl('--max-time', '0.3', `http://${vip4}:12345/waits`);
  await until(() => b.output().includes('client gone'), 'the backend sees the end', b.output);
});

test('WebSocket through a tunnel; a refused upgrade is an ordinary answer; h2c is not tunnelled', async () => {
  const script = `
    const s = new WebSocket('ws://web.example/ws');
    s.onopen = () => s.send('hello'); s.onerror = (e) => console.log('error', e.message);
    s.onmessage = (m) => { console.log('echo ' + m.data); s.close(); };
    s.onclose = (e) => console.log('closed', e.code);`;
  // The name resolves to the VIP in this process alone.
  const lookup = `const dns = require('dns'); dns.lookup = (h, o, cb) => o.all ? cb(null, [{ address: '${vip4}', family: 4 }]) : cb(null, '${vip4}', 4);`;
  const { stdout, stderr } = await fabric.client([process.execPath, '-e', lookup + script]);
  expect(stdout.toString() + stderr).toMatch(/^echo hello\nclosed \d+\n/);
  const upgrade = ['-H', 'Connection: Upgrade', '-H', 'Upgrade: websocket'];
  expect(await status(...upgrade, ...url('web.example', '/no-ws'))).toBe('403');
  expect(await status(...upgrade, ...url('other.example', '/ws'))).toBe('404');
  const request = await seen('--http2', ...url('web.example', '/h2c'));
  expect([...field(request, 'upgrade'), ...field(request, 'http2-settings')]).toEqual([]);
});

test('a new desired state leaves running requests and connections alone', async () => {
  const download = await startDownload();
  await fabric.proxy.putDesired({ listeners: [] });
  expect(await fabric.curl(...url('web.example'))).toMatchObject({ body: '' });
  const told = await fabric.proxy.status();
  expect(told.unknownConnections).toBeGreaterThan(0);
  const [count] =
    proxyMetrics(told).find(({ name }) => name === 'l4d_proxy_unknown_connections_total')?.samples ?? [];
  expect(count?.value).toBe(told.unknownConnections);
  // Without making this process wait: it reads the download.
  const l4ctl = await promisify(execFile)('node_modules/.bin/l4ctl', ['--run-dir', fabric.runDir, 'proxy']);
  expect(l4ctl.stdout).toContain(
    `\n${told.unknownConnections} connections for no VIP of the proxy were reset\n`,
  );
  const revision = await fabric.proxy.putDesired(desired);
  expect(revision).toBe(3);
  expect((await download.done).stdout).toHaveLength(50 << 20);
  expect((await seen(...url('web.example'))).name).toBe('a');
});

test('an idempotent request that a kept connection failed is sent again, once; another is not', async () => {
  const alt = `http://${vip4}:12345/kept-dies`;
  const before = await listenerStatus('alt');
  expect((await seen(alt)).name).toBe('b');
  expect((await seen(alt)).name).toBe('b');
  const after = await listenerStatus('alt');
  expect((after.backends[0]?.requests ?? 0) - (before.backends[0]?.requests ?? 0)).toBe(3);
  expect((await seen(`http://${vip4}:12345/`)).name).toBe('b');
  expect((await seen('-d', 'x=1', alt)).length).toBe(3);
  expect(await status('-d', 'x=1', alt)).toBe('502');
});

test('a backend that was restarted is reached over a new connection', async () => {
  const kept = await fabric.startBackend(9010, 'kept');
  const listener = { name: 'kept', address: vip4, port: 12345, pools: [pool('default', 9010)] };
  await fabric.proxy.putDesired({ workers: 1, listeners: [listener] });
  expect((await seen(`http://${vip4}:12345/`)).name).toBe('kept');
  kept.process.kill('SIGKILL');
  await once(kept.process, 'exit');
  await fabric.startBackend(9010, 'again');
  expect((await seen('-d', 'x=1', `http://${vip4}:12345/`)).name).toBe('again');
  await fabric.proxy.putDesired(desired);
});

test('a killed backend gives way to the next', async () => {
  b.process.kill('SIGKILL');
  await once(b.process, 'exit');
  for (let i = 0; i < 4; i++) expect((await seen(...url('both.example'))).name).toBe('a');
});

test('without any worker a VIP is refused and no other listener gets the connection', async () => {
  const stranger = await fabric.startOnBalancer(80);
  expect((await seen(...url('web.example'))).name).toBe('a');
  const noProxy = fabric.lookupStats()[2] ?? 0;
  const workers = await fabric.workers();
  proxy.process.kill('SIGKILL');
  await once(proxy.process, 'exit');
  expect((await seen(...url('web.example'))).name).toBe('a');
  for (const { pid } of workers) process.kill(pid, 'SIGKILL');
  await until(async () => (await fabric.curl(...url('web.example'))).code === 7, 'refused');
  expect((await fabric.curl(...url('web.example'))).code).toBe(7);
  expect(fabric.lookupStats()[2]).toBeGreaterThan(noProxy);
  expect(stranger.output()).not.toMatch(/connection/);
  // The kernel goes on by itself for what is not a VIP.
  expect((await fabric.curl('http://10.71.0.1/')).body).toMatch(/stranger/);

  // The socket file that was left behind is replaced.
  proxy = await fabric.startProxy();
  await fabric.proxy.putDesired(desired);
  expect((await seen(...url('web.example'))).name).toBe('a');
});

test('SIGTERM lets a running request finish, and new connections are refused', async () => {
  const download = await startDownload();
  const exited = once(proxy.process, 'exit');
  proxy.process.kill('SIGTERM');
  await until(() => proxy.output().includes('stopping'), 'stopping', proxy.output);
  expect((await fabric.curl(...url('web.example'))).code).toBe(7);
  expect((await download.done).stdout).toHaveLength(50 << 20);
  expect((await exited)[0]).toBe(0);
});
