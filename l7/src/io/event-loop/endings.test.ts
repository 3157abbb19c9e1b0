import { afterEach, expect, test } from 'vitest';
import {
  openDescriptors,
  type ProxyUnderTest,
  startProxyUnderTest,
  type TestClient,
  until,
} from '../testing/proxy-under-test.ts';

/* Ends that nobody wishes for: whoever leaves when, and whoever says nothing, nothing is left behind. */

let proxy: ProxyUnderTest;
afterEach(() => proxy.stop());

const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const post = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx';
const chunked = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel';
const upgrade = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n';
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const half = 'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok';
const switched = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n';

/** Where an exchange is when somebody leaves: what the client has sent, and the backend. */
const phases: readonly (readonly [name: string, sent: string, answered: string | undefined])[] = [
  ['before a byte', '', undefined],
  ['in a head', 'GET / HTTP', undefined],
  ['while the backend thinks', get, ''],
  ['in a body', post, ''],
  ['in a chunk', chunked, ''],
  ['in the head of an answer', get, 'HTTP/1.1 200 OK\r\nContent'],
  ['after an interim answer', get, 'HTTP/1.1 103 Early Hints\r\n\r\n'],
  ['in an answer', get, half],
  ['in a chunk of an answer', get, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel'],
  ['in an answer without length', get, 'HTTP/1.1 200 OK\r\n\r\nok'],
  ['in a body that is being answered', post, half],
  ['between requests', get, ok],
  ['in a tunnel', upgrade, switched],
];

async function reach(sent: string, answered: string | undefined): Promise<TestClient> {
  let asked = false;
  proxy.backend.script = (socket) => {
    if (!asked && answered !== undefined && answered !== '') socket.write(answered);
    asked = true;
  };
  const client = await proxy.client();
  if (sent !== '') client.send(sent);
  if (answered !== undefined) await until(() => asked);
  if (answered?.includes('\r\n\r\n') && !answered.includes('Early')) await client.got(/\r\n\r\n/);
  return client;
}

test('whoever leaves at any moment, gracefully or not, leaves nothing open', async () => {
  proxy = await startProxyUnderTest({ lingerMs: 50, upstreamIdleMs: 60_000 });
  const before = openDescriptors();
  for (const [name, sent, answered] of phases) {
    for (const who of ['client', 'backend'] as const) {
      if (who === 'backend' && answered === undefined) continue;
      for (const how of ['end', 'reset'] as const) {
        const client = await reach(sent, answered);
        const [backend] = proxy.backend.open;
        const leaver = who === 'client' ? client.socket : backend;
        if (how === 'end') leaver?.destroy();
        else leaver?.resetAndDestroy();
        // A client between requests is not told of its backend's end, and goes by itself.
        const told = () =>
          name === 'between requests' ||
          client.ended !== undefined ||
          /HTTP\/1\.1 502 |\r\n0\r\n\r\n$/.test(client.text);
        if (who === 'backend') await until(told, () => `${name} ${how}: ${JSON.stringify(client.text)}`);
        client.socket.destroy();
        const kept = name === 'between requests' && who === 'client';
        const what = () =>
          `${who} ${how} ${name}: ${openDescriptors() - before} descriptors, ${proxy.backend.open.size} open`;
        await until(() => proxy.status().activeConnections === 0, what);
        await until(() => proxy.backend.open.size === (kept ? 1 : 0), what);
        for (const socket of proxy.backend.open) socket.destroy();
        await until(() => openDescriptors() === before, what);
      }
    }
  }
});

test('an answer that breaks off is a reset, one that never began a 502', async () => {
  proxy = await startProxyUnderTest();
  const broken = async (answered: string) => {
    const client = await reach(get, answered);
    for (const socket of proxy.backend.open) socket.destroy();
    const how = await client.over();
    return `${how} ${/^HTTP\/1.1 \d+/.exec(client.text)?.[0]}`;
  };
  expect(await broken(half)).toBe('reset HTTP/1.1 200');
  const client = await reach(get, 'HTTP/1.1 2');
  for (const socket of proxy.backend.open) socket.destroy();
  await client.got(/^HTTP\/1.1 502 /);
  client.socket.destroy();
});

const quick = {
  headTimeoutMs: 150,
  transferWindowMs: 150,
  tunnelIdleMs: 150,
  upstreamIdleMs: 150,
  lingerMs: 100,
} as const;

test.each([
  ['a connection without a request', '', undefined, /^$/, 'end'],
  ['a head that does not go on', 'GET / HT', undefined, /^HTTP\/1.1 408 /, 'end'],
  ['a body that does not go on', post, '', /^HTTP\/1.1 408 /, 'end'],
  ['a chunk that does not go on', chunked, '', /^HTTP\/1.1 408 /, 'end'],
  ['a body that does not go on after its answer began', post, half, /^HTTP\/1.1 200 /, 'reset'],
  ['a connection between requests', get, ok, /ok$/, 'end'],
  ['a tunnel', upgrade, switched, /101/, 'end'],
] as const)('a client that says nothing: %s', async (_name, sent, answered, text, how) => {
  proxy = await startProxyUnderTest(quick, { keepAliveMs: 150 });
  const client = await reach(sent, answered);
  expect(await client.over()).toBe(how);
  expect(client.text).toMatch(text);
  await until(() => proxy.backend.open.size === 0 && proxy.status().activeConnections === 0);
});

test('a client that sends, or takes, a byte now and then is too slow', async () => {
  proxy = await startProxyUnderTest({ ...quick, minTransferBytes: 5000 });
  const dripping = async (client: TestClient) => {
    const timer = setInterval(() => client.send('x'), 20);
    const how = await client.over();
    clearInterval(timer);
    return how;
  };
  expect(await dripping(await reach(post.replace('100', '1000000'), ''))).toBe('end');

  const big = Buffer.alloc(8 << 20);
  let asked = false;
  proxy.backend.script = (socket) => {
    asked = true;
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${big.length}\r\n\r\n`);
    socket.write(big);
  };
  const client = await proxy.client();
  client.socket.pause();
  client.send(get);
  await until(() => asked);
  await until(() => proxy.backend.open.size === 0 && proxy.status().activeConnections === 0);
  client.socket.destroy();
});

test('a client that sends fast enough is let go on, however long it takes', async () => {
  proxy = await startProxyUnderTest({ ...quick, minTransferBytes: 20 });
  proxy.backend.script = (socket, request) => {
    if (request.endsWith('end')) socket.write(ok);
  };
  let got = '';
  proxy.backend.script = (socket, request) => {
    got += request;
    if (got.endsWith('end')) socket.write(ok);
  };
  const client = await proxy.client();
  client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 603\r\n\r\n');
  for (let i = 0; i < 30; i++) {
    client.send('x'.repeat(20));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  client.send('end');
  await client.got(/ok$/);
  client.socket.destroy();
});

test('a backend that never answers is 504, one that stops in its answer a reset', async () => {
  proxy = await startProxyUnderTest({}, { responseMs: 150 });
  const silent = await reach(get, '');
  await silent.got(/^HTTP\/1.1 504 /);
  silent.socket.destroy();
  const stopped = await reach(get, half);
  expect(await stopped.over()).toBe('reset');
  await until(() => proxy.backend.open.size === 0);
});

test('the loop leaves Node its turns, and its own clients theirs', async () => {
  proxy = await startProxyUnderTest({ maxRequestsPerConnection: 1_000_000 });
  proxy.backend.script = (socket) => socket.write(ok);
  const clients = await Promise.all(Array.from({ length: 8 }, () => proxy.client()));
  let answers = 0;
  for (const client of clients) {
    client.socket.on('data', () => {
      answers += 1;
      client.send(get);
    });
    client.send(get);
  }
  let timers = 0;
  const timer = setInterval(() => {
    timers += 1;
  }, 10);
  await until(() => answers > 2000 && timers > 10);
  clearInterval(timer);
  for (const client of clients) client.socket.destroy();
});
