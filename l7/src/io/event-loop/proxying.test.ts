import { createHash, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type ProxyUnderTest, startProxyUnderTest, until } from '../testing/proxy-under-test.ts';

/* What goes through the proxy, and how it is framed on either side. */

let proxy: ProxyUnderTest;
beforeAll(async () => {
  proxy = await startProxyUnderTest();
});
afterAll(() => proxy.stop());
afterEach(() => {
  proxy.backend.script = () => undefined;
});

const answer = (text: string) => {
  proxy.backend.script = (socket, request) => {
    if (request.endsWith('\r\n\r\n')) socket.write(text, 'latin1');
  };
};
const get = (path = '/', ...fields: string[]) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields.map((f) => `${f}\r\n`).join('')}\r\n`;

async function ask(request: string, enough: RegExp): Promise<string> {
  const client = await proxy.client();
  client.send(request);
  const text = await client.got(enough);
  client.socket.destroy();
  return text;
}

test('a request that comes byte by byte is the same request', async () => {
  proxy.backend.script = (socket, request) => {
    if (request.endsWith('\r\n\r\n0\r\n\r\n') || !/Transfer/.test(request)) return;
    if (request.endsWith('0\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  };
  let seen = '';
  const { script } = proxy.backend;
  proxy.backend.script = (socket, request) => {
    seen += request;
    if (seen.endsWith('0\r\n\r\n')) script(socket, seen);
  };
  const client = await proxy.client();
  client.socket.setNoDelay(true);
  for (const byte of 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n') {
    client.send(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await client.got(/ok$/)).toBe('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  client.socket.destroy();
});

test('pipelined requests are answered in their order, over one upstream connection', async () => {
  proxy.backend.script = (socket, request) => {
    const path = / (\/\S*)/.exec(request)?.[1] ?? '';
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
  };
  const { opened } = proxy.backend;
  const client = await proxy.client();
  client.send(Array.from({ length: 60 }, (_, i) => get(`/${i}`)).join(''));
  const text = await client.got(/\/59$/);
  expect([...text.matchAll(/\r\n\r\n\/(\d+)/g)].map((match) => Number(match[1]))).toEqual(
    Array.from({ length: 60 }, (_, i) => i),
  );
  expect(proxy.backend.opened - opened).toBeLessThanOrEqual(1);
  client.socket.destroy();
});

test('the hundredth request, or one of the ten before it, is the last of its connection', async () => {
  answer('HTTP/1.1 204 No Content\r\n\r\n');
  const client = await proxy.client();
  client.send(Array.from({ length: 101 }, () => get()).join(''));
  expect(await client.over()).toBe('end');
  const answers = client.text.split('HTTP/1.1 ').slice(1);
  expect(answers.length).toBeGreaterThanOrEqual(90);
  expect(answers.length).toBeLessThanOrEqual(100);
  expect(answers.map((text) => text.includes('Connection: close'))).toEqual(
    answers.map((_, i) => i === answers.length - 1),
  );
});

test.each([
  [
    'chunks',
    '1.1',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: v\r\n\r\n',
    /^HTTP\/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/,
  ],
  [
    'chunks',
    '1.0',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    /^HTTP\/1.1 200 OK\r\nConnection: close\r\n\r\nhello$/,
  ],
  [
    'a length',
    '1.1',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    /^HTTP\/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello$/,
  ],
  [
    'a length',
    '1.0',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    /Content-Length: 5\r\nConnection: close\r\n\r\nhello$/,
  ],
  [
    'no length of 204',
    '1.1',
    'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
    /^HTTP\/1.1 204 No Content\r\n\r\n$/,
  ],
  [
    '304 with a length',
    '1.1',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
    /^HTTP\/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n$/,
  ],
])('%s for HTTP/%s', async (_name, version, text, expected) => {
  answer(text);
  expect(await ask(get().replace('1.1', version), expected)).toMatch(expected);
});

test.each([
  [
    '1.1',
    /^HTTP\/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n(?:6\r\n world\r\n)?0\r\n\r\n$/,
  ],
  ['1.0', /^HTTP\/1.1 200 OK\r\nConnection: close\r\n\r\nhello(?: world)?$/],
])('a body that ends with its connection, for HTTP/%s', async (version, expected) => {
  proxy.backend.script = (socket) => socket.end('HTTP/1.0 200 OK\r\n\r\nhello');
  expect(await ask(get().replace('1.1', version), expected)).toMatch(expected);
});

test('HEAD has no body, whatever its answer says', async () => {
  answer('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
  const client = await proxy.client();
  client.send(get().replace('GET', 'HEAD') + get('/2').replace('GET', 'HEAD'));
  await client.got(/^(HTTP\/1.1 200 OK\r\nContent-Length: 5\r\n\r\n){2}$/);
  client.socket.destroy();
});

test('1xx answers go through; an HTTP/1.0 client is not told', async () => {
  const early = 'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n';
  answer(`${early}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`);
  expect(await ask(get(), /200 OK/)).toMatch(/^HTTP\/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP\/1.1 200/);
  expect(await ask(get().replace('1.1', '1.0'), /200 OK/)).toMatch(/^HTTP\/1.1 200/);
});

test('100-continue: the body follows when the backend asks for it', async () => {
  proxy.backend.script = (socket, request) => {
    if (request.includes('Expect')) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${request.length}\r\n\r\n${request}`);
  };
  const client = await proxy.client();
  client.send('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n');
  await client.got(/^HTTP\/1.1 100 Continue\r\n\r\n$/);
  client.send('body');
  await client.got(/\r\n\r\nbody$/);
  client.socket.destroy();
});

