/** TLS towards backends, against Node's server; and both ways at once. */
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { createTestAuthority, type TestAuthority } from '@l4d/kit/tls/test-authority.ts';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  type ListenerParts,
  type ProxyUnderTest,
  startProxyUnderTest,
  until,
} from '../testing/proxy-under-test.ts';

let authority: TestAuthority;
let stranger: TestAuthority;
const proxies: ProxyUnderTest[] = [];
const servers: Server[] = [];

beforeAll(() => {
  authority = createTestAuthority();
  stranger = createTestAuthority();
  authority.issue('good.example', { san: 'DNS:good.example,IP:127.0.0.1' });
  authority.issue('named', { san: 'DNS:good.example' });
  authority.issue('expired', { san: 'DNS:good.example', from: '200101000000Z', until: '200102000000Z' });
  stranger.issue('good.example', { san: 'DNS:good.example' });
  authority.issue('proxy');
});
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.stop();
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => {
  authority.remove();
  stranger.remove();
});

interface Backend {
  readonly port: number;
  readonly connections: { resumed: boolean; name: string | false; protocol: string | false; peer: string }[];
}

async function backend(from: TestAuthority, name: string, options: TlsOptions = {}): Promise<Backend> {
  const connections: Backend['connections'] = [];
  const server = createServer(
    {
      cert: readFileSync(from.path(`${name}.pem`)),
      key: readFileSync(from.path(`${name}.key`)),
      ALPNProtocols: ['http/1.1'],
      ...options,
    },
    (socket: TLSSocket) => {
      const peer = socket.getPeerCertificate();
      connections.push({
        resumed: socket.isSessionReused(),
        name: (socket as TLSSocket & { servername: string | false }).servername,
        protocol: socket.alpnProtocol ?? false,
        peer: String(peer?.subject?.CN ?? ''),
      });
      socket.on('error', () => undefined);
      socket.on('data', (piece) => {
        const text = piece.toString('latin1');
        if (text.includes('GET /close'))
          socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end');
        else if (text.includes('GET /cut')) {
          socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nnot the end');
          // Without close_notify: as if somebody had cut it.
          setTimeout(() => (socket as unknown as { _parent?: unknown }) && destroyBelow(socket), 50);
        } else if (text.includes('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    },
  );
  servers.push(server);
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, connections };
}

/** Ends the TCP connection under TLS. */
function destroyBelow(socket: TLSSocket): void {
  (socket as unknown as { _handle: { close(): void } })._handle.close();
}

async function through(backendPort: number, backendTls: NonNullable<ListenerParts['backendTls']>) {
  const proxy = await startProxyUnderTest(
    { tlsFilePollMs: 100, upstreamIdleMs: 200, drainMs: 500 },
    { backendPort, backendTls },
  );
  proxies.push(proxy);
  const get = async (path = '/') => {
    const client = await proxy.client();
    client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    const ended = await client.over();
    return { text: client.text, status: Number(client.text.slice(9, 12)), ended };
  };
  return { proxy, get, problem: () => proxy.status().backends[0]?.tlsProblem };
}

it('verifies name and authority, and says what is wrong', { timeout: 20_000 }, async () => {
  const good = await backend(authority, 'good.example');
  const ca = authority.ca;
  const named = await through(good.port, { ca, serverName: 'good.example' });
  expect((await named.get()).status).toBe(200);
  expect(good.connections[0]).toMatchObject({ name: 'good.example', protocol: 'http/1.1', resumed: false });
  const byAddress = await through(good.port, { ca });
  expect((await byAddress.get()).status).toBe(200);
  expect(good.connections[1]?.name).toBe(false);
  const wrongName = await through(good.port, { ca, serverName: 'other.example' });
  expect((await wrongName.get()).status).toBe(502);
  expect(wrongName.problem()).toBe('hostname mismatch');
  const noAddress = await through((await backend(authority, 'named')).port, { ca });
  expect((await noAddress.get()).status).toBe(502);
  expect(noAddress.problem()).toBe('IP address mismatch');
  const expired = await through((await backend(authority, 'expired')).port, {
    ca,
    serverName: 'good.example',
  });
  expect((await expired.get()).status).toBe(502);
  expect(expired.problem()).toBe('certificate has expired');
  const strange = await backend(stranger, 'good.example');
  const foreign = await through(strange.port, { ca, serverName: 'good.example' });
  expect((await foreign.get()).status).toBe(502);
  expect(foreign.problem()).toBe('unable to get local issuer certificate');
  const bySystem = await through(strange.port, { serverName: 'good.example' });
  expect((await bySystem.get()).status).toBe(502);
  const unverified = await through(strange.port, { serverName: 'good.example', verify: false });
  expect((await unverified.get()).status).toBe(200);
  const old = await backend(authority, 'good.example', {
    maxVersion: 'TLSv1.1',
    minVersion: 'TLSv1',
    ciphers: 'DEFAULT:@SECLEVEL=0',
  });
  expect((await (await through(old.port, { ca, serverName: 'good.example' })).get()).status).toBe(502);
});

it.each(['TLSv1.2', 'TLSv1.3'] as const)(
  'keeps connections, and resumes sessions where it cannot (%s)',
  async (version) => {
    const one = await backend(authority, 'good.example', { minVersion: version, maxVersion: version });
    const { get, proxy } = await through(one.port, { ca: authority.ca, serverName: 'good.example' });
    expect((await get()).status).toBe(200);
    expect((await get()).status).toBe(200);
    expect(one.connections.length).toBe(1);
    // The kept connection ends of age.
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await get()).status).toBe(200);
    expect(one.connections.map(({ resumed }) => resumed)).toEqual([false, true]);
    expect(proxy.status().backends[0]).toMatchObject({ requests: 3, errors: 0 });
  },
);

it('shows a client certificate, also one that comes later', async () => {
  const one = await backend(authority, 'good.example', {
    requestCert: true,
    rejectUnauthorized: true,
    ca: readFileSync(authority.ca),
  });
  const cert = authority.path('mine.pem');
  const key = authority.path('mine.key');
  const base = { ca: authority.ca, serverName: 'good.example' };
  const { get, problem } = await through(one.port, { ...base, cert, key });
  expect((await get()).status).toBe(502);
  expect(problem()).toBe(`${cert} does not exist`);
  copyFileSync(authority.path('proxy.pem'), cert);
  copyFileSync(authority.path('proxy.key'), key);
  let status = 0;
  for (let i = 0; i < 50 && status !== 200; i++) {
    status = (await get()).status;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(one.connections.at(-1)?.peer).toBe('proxy');
});

it('tells an end from a connection that was cut', async () => {
  const one = await backend(authority, 'good.example');
  const { get } = await through(one.port, { ca: authority.ca, serverName: 'good.example' });
  const whole = await get('/close');
  expect(whole.text).toMatch(/until the end\r\n0\r\n\r\n$/);
  const cut = await get('/cut');
  expect(cut.text).not.toMatch(/\r\n0\r\n\r\n$/);
  expect(cut.ended).toBe('reset');
});

it('relays a WebSocket through TLS on both sides', async () => {
  const server = createServer(
    {
      cert: readFileSync(authority.path('good.example.pem')),
      key: readFileSync(authority.path('good.example.key')),
    },
    (socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst');
        socket.on('data', (piece) => socket.write(piece));
        socket.on('error', () => undefined);
      });
    },
  );
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = await startProxyUnderTest(
    {},
    {
      backendPort: (server.address() as AddressInfo).port,
      backendTls: { ca: authority.ca, serverName: 'good.example' },
      tls: { certificates: [{ cert: authority.path('named.pem'), key: authority.path('named.key') }] },
    },
  );
  proxies.push(proxy);
  const socket = connect({ port: proxy.port, host: '127.0.0.1', rejectUnauthorized: false });
  let text = '';
  let length = 0;
  socket.on('data', (piece) => {
    length += piece.length;
    if (text.length < 4096) text += piece.toString('latin1');
  });
  await once(socket, 'secureConnect');
  socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
  await until(() => text.endsWith('first'));
  const before = length;
  const size = 4 * 1024 * 1024;
  socket.write(Buffer.alloc(size, 'z'));
  await until(() => length === before + size);
  socket.end();
  await until(() => proxy.status().activeConnections === 0);
});

it('sends plain requests to https', async () => {
  const proxy = await startProxyUnderTest({}, { redirectToHttps: 443 });
  proxies.push(proxy);
  const client = await proxy.client();
  client.send('POST /a%20b?c=d HTTP/1.1\r\nHost: Web.Example:8080\r\nContent-Length: 0\r\n\r\n');
  await client.got(
    /^HTTP\/1\.1 308 Permanent Redirect\r\n[\s\S]*\r\nLocation: https:\/\/web\.example\/a%20b\?c=d\r\n/,
  );
  client.send('GET http://x.example HTTP/1.1\r\nHost: y\r\n\r\n');
  await client.got(/Location: https:\/\/x\.example\/\r\n/);
  expect(proxy.backend.opened).toBe(0);
  client.socket.destroy();
});
