import { expect, test } from 'vitest';
import { clientFields } from './forwarded.ts';
import { HeadParser } from './head-parser.ts';
import { requestLimits, responseLimits } from './limits.ts';
import {
  clientResponseHead,
  interimHead,
  isIdempotent,
  responseFraming,
  upstreamRequestHead,
  wantsTunnel,
} from './message-heads.ts';

function parsed(kind: 'request' | 'response', text: string): HeadParser {
  const parser = new HeadParser(kind, kind === 'request' ? requestLimits : responseLimits);
  expect(parser.parse(`${text}\r\n\r\n`)).toBe('complete');
  return parser;
}

const forwarded = clientFields({ address: '192.0.2.9', scheme: 'http', port: 8080, withForwarded: false });
const sent = (text: string, use: 'kept' | 'once' | 'tunnel' = 'kept') =>
  upstreamRequestHead(parsed('request', text), '/p', 'a.example', forwarded, use);

test('a request as a backend gets it', () => {
  expect(
    sent('GET http://b/p HTTP/1.1\r\nHost: b\r\nAccept: x\r\nX-Forwarded-For: forged\r\nConnection: close'),
  ).toBe(
    'GET /p HTTP/1.1\r\nHost: a.example\r\nAccept: x\r\nX-Forwarded-For: 192.0.2.9\r\n' +
      'X-Forwarded-Proto: http\r\nX-Forwarded-Port: 8080\r\n\r\n',
  );
});

test('framing and connection are written anew', () => {
  const post = 'POST / HTTP/1.1\r\nHost: a';
  expect(sent(post)).toMatch(/^Content-Length: 0\r$/m);
  expect(sent(`${post}\r\nContent-Length: 4`).match(/Content-Length/g)).toHaveLength(1);
  expect(sent(`${post}\r\nTransfer-Encoding: CHUNKED`)).toMatch(/^Transfer-Encoding: chunked\r$/m);
  expect(sent('GET / HTTP/1.1\r\nHost: a')).not.toMatch(/Content-Length|Connection/);
  expect(sent(post, 'once')).toMatch(/^Connection: close\r$/m);
  expect(sent(`${post}\r\nConnection: upgrade\r\nUpgrade: websocket`, 'tunnel')).toMatch(
    /Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n$/,
  );
});

test('an answer as a client gets it', () => {
  const ok = parsed(
    'response',
    'HTTP/1.0 200 Fine\r\nDate: d\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: x',
  );
  const head = 'HTTP/1.1 200 Fine\r\nDate: d\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n';
  expect(clientResponseHead(ok, 'length', 1, true)).toBe(`${head}\r\n`);
  expect(clientResponseHead(ok, 'chunked', 1, false)).toBe(
    `${head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
  );
  expect(clientResponseHead(ok, 'length', 0, true)).toBe(`${head}Connection: keep-alive\r\n\r\n`);
});

test('1xx and 204 have no Content-Length, 304 and HEAD keep theirs and have no body', () => {
  const of = (status: number) => parsed('response', `HTTP/1.1 ${status} X\r\nA: b\r\nContent-Length: 7`);
  expect(clientResponseHead(of(204), 'none', 1, true)).toBe('HTTP/1.1 204 X\r\nA: b\r\n\r\n');
  expect(interimHead(of(103))).toBe('HTTP/1.1 103 X\r\nA: b\r\n\r\n');
  expect(clientResponseHead(of(304), 'none', 1, true)).toMatch(/Content-Length: 7/);
  expect([204, 304, 200].map((status) => responseFraming(of(status), 'GET'))).toEqual([
    'none',
    'none',
    'length',
  ]);
  expect(responseFraming(of(200), 'HEAD')).toBe('none');
});

test.each([
  ['websocket', 'GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket', true],
  ['no Connection option', 'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket', false],
  ['HTTP/1.0', 'GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket', false],
  ['h2c', 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c', false],
  ['TLS', 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2', false],
  ['a list', 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c', false],
  [
    'a body',
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4',
    false,
  ],
])('tunnel for %s: %#', (_name, text, wanted) => {
  expect(wantsTunnel(parsed('request', text))).toBe(wanted);
});

test('PUT may be sent twice, POST not', () => {
  expect([isIdempotent('PUT'), isIdempotent('POST')]).toEqual([true, false]);
});
