import { expect, test } from 'vitest';
import {
  openDescriptors,
  type ProxyUnderTest,
  startProxyUnderTest,
  type TestClient,
  until,
} from '../testing/proxy-under-test.ts';

/* The end of a drain that has taken as long as it may: who can be told an end is, who would lose something is reset. */

const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const upgrade = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n';
const switched = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n';

/** A client that has sent something, of which the backend has said `answered`; undefined: it was not asked. */
async function reach(proxy: ProxyUnderTest, sent: string, answered?: string): Promise<TestClient> {
  let asked = answered === undefined;
  proxy.backend.script = (socket) => {
    if (!asked && answered !== '') socket.write(answered ?? '');
    asked = true;
  };
  const client = await proxy.client();
  if (sent !== '') client.send(sent);
  await until(() => asked && proxy.status().activeConnections > 0);
  if (answered?.includes('\r\n\r\n')) await client.got(/\r\n\r\n/);
  return client;
}

test.each([
  ['one that has said nothing', '', undefined, 'end', /^$/],
  ['one in a head', 'GET / HT', undefined, 'end', /^HTTP\/1.1 503 [\s\S]*\r\nConnection: close\r\n/],
  ['one that waits for its answer', get, '', 'end', /^HTTP\/1.1 503 [\s\S]*\r\nConnection: close\r\n/],
  [
    'one in its body',
    `${get.replace('GET', 'POST').slice(0, -2)}Content-Length: 9\r\n\r\nx`,
    '',
    'end',
    /^HTTP\/1.1 503 /,
  ],
  [
    'one in its answer',
    get,
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx',
    'reset',
    /^HTTP\/1.1 200 [\s\S]*\r\n\r\nx$/,
  ],
  ['one in an answer without length', get, 'HTTP/1.1 200 OK\r\n\r\nx', 'reset', /^HTTP\/1.1 200 /],
  ['a WebSocket', upgrade, switched, 'end', /^HTTP\/1.1 101 /],
] as const)('%s', async (_name, sent, answered, how, text) => {
  // Not idle for long enough: it is the drain's bound that ends them.
  const proxy = await startProxyUnderTest({ drainIdleMs: 60_000, drainEndMs: 100 });
  const client = await reach(proxy, sent, answered);
  const stopped = proxy.front.drain({ acceptMs: 0, atMostMs: 50 });
  expect(await client.over()).toBe(how);
  expect(client.text).toMatch(text);
  await stopped;
  await until(() => proxy.backend.open.size === 0);
});

test('the last answer of a drain says that it is the last', async () => {
  const proxy = await startProxyUnderTest({ drainIdleMs: 60_000 });
  const client = await reach(proxy, get, '');
  const stopped = proxy.front.drain({ acceptMs: 0, atMostMs: 10_000 });
  for (const socket of proxy.backend.open) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  expect(await client.over()).toBe('end');
  expect(client.text).toMatch(/\r\nConnection: close\r\n[\s\S]*ok$/);
  await stopped;
});

test.each([
  ['silent for a while: an end on both sides', 0, 'end'],
  ["with something just said: a reset, as an end would be taken for the service's", 60_000, 'reset'],
] as const)('a relayed connection that is %s', async (_name, drainIdleMs, how) => {
  const before = openDescriptors();
  const proxy = await startProxyUnderTest({ drainIdleMs, drainEndMs: 100 }, { mode: 'tcp' });
  let ended = '';
  proxy.backend.script = (socket) => {
    socket.on('end', () => {
      ended = 'end';
    });
    socket.on('error', () => {
      ended = 'reset';
    });
    socket.write('welcome');
  };
  const client = await proxy.client();
  client.send('hello\r\n\r\n');
  await client.got(/welcome/);
  const stopped = proxy.front.drain({ acceptMs: 0, atMostMs: 50 });
  expect(await client.over()).toBe(how);
  await until(() => ended !== '');
  expect(ended).toBe(how);
  await stopped;
  await until(() => openDescriptors() <= before + 5);
});
