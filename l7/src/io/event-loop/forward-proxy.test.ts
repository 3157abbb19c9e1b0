/** Forward proxies with curl as their client. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttpServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  openDescriptors,
  type ProxyUnderTest,
  startProxyUnderTest,
  until,
} from '../testing/proxy-under-test.ts';

const run = promisify(execFile);
let server: Server;
let port = 0;
let proxy: ProxyUnderTest | undefined;

beforeAll(async () => {
  server = createHttpServer((request, response) => response.end(`served ${request.headers.host}`));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
});
afterEach(() => proxy?.stop());
afterAll(() => server.close());

const names: Record<string, string[]> = {
  'here.example': ['127.0.0.1'],
  'second.example': ['127.0.0.9', '127.0.0.1'],
  'inside.example': ['169.254.169.254'],
};

async function start(mode: 'connect' | 'socks'): Promise<ProxyUnderTest> {
  proxy = await startProxyUnderTest(
    { drainMs: 500, handshakeTimeoutMs: 500 },
    {
      mode,
      pools: [],
      destinations: [
        { hosts: ['*.example'], prefixes: ['127.0.0.0/8'], ports: [[port, port]] },
        { hosts: ['inside.example'] },
      ],
      resolve: async (name) => {
        const found = names[name];
        if (found === undefined) throw new Error('ENOTFOUND');
        return found.map(ipAddress);
      },
    },
  );
  return proxy;
}

/** What curl gets, or how it fails. */
async function curl(...words: string[]): Promise<string> {
  return run('curl', ['-sS', '--max-time', '10', ...words]).then(
    ({ stdout }) => stdout,
    ({ stderr, code }) => `${code}: ${stderr}`,
  );
}

it('CONNECT: relays to names and addresses that are allowed, and to no others', async () => {
  const { port: at } = await start('connect');
  const through = (url: string) => curl('-p', '-x', `http://127.0.0.1:${at}`, url);
  const before = openDescriptors();
  expect(await through(`http://here.example:${port}/`)).toBe(`served here.example:${port}`);
  expect(await through(`http://second.example:${port}/`)).toBe(`served second.example:${port}`);
  expect(await through(`http://127.0.0.1:${port}/`)).toBe(`served 127.0.0.1:${port}`);
  expect(await through(`http://here.example:${port + 1}/`)).toMatch(/403/);
  expect(await through('http://inside.example/')).toMatch(/403/);
  expect(await through('http://192.0.2.1/')).toMatch(/403/);
  expect(await through(`http://nowhere.example:${port}/`)).toMatch(/502/);
  expect(await curl('-x', `http://127.0.0.1:${at}`, '-w', '%{http_code}', 'http://here.example/')).toMatch(
    /405$/,
  );
  await until(() => proxy?.status().activeConnections === 0);
  expect(proxy?.status()).toMatchObject({ connections: 8, unserved: 5 });
  await until(() => openDescriptors() <= before);
});

it.each(['socks4', 'socks4a', 'socks5', 'socks5h'])('%s: relays', async (scheme) => {
  const { port: at } = await start('socks');
  const host = scheme === 'socks4' || scheme === 'socks5' ? '127.0.0.1' : 'here.example';
  const proxied = (url: string) => curl('-x', `${scheme}://127.0.0.1:${at}`, url);
  expect(await proxied(`http://${host}:${port}/`)).toBe(`served ${host}:${port}`);
  expect(await proxied(`http://${host}:${port + 1}/`)).toMatch(/^97: /);
});

it('what a client says at once goes with it; one that does not go on is not waited for', async () => {
  const { client } = await start('socks');
  const eager = await client();
  const request = `GET / HTTP/1.1\r\nHost: eager\r\nConnection: close\r\n\r\n`;
  eager.send(`\x04\x01${String.fromCharCode(port >> 8, port & 255)}\x7f\0\0\x01me\0${request}`);
  expect(await eager.got(/served eager$/)).toMatch(/^\0Z/);
  eager.socket.destroy();
  const silent = await client();
  silent.send('\x05\x01');
  await silent.over();
  await until(() => proxy?.status().activeConnections === 0);
});
