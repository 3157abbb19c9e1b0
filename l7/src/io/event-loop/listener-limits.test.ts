import type { Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import {
  type ListenerParts,
  type ProxyUnderTest,
  startProxyUnderTest,
  until,
} from '../testing/proxy-under-test.ts';

const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
type Limits = NonNullable<NonNullable<ListenerParts['listener']>['limits']>;
type Timeouts = NonNullable<NonNullable<ListenerParts['listener']>['timeouts']>;

let proxy: ProxyUnderTest;
afterEach(() => proxy.stop());

async function answer(request: string, reply = ok): Promise<string> {
  proxy.backend.script = (socket) => void socket.write(reply);
  const client = await proxy.client();
  client.send(request);
  await client.got(/\r\n\r\n/);
  client.socket.destroy();
  return client.text.slice(9, 12);
}

const line = (length: number) => `GET /${'x'.repeat(length - 14)} HTTP/1.1\r\nHost: a\r\n\r\n`;
const head = (length: number) => {
  const begin = 'GET / HTTP/1.1\r\nHost: a\r\nX: ';
  return `${begin}${'x'.repeat(length - begin.length - 4)}\r\n\r\n`;
};
const fields = (count: number, first: string) =>
  `${first}${Array.from({ length: count - 1 }, (_, i) => `X${i}: 1\r\n`).join('')}\r\n`;
const reply = (count: number) => `${fields(count, 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n')}ok`;
const longReply = (length: number) => {
  const begin = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: ';
  return `${begin}${'x'.repeat(length - begin.length - 4)}\r\n\r\nok`;
};
const request = (count: number) => fields(count, 'GET / HTTP/1.1\r\nHost: a\r\n');

test.each<[string, Limits, string, string, string]>([
  ['a request line as long as it may be', { requestLineBytes: 100 }, line(100), ok, '200'],
  ['a longer one', { requestLineBytes: 100 }, line(101), ok, '414'],
  [
    'a line longer than is usual',
    { requestLineBytes: 20_000, requestHeadBytes: 40_000 },
    line(16_000),
    ok,
    '200',
  ],
  ['a head as long as it may be', { requestHeadBytes: 300 }, head(300), ok, '200'],
  ['a longer one', { requestHeadBytes: 300 }, head(301), ok, '431'],
  ['a head longer than is usual', { requestHeadBytes: 49_152 }, head(49_152), ok, '200'],
  ['as many fields as there may be', { requestFields: 3 }, request(3), ok, '200'],
  ['more', { requestFields: 3 }, request(4), ok, '431'],
  ['more fields than usual', { requestFields: 500 }, request(500), ok, '200'],
  ['an answer as long as it may be', { answerHeadBytes: 300 }, get, longReply(300), '200'],
  ['a longer one', { answerHeadBytes: 300 }, get, longReply(301), '502'],
  ['an answer longer than is usual', { answerHeadBytes: 49_152 }, get, longReply(49_152), '200'],
  ['as many fields in an answer', { answerFields: 3 }, get, reply(3), '200'],
  ['more', { answerFields: 3 }, get, reply(4), '502'],
])('limits: %s', async (_name, limits, sent, replied, status) => {
  proxy = await startProxyUnderTest({}, { listener: { limits } });
  expect(await answer(sent, replied)).toBe(status);
});

test.each([1, 2, 7])('a connection ends after %i requests', async (most) => {
  proxy = await startProxyUnderTest({}, { listener: { limits: { requestsPerConnection: most } } });
  proxy.backend.script = (socket) => void socket.write(ok);
  const client = await proxy.client();
  for (let i = 1; i <= most; i++) {
    client.send(get);
    await until(() => client.text.split('ok').length > i);
  }
  expect(await client.over()).toBe('end');
  expect(client.text.match(/Connection: close/g)).toHaveLength(1);
});

test('connections that begin together end one after another', async () => {
  proxy = await startProxyUnderTest({}, { listener: { limits: { requestsPerConnection: 50 } } });
  proxy.backend.script = (socket) => void socket.write(ok);
  const served = async () => {
    const client = await proxy.client();
    for (let i = 1; client.ended === undefined; i++) {
      client.send(get);
      await until(() => client.ended !== undefined || client.text.split('ok').length > i);
    }
    client.socket.destroy();
    return client.text.split('ok').length - 1;
  };
  const counts = await Promise.all(Array.from({ length: 20 }, served));
  expect(Math.max(...counts)).toBeLessThanOrEqual(50);
  expect(Math.min(...counts)).toBeGreaterThan(45 - 1);
  expect(new Set(counts).size).toBeGreaterThan(1);
});

test.each<[string, Timeouts, string, string, RegExp]>([
  ['the head of a request', { headMs: 150 }, 'GET / HT', '', /^HTTP\/1.1 408 /],
  ['the answer in all', { requestMs: 150 }, get, '', /^HTTP\/1.1 504 /],
  [
    'a tunnel',
    { tunnelMs: 150 },
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    /^HTTP\/1.1 101 /,
  ],
])('timeouts of a listener: %s', async (_name, timeouts, sent, replied, expected) => {
  proxy = await startProxyUnderTest({ lingerMs: 50 }, { listener: { timeouts } });
  proxy.backend.script = (socket) => void socket.write(replied);
  const client = await proxy.client();
  client.send(sent);
  await client.got(expected);
  if (replied !== '' || sent !== get) await client.over();
  client.socket.destroy();
});

test('what a listener says of kept connections to backends, and of slow clients', async () => {
  proxy = await startProxyUnderTest(
    { transferWindowMs: 100, lingerMs: 50 },
    { listener: { timeouts: { backendIdleMs: 100 }, limits: { minimumRate: 1000 } } },
  );
  expect(await answer(get)).toBe('200');
  await until(() => proxy.backend.open.size === 0);
  proxy.backend.script = () => undefined;
  const slow = await proxy.client();
  slow.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n');
  const dripping = setInterval(() => slow.send('x'), 20);
  await slow.got(/^HTTP\/1.1 408 /);
  clearInterval(dripping);
  slow.socket.destroy();
});

test.each([
  ['without a body', ''],
  ['with a body', 'hello'],
])(
  'a head that becomes longer than there is memory before a body, %s, is sent whole',
  async (_name, body) => {
    proxy = await startProxyUnderTest(
      {},
      { listener: { forwarded: true, limits: { requestHeadBytes: 49_152 } } },
    );
    let got = '';
    proxy.backend.script = (socket, text) => {
      got = text;
      if (text.endsWith(`\r\n\r\n${body}`)) socket.write(ok);
    };
    // It is sent three times: in Host, X-Forwarded-Host and Forwarded.
    const host = 'a'.repeat(48_000);
    const client = await proxy.client();
    client.send(`PUT / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await until(() => got.endsWith(`\r\n\r\n${body}`));
    expect(got).toContain(`\r\nForwarded: for=127.0.0.1;proto=http;host=${host}\r\n`);
    expect(await client.got(/ok$/)).toMatch(/^HTTP\/1\.1 200 /);
    client.socket.destroy();
  },
);

/** Makes heads of messages no longer than 256 bytes from now on. */
function shortenHeads(): void {
  const { front } = proxy;
  const short = [...front.table].map(([key, listener]) => {
    const { request, response } = listener.limits;
    const limits = {
      ...listener.limits,
      request: { ...request, maxHeadBytes: 256 },
      response: { ...response, maxHeadBytes: 256 },
    };
    return [key, { ...listener, limits }] as const;
  });
  front.usePolicy(new Map(short));
}

const long = `X: ${'x'.repeat(1000)}\r\n\r\n`;

test('limits that change in the middle of a request hold from the next one on', async () => {
  proxy = await startProxyUnderTest();
  const client = await proxy.client();
  client.send('GET / HTTP/1.1\r\n');
  // What was sent later is answered: the begin was read.
  expect(await answer(get)).toBe('200');
  shortenHeads();
  client.send(`Host: a\r\n${long}`);
  expect(await client.got(/ok$/)).toMatch(/^HTTP\/1\.1 200 /);
  client.send(`GET / HTTP/1.1\r\nHost: a\r\n${long}`);
  await client.got(/HTTP\/1\.1 431 /);
  client.socket.destroy();
});

test('limits that change in the middle of an answer hold from the next one on', async () => {
  proxy = await startProxyUnderTest();
  const answering: Socket[] = [];
  proxy.backend.script = (socket) => {
    answering.push(socket);
    socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n');
  };
  const client = await proxy.client();
  client.send('GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n');
  await client.got(/100 Continue/);
  shortenHeads();
  answering[0]?.write(`${long}ok`);
  expect(await client.got(/200 OK[\s\S]*ok$/)).toMatch(/HTTP\/1\.1 200 OK[\s\S]*x{1000}\r\n\r\nok$/);
  client.socket.destroy();
});
