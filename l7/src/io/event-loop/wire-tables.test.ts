import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { responseLimits } from '../../core/http1/limits.ts';
import { readRequests } from '../../core/http1/testing/read-requests.ts';
import { type ResponseRow, responseRows } from '../../core/http1/testing/response-rows.ts';
import { requestRows } from '../../core/http1/testing/tables.ts';
import { nextRequest, type RequestRow } from '../../core/http1/testing/wire-row.ts';
import {
  openDescriptors,
  type ProxyUnderTest,
  startProxyUnderTest,
  until,
} from '../testing/proxy-under-test.ts';

/* The rows of the codec's tables over sockets: what clients send, and what backends answer. */

let proxy: ProxyUnderTest;
/** Whole requests that the backend has got, in their order. */
let got: string[] = [];
const open = new Set<Socket>();
/** What the backend does with a whole request. */
let answer: (socket: Socket) => void;

const server = createServer((socket) => {
  open.add(socket);
  let text = '';
  socket.on('close', () => open.delete(socket));
  socket.on('error', () => undefined);
  socket.on('data', (piece) => {
    text += piece.toString('latin1');
    const { outcome, partial } = readRequests(text, [], responseLimits, 'server');
    if (partial || outcome.length === 0) return;
    text = '';
    got.push(...outcome.map(String));
    answer(socket);
  });
});

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await startProxyUnderTest(
    { maxRequestsPerConnection: 1000, upstreamIdleMs: 60_000 },
    { backendPort: (server.address() as AddressInfo).port },
  );
});
afterAll(async () => {
  await proxy.stop();
  server.close();
  for (const socket of open) socket.destroy();
});

/** Writes in pieces that the proxy can see apart. */
async function drip(send: (piece: string) => void, text: string, size: number): Promise<void> {
  for (let at = 0; at < text.length; at += size) {
    send(text.slice(at, at + size));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function checkRequest({ bytes, expected, lasts, name }: RequestRow, pieceBytes: number): Promise<void> {
  got = [];
  answer = (socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  const wanted = lasts ? [...expected, 'GET /next'] : expected;
  const codes = wanted.map((one) => (typeof one === 'number' ? one : 200));
  const client = await proxy.client();
  client.socket.setNoDelay(true);
  await drip(client.send, bytes + nextRequest, pieceBytes);
  const read = () => [...client.text.matchAll(/^HTTP\/1\.1 (\d+) /gm)].map(([, code]) => Number(code));
  if (lasts)
    await until(
      () => read().length >= codes.length,
      () => `${name}: ${client.text}`,
    );
  else await client.over();
  client.socket.destroy();
  expect({ name, codes: read(), got }).toEqual({
    name,
    codes,
    got: wanted.filter((one) => typeof one === 'string'),
  });
}

test('every request of the tables, as one piece', async () => {
  for (const row of requestRows) await checkRequest(row, Number.POSITIVE_INFINITY);
});

test('requests of the tables, byte by byte and in pieces', async () => {
  const short = requestRows.filter(({ bytes }) => bytes.length < 200);
  for (const [index, row] of short.entries())
    if (index % 5 === 0) await checkRequest(row, index % 50 === 0 ? 1 : 23);
});

/** What a client has got, as ResponseRow.expected says it. */
function readAnswer(text: string, method: string): string {
  let codes = '';
  let left = text;
  for (;;) {
    const end = left.indexOf('\r\n\r\n');
    if (end < 0) return `broken off: ${text.slice(0, 200)}`;
    const head = left.slice(0, end + 2);
    left = left.slice(end + 4);
    const code = head.slice(9, 12);
    if (code === '502') return 'broken';
    codes += `${code} `;
    if (code.startsWith('1')) continue;
    const length = /^content-length: *(\d+)\r\n/im.exec(head)?.[1];
    const isChunked = /^transfer-encoding: chunked\r\n/im.test(head);
    const hasBody = method !== 'HEAD' && code !== '204' && code !== '304';
    if (isChunked && !left.endsWith('0\r\n\r\n')) return 'waits';
    if (hasBody && length !== undefined && left.length < Number(length)) return 'waits';
    if (hasBody && length !== undefined && left.length > Number(length)) return `too much: ${text}`;
    const framing = isChunked ? 'chunked' : length !== undefined ? 'length' : hasBody ? 'close' : 'none';
    return `${codes}${framing} ${isChunked ? left.replace(/[0-9a-f]+\r\n(.*?)\r\n/gs, '$1').replace('\r\n', '') : left}`;
  }
}

async function checkResponse(row: ResponseRow, pieceBytes: number): Promise<void> {
  const { name, bytes, ends, method, minorVersion, expected, kept } = row;
  answer = (socket) =>
    void drip((piece) => socket.write(piece, 'latin1'), bytes, pieceBytes).then(() => {
      if (ends) socket.end();
    });
  const client = await proxy.client();
  client.send(`${method} / HTTP/1.${minorVersion}\r\nHost: a\r\n\r\n`);
  const read = () => (client.ended === 'reset' ? 'broken' : readAnswer(client.text, method));
  const isOver = () => client.ended !== undefined || (minorVersion === 1 && read() === expected);
  await until(isOver, () => `${name}: ${client.text.slice(0, 500)}`);
  const told = read();
  client.socket.destroy();
  await until(() => proxy.status().activeConnections === 0);
  const wanted = kept ? 1 : 0;
  await until(
    () => open.size === wanted,
    () => `${name}: ${open.size} connections, ${wanted} expected`,
  );
  expect({ name, told }).toEqual({ name, told: expected });
}

test('every answer of the tables, as one piece and in pieces; nothing stays open', async () => {
  for (const socket of open) socket.destroy();
  await until(() => open.size === 0);
  const before = openDescriptors();
  for (const row of responseRows) await checkResponse(row, Number.POSITIVE_INFINITY);
  for (const [index, row] of responseRows.entries())
    if (row.bytes.length < 200 && index % 2 === 0) await checkResponse(row, 29);
  for (const socket of open) socket.destroy();
  await until(
    () => openDescriptors() <= before,
    () => `${openDescriptors() - before} descriptors more`,
  );
});
