import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  type ProxyUnderTest,
  startProxyUnderTest,
  type TestClient,
  until,
} from '../testing/proxy-under-test.ts';

/*
 * Backends that say more than they were asked: the surplus would be the answer to the next request on the connection,
 * whosever it is (response splitting). Whatever its phase, no client but the one that asked gets a byte of it.
 */

let proxy: ProxyUnderTest;
beforeAll(async () => {
  proxy = await startProxyUnderTest({ upstreamIdleMs: 60_000 });
});
afterAll(() => proxy.stop());
afterEach(async () => {
  proxy.backend.script = () => undefined;
  for (const socket of proxy.backend.open) socket.destroy();
  await until(() => proxy.backend.open.size === 0);
});

const evil = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL';
const ok = (text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
const request = (path: string, method = 'GET') => `${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
const pathOf = (text: string) => / (\/\S*)/.exec(text)?.[1] ?? '';

/** Answers each request with its path, and the first of all with what `more` does besides. */
function backend(more: (socket: Socket, answer: string) => void): void {
  let first = true;
  proxy.backend.script = (socket, text) => {
    const answer = ok(pathOf(text));
    if (first) more(socket, answer);
    else socket.write(answer, 'latin1');
    first = false;
  };
}

/** Asks on a new connection; all that it gets. */
async function asks(path: string): Promise<string> {
  const client = await proxy.client();
  client.send(request(path));
  const text = await client.got(/\r\n\r\n[\s\S]+/);
  client.socket.destroy();
  return text;
}

async function connected(): Promise<TestClient> {
  const client = await proxy.client();
  client.socket.setNoDelay(true);
  return client;
}

test('with the answer: the connection ends with it', async () => {
  backend((socket, answer) => void socket.write(answer + evil, 'latin1'));
  const { opened } = proxy.backend;
  expect(await asks('/1')).toMatch(/\r\n\r\n\/1$/);
  await until(() => proxy.backend.open.size === 0);
  expect(await asks('/2')).toMatch(/\r\n\r\n\/2$/);
  expect(proxy.backend.opened).toBe(opened + 2);
});

test.each([
  ['another answer', evil],
  ['an interim answer', 'HTTP/1.1 100 Continue\r\n\r\n'],
  ['a line end', '\r\n'],
])('between requests, %s: the connection ends at once', async (_, surplus) => {
  backend((socket, answer) => {
    socket.write(answer, 'latin1');
    setTimeout(() => socket.write(surplus, 'latin1'), 50);
  });
  const { opened } = proxy.backend;
  const client = await connected();
  client.send(request('/1'));
  await client.got(/\/1$/);
  await until(() => proxy.backend.open.size === 0);
  client.send(request('/2'));
  expect(await client.got(/\/2$/)).not.toContain('EVIL');
  expect(proxy.backend.opened).toBe(opened + 2);
  client.socket.destroy();
});

test('at the same time as the next request, which was there before', async () => {
  backend((socket, answer) => void socket.write(answer, 'latin1'));
  for (let turn = 0; turn < 20; turn++) {
    const next = await connected();
    await asks('/1');
    await until(() => proxy.backend.open.size === 1);
    const [socket] = proxy.backend.open;
    // The proxy lives in this thread: it finds both at once, the request first.
    next.send(request(`/after-${turn}`));
    socket?.write(evil, 'latin1');
    expect(await next.got(/\r\n\r\n[\s\S]+/)).toMatch(new RegExp(`\\r\\n\\r\\n/after-${turn}$`));
    next.socket.destroy();
    for (const open of proxy.backend.open) open.destroy();
    await until(() => proxy.backend.open.size === 0);
  }
});

test('at the same time as the next request, with more events between them than are taken at a time', async () => {
  backend((socket, answer) => void socket.write(answer, 'latin1'));
  const others = await Promise.all(Array.from({ length: 300 }, connected));
  const next = await connected();
  await asks('/1');
  await until(() => proxy.backend.open.size === 1);
  const [socket] = proxy.backend.open;
  next.send(request('/next'));
  for (const other of others) other.send('G');
  socket?.write(evil, 'latin1');
  expect(await next.got(/\r\n\r\n[\s\S]+/)).toMatch(/\r\n\r\n\/next$/);
  for (const { socket: open } of [next, ...others]) open.destroy();
});

test('behind an answer that fills a read, with the next request waiting', async () => {
  // What is read at a time (layout.receiveBytes of loop.ts): the surplus stays in the kernel.
  const readBytes = 128 * 1024;
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${readBytes}\r\n\r\n`;
  const body = 'x'.repeat(readBytes - head.length);
  const fills = head.replace(String(readBytes), String(body.length)) + body;
  expect(fills).toHaveLength(readBytes);
  let stage = 0;
  proxy.backend.script = (socket, text) => {
    const path = pathOf(text);
    if (path !== '/fills') return void socket.write(ok(path), 'latin1');
    stage += 1;
    // Some make the kernel's window wide enough for all at once.
    socket.write(stage < 10 ? fills : fills + evil, 'latin1');
  };
  for (let turn = 0; turn < 9; turn++) {
    const client = await connected();
    client.send(request('/fills'));
    await client.got(/x$/);
    await until(() => client.text.length >= readBytes);
    client.socket.destroy();
  }
  const client = await connected();
  client.send(request('/fills') + request('/mine'));
  expect(await client.got(/(?:EVIL|\/mine)$/)).toMatch(/\/mine$/);
  client.socket.destroy();
});

test('a body behind the answer to HEAD, and behind 304', async () => {
  for (const status of ['200 OK', '304 Not Modified']) {
    backend((socket) => {
      socket.write(`HTTP/1.1 ${status}\r\nContent-Length: ${evil.length}\r\n\r\n`, 'latin1');
      setTimeout(() => socket.write(evil, 'latin1'), 30);
    });
    const client = await connected();
    client.send(request('/1', 'HEAD'));
    await client.got(/\r\n\r\n$/);
    await until(() => proxy.backend.open.size === 0);
    client.send(request('/2'));
    expect(await client.got(/\/2$/)).not.toContain('EVIL');
    client.socket.destroy();
  }
});

test('an end at the same time as a request that may not be sent twice: it goes over another connection', async () => {
  backend((socket, answer) => void socket.write(answer, 'latin1'));
  const next = await connected();
  await asks('/1');
  await until(() => proxy.backend.open.size === 1);
  const [socket] = proxy.backend.open;
  next.send('POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n');
  socket?.end();
  expect(await next.got(/\r\n\r\n[\s\S]+/)).toMatch(/^HTTP\/1\.1 200 [\s\S]*\/post$/);
  next.socket.destroy();
});

test('connections are still shared where backends behave', async () => {
  backend((socket, answer) => void socket.write(answer, 'latin1'));
  const { opened } = proxy.backend;
  for (let turn = 0; turn < 5; turn++) await asks(`/${turn}`);
  const client = await connected();
  client.send(Array.from({ length: 20 }, (_, i) => request(`/p${i}`)).join(''));
  await client.got(/\/p19$/);
  expect(proxy.backend.opened).toBe(opened + 1);
  client.socket.destroy();
});
