import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { closeSocket, lastName, listenOn, readLocalName } from '@l4d/kit/ffi/event-socket.ts';
import { afterEach, expect, test } from 'vitest';
import { bindLoopback } from '../listening-socket.ts';
import {
  type ListenerParts,
  type ProxyUnderTest,
  startProxyUnderTest,
  until,
} from '../testing/proxy-under-test.ts';

const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const post = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n';
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

let proxy: ProxyUnderTest;
const servers: Server[] = [];
const sockets: Socket[] = [];
const full: number[] = [];

afterEach(async () => {
  await proxy.stop();
  for (const server of servers.splice(0)) server.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const fd of full.splice(0)) closeSocket(fd);
});

/** A backend that does this with each request. */
async function backend(script: (socket: Socket) => void): Promise<{ port: number; asked: number }> {
  const state = { port: 0, asked: 0 };
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => {
      state.asked += 1;
      script(socket);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  servers.push(server);
  state.port = (server.address() as AddressInfo).port;
  return state;
}

/** A port where nobody listens. */
async function nobody(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A port whose listener takes nobody any more: connections to it come about never. */
async function fullPort(): Promise<number> {
  const fd = bindLoopback(4);
  full.push(fd);
  listenOn(fd, 0);
  readLocalName(fd);
  const name = lastName();
  const port = name.charCodeAt(0) * 256 + name.charCodeAt(1);
  const waiting = connect(port, '127.0.0.1').on('error', () => undefined);
  await once(waiting, 'connect');
  sockets.push(waiting);
  return port;
}

async function start(ports: readonly number[], listener: ListenerParts['listener'] = {}): Promise<void> {
  const backends = ports.map((port) => ({ address: '127.0.0.1', port }));
  proxy = await startProxyUnderTest({}, { pools: [{ name: 'default', backends }], listener });
}

/** The status line of the answer to one request. */
async function answer(request: string): Promise<string> {
  const client = await proxy.client();
  client.send(request);
  await client.got(/\r\n\r\n/);
  client.socket.destroy();
  return client.text.slice(9, 12);
}

const leave = (socket: Socket) => void socket.destroy();
const serve = (socket: Socket) => void socket.write(ok);

test('a request that may be sent twice goes to the next backend when the first breaks off', async () => {
  const [bad, good] = [await backend(leave), await backend(serve)];
  await start([bad.port, good.port]);
  const answers: string[] = [];
  for (let i = 0; i < 6; i++) answers.push(await answer(get));
  expect(answers).toEqual(Array(6).fill('200'));
  expect(bad.asked).toBe(3);
  expect(proxy.status()).toMatchObject({ retries: 3, retriesRefused: 0 });
  // Of a method that is not idempotent nobody knows whether it was done.
  expect([await answer(post), await answer(post)].sort()).toEqual(['200', '502']);
  expect(proxy.status().retries).toBe(3);
});

test('an answer that has begun is nobody else’s', async () => {
  const [bad, good] = [await backend((socket) => socket.end('HTTP/1.1 20')), await backend(serve)];
  await start([bad.port, good.port]);
  expect([await answer(get), await answer(get)].sort()).toEqual(['200', '502']);
  expect(proxy.status().retries).toBe(0);
});

test('one that is silent for too long is followed by the next, all of them within the bound of the request', async () => {
  const [silent, good] = [await backend(() => undefined), await backend(serve)];
  await start([silent.port, good.port], { timeouts: { responseMs: 100 } });
  expect([await answer(get), await answer(get)]).toEqual(['200', '200']);
  await proxy.stop();

  const others = [await backend(() => undefined), await backend(() => undefined)];
  await start(
    others.map(({ port }) => port),
    { timeouts: { responseMs: 300, requestMs: 400 } },
  );
  const begin = performance.now();
  expect(await answer(get)).toBe('504');
  // Both were asked: more than one try, less than two whole ones.
  expect(others.map(({ asked }) => asked)).toEqual([1, 1]);
  expect(performance.now() - begin).toBeGreaterThanOrEqual(395);
  await until(() => proxy.status().activeConnections === 0);
});

test('the bound of a request begins when its body is sent', async () => {
  const slow = await backend(() => undefined);
  await start([slow.port], { timeouts: { requestMs: 150 } });
  const client = await proxy.client();
  client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n');
  for (let i = 0; i < 20; i++) {
    client.send('xx');
    await new Promise((resolve) => setTimeout(resolve, 15));
    expect(client.text).toBe('');
  }
  await client.got(/^HTTP\/1.1 504 /);
  client.socket.destroy();
});

test('tries are counted, and a budget of nothing allows one', async () => {
  const dead = [await nobody(), await nobody(), await nobody(), await nobody()];
  await start(dead, { retries: { tries: 2 } });
  expect(await answer(get)).toBe('502');
  expect(proxy.status().backends.reduce((sum, { errors }) => sum + errors, 0)).toBe(2);
  await proxy.stop();

  await start(dead, { retries: { budgetPercent: 0 } });
  expect(await answer(post)).toBe('502');
  expect(proxy.status()).toMatchObject({ retries: 0, retriesRefused: 1 });
});

test('backends that fail everything are not asked for more than the budget', async () => {
  const bad = await Promise.all([backend(leave), backend(leave), backend(leave)]);
  await start(
    bad.map(({ port }) => port),
    { retries: { budgetPercent: 10 } },
  );
  const count = 200;
  const begin = performance.now();
  for (let i = 0; i < count; i++) expect(await answer(get)).toBe('502');
  const seconds = (performance.now() - begin) / 1000;
  const { retries, retriesRefused } = proxy.status();
  // 10 at the begin, 10 a second, and a tenth of what came.
  expect(retries).toBeLessThanOrEqual(10 + 10 * seconds + count / 10 + 1);
  expect(retries).toBeGreaterThanOrEqual(20);
  expect(retriesRefused).toBeGreaterThan(0);
});

test.each(['http', 'tcp'] as const)(
  'mode %s: one that cannot be reached rests while there are others',
  async (mode) => {
    const good = await backend(serve);
    const dead = await nobody();
    await start([dead, good.port], { mode });
    for (let i = 0; i < 30; i++) expect(await answer(get)).toBe('200');
    const [first] = proxy.status().backends;
    // Once, and once more for each time that its rest was over meanwhile.
    expect(first?.errors).toBeGreaterThanOrEqual(1);
    expect(first?.errors).toBeLessThanOrEqual(4);
    expect(proxy.status().retries).toBe(first?.errors);
  },
);

test('a body that comes while a backend cannot be reached goes to the next one, over a kept connection too', async () => {
  let got = 0;
  const upload = 300_000;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    let left = 0;
    socket.on('data', (piece) => {
      const text = piece.toString('latin1');
      const length = /Content-Length: (\d+)\r\n/.exec(text)?.[1];
      if (length !== undefined) left = Number(length) + text.indexOf('\r\n\r\n') + 4;
      else if (text.startsWith('GET')) left = text.length;
      got += piece.length;
      left -= piece.length;
      if (left === 0) socket.write(ok);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  servers.push(server);
  const dead = await fullPort();
  await start([(server.address() as AddressInfo).port, dead], { timeouts: { connectMs: 200 } });
  // A connection is kept; the next turn is that of the one that cannot be reached.
  expect(await answer(get)).toBe('200');
  const client = await proxy.client();
  client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${upload}\r\n\r\n`);
  await until(() => (proxy.status().backends.find(({ port }) => port === dead)?.requests ?? 0) > 0);
  client.send('x'.repeat(upload));
  await client.got(/^HTTP\/1.1 200 /);
  expect(got).toBeGreaterThan(upload);
  expect(proxy.status().retries).toBe(1);
  client.socket.destroy();
});
