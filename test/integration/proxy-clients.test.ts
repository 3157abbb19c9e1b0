import { ipAddress } from '@l4d/kit/ip-address.ts';
import type { ProxyDesiredInput } from '@l4d/kit/proxy-api.ts';
import { proxyHeader } from '@l4d/kit/proxy-protocol.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  backend4,
  buildFabric,
  client4,
  client6,
  denied4,
  type Fabric,
  until,
  vip4,
  vip6,
} from './proxy/fabric.ts';

/* How backends learn who the client is, and whom the proxy believes. 10.71.0.66 is a trusted proxy here. */

const trusted = denied4;
let fabric: Fabric;

const ports = { nginx: 9001, haproxy: 9002, plain: 9003 };
const pool = (port: number) => ({ name: 'default', backends: [{ address: backend4, port }] });

const desired: ProxyDesiredInput = {
  workers: 1,
  listeners: [
    { name: 'v1', address: vip4, port: 81, proxyProtocol: 'v1', pools: [pool(ports.nginx)] },
    { name: 'v2', address: vip4, port: 82, proxyProtocol: 'v2', pools: [pool(ports.haproxy)] },
    { name: 'v1of6', address: vip6, port: 81, proxyProtocol: 'v1', pools: [pool(ports.haproxy)] },
    { name: 'v2of6', address: vip6, port: 82, proxyProtocol: 'v2', pools: [pool(ports.nginx)] },
    {
      name: 'tunnel',
      mode: 'tcp',
      address: vip4,
      port: 83,
      proxyProtocol: 'v2',
      pools: [pool(ports.haproxy)],
    },
    {
      ...{ name: 'web', address: vip4, port: 80, forwarded: true, pools: [pool(ports.plain)] },
      trustedProxies: [`${trusted}/32`],
    },
    {
      ...{ name: 'behind', address: vip4, port: 84, pools: [pool(ports.plain)] },
      ...{
        trustedProxies: [`${trusted}/32`],
        acceptProxyProtocol: true,
        access: { deny: ['198.51.100.9/32'] },
      },
    },
  ],
};

beforeAll(async () => {
  fabric = buildFabric();
  fabric.loadLookup();
  await Promise.all([
    fabric.startAcceptingNginx(ports.nginx),
    fabric.startAcceptingHaproxy(ports.haproxy),
    fabric.startBackend(ports.plain, 'a'),
    fabric.startProxy(),
  ]);
  for (const { address, port } of desired.listeners) fabric.listen(address, port);
  await fabric.proxy.putDesired(desired);
  await until(async () => (await fabric.proxy.status()).registered, 'registered');
});

afterAll(() => fabric?.stop());

const ask = async (...args: string[]) => (await fabric.curl(...args)).body;

test.each([
  ['nginx, version 1', `http://${vip4}:81/`, client4, vip4],
  ['nginx, version 2, IPv6', `http://[${vip6}]:82/`, client6, vip6],
  ['HAProxy, version 2', `http://${vip4}:82/`, client4, vip4],
  ['HAProxy, version 1, IPv6', `http://[${vip6}]:81/`, client6, vip6],
  ['HAProxy, version 2, through a tunnel', `http://${vip4}:83/`, client4, vip4],
])('%s: is told the client, its port and the VIP', async (_, url, client, vip) => {
  const body = await ask('--local-port', '40000-49999', '-w', ' %{local_port}', url);
  const [seen, port, ...rest] = body.split(' ');
  expect(seen).toBe(client);
  expect(port).toBe(body.split(' ').at(-1));
  expect(rest).toContain(vip);
});

test('a connection to a backend is one client alone; its next request goes over it again', async () => {
  const url = `http://${vip4}:81/`;
  const seen: string[] = [];
  for (const source of [client4, trusted, client4, trusted]) {
    // Two requests on one connection of the client.
    const body = await ask('-w', '\n', '--interface', source, url, url);
    const [first, second] = body
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
    expect(first?.[0]).toBe(source);
    expect(second).toEqual(first);
    seen.push(first?.[3] ?? '');
  }
  expect(new Set(seen).size).toBe(4);
});