test.each([
  [
    'more than its answer',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil',
    /\r\n\r\nok$/,
  ],
  ['a body of 204', 'HTTP/1.1 204 No Content\r\n\r\nevil', /204 No Content\r\n\r\n$/],
])('a backend that says %s is not asked on that connection again', async (_name, text, expected) => {
  answer(text);
  const { opened } = proxy.backend;
  expect(await ask(get(), expected)).toMatch(expected);
  expect(await ask(get(), expected)).toMatch(expected);
  expect(proxy.backend.opened - opened).toBeGreaterThanOrEqual(1);
  await until(() => proxy.backend.open.size === 0);
});

test.each([
  ['speaks no HTTP', 'hello\r\n\r\n'],
  ['sends two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx'],
  ['sends a wrong chunk at once', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
  ['switches protocols unasked', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n'],
  ['sends fields for ever', `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(20_000)}`],
  ['sends 1xx for ever', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100)],
])('502 when a backend %s', async (_name, text) => {
  answer(text);
  const before = proxy.status().responses;
  await ask(get(), /HTTP\/1.1 502 Bad Gateway\r\n/);
  const after = proxy.status().responses;
  expect([(after['5xx'] ?? 0) - (before['5xx'] ?? 0), after['2xx']]).toEqual([1, before['2xx']]);
});

test('a wrong chunk in the middle resets the client, which could not tell it from an end', async () => {
  proxy.backend.script = (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    setTimeout(() => socket.write('zz\r\n'), 20);
  };
  const client = await proxy.client();
  client.send(get());
  expect(await client.over()).toBe('reset');
});

test('a wrong chunk in the middle of an upload is 400, and its backend sees no end of it', async () => {
  let got = '';
  proxy.backend.script = (_socket, request) => {
    got += request;
  };
  const client = await proxy.client();
  client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  await until(() => got.includes('abc'));
  client.send('zz\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(await client.got(/400 Bad Request/)).toMatch(/^HTTP\/1.1 400 /);
  await until(() => proxy.backend.open.size === 0);
  expect(got).not.toMatch(/zz|smuggled/);
  client.socket.destroy();
});

test('20 MB each way at the same time, both ends slow, arrive whole', async () => {
  const hash = (data: Buffer | string) => createHash('sha256').update(data).digest('hex');
  const block = randomBytes(20 << 20);
  const upload = createHash('sha256');
  let uploaded = 0;
  proxy.backend.script = (socket) => {
    proxy.backend.script = () => undefined;
    socket.removeAllListeners('data');
    socket.on('data', (piece) => {
      upload.update(piece);
      uploaded += piece.length;
      if (uploaded === block.length) socket.write(block.subarray(0, 1));
      socket.pause();
      setTimeout(() => socket.resume(), 1);
    });
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n');
    // An answer that is whole would end the upload.
    socket.write(block.subarray(1));
  };
  const client = await proxy.client();
  const digest = createHash('sha256');
  let length = 0;
  client.socket.removeAllListeners('data');
  client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20971520\r\n\r\n');
  let headDone = false;
  client.socket.on('data', (piece: Buffer) => {
    const body = headDone ? piece : piece.subarray(piece.indexOf('\r\n\r\n') + 4);
    headDone = true;
    digest.update(body);
    length += body.length;
    client.socket.pause();
    setTimeout(() => client.socket.resume(), 1);
  });
  await until(() => headDone);
  client.socket.write(block);
  await until(
    () => length === block.length && uploaded === block.length,
    () => `${length} down, ${uploaded} up`,
  );
  const turned = Buffer.concat([block.subarray(1), block.subarray(0, 1)]);
  expect([digest.digest('hex'), upload.digest('hex')]).toEqual([hash(turned), hash(block)]);
  client.socket.destroy();
  // This connection is not for other tests.
  for (const socket of proxy.backend.open) socket.destroy();
  await until(() => proxy.backend.open.size === 0);
});

/** Writes up to 64 MB as long as somebody takes them; resolves with how many MB were taken. */
async function pour(socket: Socket): Promise<number> {
  const block = Buffer.alloc(1 << 20);
  let taken = 0;
  let last = performance.now();
  const more = () => {
    taken += 1;
    last = performance.now();
    if (taken < 64) socket.write(block, more);
  };
  socket.write(block, more);
  await until(() => taken >= 64 || performance.now() - last > 300);
  return taken;
}

test('who does not take is not sent more, and the proxy does not hold it for him', async () => {
  let backend: Socket | undefined;
  proxy.backend.script = (socket) => {
    backend = socket;
    socket.pause();
  };
  const client = await proxy.client();
  client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n');
  await until(() => backend !== undefined);
  expect(await pour(client.socket)).toBeLessThan(40);
  client.socket.pause();
  backend?.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n');
  expect(await pour(backend as Socket)).toBeLessThan(40);
  client.socket.destroy();
});

test('a tunnel passes bytes both ways, each way to its own end, and what came early', async () => {
  proxy.backend.script = (socket, request) => {
    if (request.includes('Upgrade: chat')) {
      socket.allowHalfOpen = true;
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\nX-A: b\r\n\r\nwelcome ',
      );
    } else if (request.includes('question')) socket.end(`to ${request}`);
  };
  const client = await proxy.client();
  client.send(`${get('/', 'Connection: Upgrade', 'Upgrade: chat')}early `);
  await client.got(/welcome $/);
  client.send('question');
  client.socket.end();
  expect(await client.over()).toBe('end');
  expect(client.text).toMatch(
    /^HTTP\/1.1 101 Switching Protocols\r\nX-A: b\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nwelcome to (early )?question$/,
  );
});

test('OPTIONS and TRACE go as far as Max-Forwards says', async () => {
  let seen = '';
  proxy.backend.script = (socket, request) => {
    if (!request.endsWith('\r\n\r\n')) return;
    seen += request;
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  };
  const client = await proxy.client();
  client.send('TRACE /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\nX: y\r\n\r\n');
  await client.got(/ok$/);
  expect(seen).toContain('Max-Forwards: 1\r\nX: y\r\n');
  client.send('TRACE /b?c HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nCookie: secret\r\nX: y\r\n\r\n');
  const reflected = 'TRACE /b?c HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nX: y\r\n\r\n';
  expect(await client.got(/X: y\r\n\r\n$/)).toContain(
    `HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: ${reflected.length}\r\n\r\n${reflected}`,
  );
  client.send('OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n');
  await client.got(/Content-Length: 0\r\n\r\n$/);
  client.send('OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: 5\r\n\r\n');
  expect(await client.got(/Connection: close\r\n\r\n$/)).toMatch(
    /Content-Length: 0\r\nConnection: close\r\n\r\n$/,
  );
  expect(seen.match(/HTTP\/1\.1/g)).toHaveLength(1);
  client.socket.destroy();
});

test('Via names this proxy to the backend, and a request that goes round is refused', async () => {
  const named = await startProxyUnderTest({}, { listener: { via: 'edge-1' } });
  let seen = '';
  named.backend.script = (socket, request) => {
    seen += request;
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  };
  const client = await named.client();
  client.send('GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 before (x)\r\n\r\n');
  await client.got(/ok$/);
  expect(seen).toMatch(/\r\nVia: 1\.0 before \(x\)\r\n(?:.*\r\n)*Via: 1\.1 edge-1\r\n/);
  client.send('GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n');
  await client.got(/ok[\s\S]*ok$/);
  expect(seen).toContain('Via: 1.0 edge-1\r\n');
  client.send(seen.slice(0, seen.indexOf('\r\n\r\n') + 4));
  expect(await client.got(/508[\s\S]*here before\n$/)).toContain('HTTP/1.1 508 Loop Detected\r\n');
  expect(seen.match(/HTTP\/1\.1/g)).toHaveLength(2);
  client.socket.destroy();
  await named.stop();
});