/** What the backend was given, by name. */
async function fields(...args: string[]): Promise<Record<string, string[]>> {
  const { rawHeaders } = JSON.parse(await ask(...args)) as { rawHeaders: string[] };
  const found: Record<string, string[]> = {};
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? '').toLowerCase();
    found[name] = [...(found[name] ?? []), rawHeaders[i + 1] ?? ''];
  }
  return found;
}

const claims = [
  ...[
    '-H',
    'X-Forwarded-For: 198.51.100.1',
    '-H',
    'X-Forwarded-For: 198.51.100.2',
    '-H',
    'X_Forwarded_For: 1.1.1.1',
  ],
  ...[
    '-H',
    'X-Forwarded-Proto: https',
    '-H',
    'X-Forwarded-Host: www.example',
    '-H',
    'X-Real-IP: 198.51.100.1',
  ],
  ...['-H', 'Forwarded: for=198.51.100.1'],
];

test('what a client claims is replaced; what a trusted proxy says stays and is appended to', async () => {
  const url = `http://${vip4}/`;
  const ofClient = await fields(...claims, url);
  expect(ofClient).toMatchObject({
    'x-forwarded-for': [client4],
    'x-forwarded-proto': ['http'],
    'x-forwarded-port': ['80'],
    'x-forwarded-host': [vip4],
    forwarded: [`for=${client4};proto=http;host=${vip4}`],
  });
  expect(ofClient).not.toHaveProperty('x-real-ip');
  expect(ofClient).not.toHaveProperty('x_forwarded_for');
  const ofProxy = await fields('--interface', trusted, ...claims, url);
  expect(ofProxy).toMatchObject({
    'x-forwarded-for': [`198.51.100.1, 198.51.100.2, ${trusted}`],
    'x-forwarded-proto': ['https'],
    'x-forwarded-port': ['443'],
    'x-forwarded-host': ['www.example'],
    'x-real-ip': ['198.51.100.1'],
    forwarded: [`for=198.51.100.1, for=${trusted};proto=http;host=${vip4}`],
  });
  expect(ofProxy).not.toHaveProperty('x_forwarded_for');
});

/** Sends pieces from an address, a moment apart; what comes until the end. */
async function raw(source: string, pieces: readonly Uint8Array[]): Promise<string> {
  const script = `
    const pieces = ${JSON.stringify(pieces.map((piece) => Buffer.from(piece).toString('base64')))};
    const s = require('net').connect({ host: '${vip4}', port: 84, localAddress: '${source}', noDelay: true });
    s.on('connect', () => { const next = () => { const p = pieces.shift(); if (p) { s.write(Buffer.from(p, 'base64')); setTimeout(next, 20); } }; next(); });
    s.pipe(process.stdout); s.on('error', (e) => process.stdout.write('!' + e.code));`;
  return (await fabric.client([process.execPath, '-e', script])).stdout.toString();
}

test('a trusted proxy says by a PROXY header who the client is', async () => {
  const request = Buffer.from(
    'GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nConnection: close\r\n\r\n',
  );
  const end = { address: ipAddress(vip4), port: 84 };
  const from = (address: string) => ({ address: ipAddress(address), port: 1234 });
  const isTold = /"X-Forwarded-For","198\.51\.100\.7"/;
  for (const version of ['v1', 'v2'] as const) {
    const header = proxyHeader(version, from('198.51.100.7'), end);
    expect(await raw(trusted, [Buffer.concat([header, request])])).toMatch(isTold);
    const pieces = [header.subarray(0, 3), header.subarray(3, 13), header.subarray(13), request];
    expect(await raw(trusted, pieces)).toMatch(isTold);
    // The access list is about the client that it tells.
    const denied = proxyHeader(version, from('198.51.100.9'), end);
    expect(await raw(trusted, [Buffer.concat([denied, request])])).toBe('!ECONNRESET');
    // Nobody else may: that is no HTTP.
    expect(await raw(client4, [Buffer.concat([header, request])])).toMatch(/^HTTP\/1\.1 400 /);
  }
  expect(await raw(trusted, [request])).toBe('!ECONNRESET');
  expect(await raw(client4, [request])).toMatch(new RegExp(`"X-Forwarded-For","${client4}"`));
});
