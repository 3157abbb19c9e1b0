import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HeadParser } from './head-parser.ts';
import { requestLimits, responseLimits } from './limits.ts';

/** What a reader of the head goes by. */
function readWhole(parser: HeadParser, text: string) {
  const state = parser.parse(text);
  const { method, target, status, reason, minorVersion, framing, contentLength, fields, host, end } = parser;
  const { closes, keepsAlive, asksUpgrade, upgrade, expectsContinue } = parser;
  if (state === 'refused') return { state, refusal: parser.refusal };
  if (state === 'partial') return { state };
  const connection = { closes, keepsAlive, asksUpgrade, upgrade, expectsContinue };
  return {
    state,
    method,
    target,
    status,
    reason,
    minorVersion,
    framing,
    contentLength,
    fields,
    host,
    end,
    connection,
  };
}

const request = (text: string) => readWhole(new HeadParser('request', requestLimits), text);
const response = (text: string) => readWhole(new HeadParser('response', responseLimits), text);
const get = (...fields: string[]) =>
  `GET / HTTP/1.1\r\nHost: a\r\n${fields.map((f) => `${f}\r\n`).join('')}\r\n`;
const post = (...fields: string[]) => get(...fields).replace('GET', 'POST');

describe('requests that are taken', () => {
  test.each([
    [
      'a plain one',
      get('Accept: x'),
      { method: 'GET', target: '/', host: 'a', framing: 'none', fields: 'Accept: x\r\n' },
    ],
    ['empty lines before it (RFC 9112 2.2)', `\r\n\r\n${get()}`, { method: 'GET', host: 'a' }],
    ['HTTP/1.0 without Host', 'GET / HTTP/1.0\r\n\r\n', { minorVersion: 0, host: undefined }],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', { host: '' }],
    ['an extension method', 'M-SEARCH * HTTP/1.1\r\nHost: a\r\n\r\n', { method: 'M-SEARCH', target: '*' }],
    [
      'a length',
      post('Content-Length: 12'),
      { framing: 'length', contentLength: 12, fields: 'Content-Length: 12\r\n' },
    ],
    ['a length of 0', post('Content-Length: 0'), { framing: 'none', contentLength: 0 }],
    ['chunks', post('Transfer-Encoding: Chunked'), { framing: 'chunked', fields: '' }],
    ['white space around a value', get('X:\t a b \t'), { fields: 'X:\t a b \t\r\n' }],
    ['an empty value', get('X:'), { fields: 'X:\r\n' }],
    ['obs-text in a value', get('X: \xe4\xff'), { fields: 'X: \xe4\xff\r\n' }],
    ['every token character in a name', get("!#$%&'*+-.^_`|~09azAZ: x"), { state: 'complete' }],
    [
      'Expect',
      post('Expect: 100-continue', 'Content-Length: 1'),
      { connection: expect.objectContaining({ expectsContinue: true }) },
    ],
  ])('%s', (_name, text, expected) => {
    expect(request(text)).toMatchObject({ state: 'complete', end: text.length, ...expected });
  });

  test('Connection is read as a list of options in any case', () => {
    expect(request(get('Connection: Keep-Alive , UPGRADE', 'Upgrade: websocket'))).toMatchObject({
      connection: { closes: false, keepsAlive: true, asksUpgrade: true, upgrade: 'websocket' },
    });
    expect(request(get('Upgrade: a', 'Upgrade: b'))).toMatchObject({ connection: { upgrade: '' } });
  });

  test('Expect of HTTP/1.0 is ignored and goes no further (RFC 9110 10.1.1)', () => {
    expect(request('POST / HTTP/1.0\r\nExpect: 100-continue\r\nA: b\r\n\r\n')).toMatchObject({
      fields: 'A: b\r\n',
      connection: { expectsContinue: false },
    });
  });
});

/** One way of being misread by another reader each. */
describe('requests that are refused', () => {
  test.each([
    ['Content-Length and Transfer-Encoding', post('Content-Length: 5', 'Transfer-Encoding: chunked')],
    ['Transfer-Encoding and Content-Length', post('Transfer-Encoding: chunked', 'Content-Length: 5')],
    ['two lengths', post('Content-Length: 5', 'Content-Length: 6')],
    ['two equal lengths', post('Content-Length: 5', 'content-length: 5')],
    ['a list of lengths', post('Content-Length: 5, 5')],
    ['a signed length', post('Content-Length: +5')],
    ['a negative length', post('Content-Length: -1')],
    ['a hexadecimal length', post('Content-Length: 0x5')],
    ['a length with a fraction', post('Content-Length: 5.0')],
    ['an empty length', post('Content-Length:')],
    ['a length beyond counting', post(`Content-Length: ${'9'.repeat(16)}`)],
    ['a vertical tab in a length', post('Content-Length: \v5')],
    ['two Transfer-Encodings', post('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
    ['identity before chunked', post('Transfer-Encoding: identity', 'Transfer-Encoding: chunked')],
    ['chunked twice', post('Transfer-Encoding: chunked, chunked')],
    ['chunked not last', post('Transfer-Encoding: chunked, identity')],
    ['another coding', post('Transfer-Encoding: gzip, chunked')],
    ['an unknown coding', post('Transfer-Encoding: xchunked')],
    ['a quoted coding', post('Transfer-Encoding: "chunked"')],
    ['a coding with a parameter', post('Transfer-Encoding: chunked;q=1')],
    ['an empty coding', post('Transfer-Encoding:')],
    ['Transfer-Encoding in HTTP/1.0', 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['a folded field', get('X: a', ' b')],
    ['a folded field by tab', get('X: a', '\tb')],
    ['a folded Transfer-Encoding', post('Transfer-Encoding:', ' chunked')],
    ['white space before the first field', 'GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n'],
    ['a space before the colon', post('Content-Length : 5')],
    ['a tab before the colon', post('Transfer-Encoding\t: chunked')],
    ['a line without colon', get('X')],
    ['an empty name', get(': x')],
    ['a NUL in a name', get('X\0: a')],
    ['a NUL in a value', get('X: a\0b')],
    ['a control character in a value', get('X: a\x01b')],
    ['a DEL in a value', get('X: \x7f')],
    ['a name with obs-text', get('X\xe4: a')],
    ['a name with a bracket', get('X(y): a')],
    ['a bare LF after a field', 'GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n'],
    ['a bare LF after the request line', 'GET / HTTP/1.1\nHost: a\r\n\r\n'],
    ['a bare LF at the end', 'GET / HTTP/1.1\r\nHost: a\r\n\n'],
    ['a bare CR in a value', get('X: a\rb')],
    ['a bare CR at a line end', 'GET / HTTP/1.1\r\nHost: a\r\r\n\r\n'],
    ['CR CR LF', 'GET / HTTP/1.1\r\nX: a\r\r\nHost: a\r\n\r\n'],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
    ['two Hosts', get('Host: b')],
    ['two equal Hosts', get('host: a')],
    ['two spaces', 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['two spaces before the version', 'GET /  HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a tab for a space', 'GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a space after the version', 'GET / HTTP/1.1 \r\nHost: a\r\n\r\n'],
    ['a space in the target', 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['obs-text in the target', 'GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a space before the method', ' GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['no version (HTTP/0.9)', 'GET /\r\nHost: a\r\n\r\n'],
    ['no target', 'GET HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a version in small letters', 'GET / http/1.1\r\nHost: a\r\n\r\n'],
    ['a version of two digits', 'GET / HTTP/1.10\r\nHost: a\r\n\r\n'],
    ['a method that is no token', 'GE(T / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a TLS hello', '\x16\x03\x01\x02\0\x01\0\x01'],
  ])('%s', (_name, text) => {
    expect(request(text)).toMatchObject({ state: 'refused', refusal: { status: 400 } });
  });

  test('versions that are not spoken here are 505', () => {
    for (const version of ['HTTP/2.0', 'HTTP/1.2', 'HTTP/0.9'])
      expect(request(`GET / ${version}\r\nHost: a\r\n\r\n`)).toMatchObject({ refusal: { status: 505 } });
  });

  test('each limit, at it and above it', () => {
    const { maxStartLineBytes, maxHeadBytes, maxFields } = requestLimits;
    const target = (length: number) => `/${'x'.repeat(length - 'GET / HTTP/1.1'.length)}`;
    const line = (length: number) => `GET ${target(length)} HTTP/1.1\r\nHost: a\r\n\r\n`;
    expect(request(line(maxStartLineBytes)).state).toBe('complete');
    expect(request(line(maxStartLineBytes + 1))).toMatchObject({ refusal: { status: 414 } });
    const sized = (length: number) => get(`X: ${'x'.repeat(length - get('X: ').length)}`);
    expect(request(sized(maxHeadBytes)).state).toBe('complete');
    expect(request(sized(maxHeadBytes + 1))).toMatchObject({ refusal: { status: 431 } });
    const counted = (count: number) => get(...Array.from({ length: count - 1 }, () => 'X: y'));
    expect(request(counted(maxFields)).state).toBe('complete');
    expect(request(counted(maxFields + 1))).toMatchObject({ refusal: { status: 431 } });
    expect(request('\r\n'.repeat(maxHeadBytes))).toMatchObject({ refusal: { status: 431 } });
  });
});

describe('what is sent on', () => {
  test.each([
    ...[
      'Keep-Alive',
      'Proxy-Connection',
      'TE',
      'Trailer',
      'Upgrade',
      'Proxy-Authorization',
      'Proxy-Authenticate',
    ],
    ...[
      'Forwarded',
      'X-Real-IP',
      'X_Forwarded_For',
      'X-Forwarded-For',
      'x-forwarded-host',
      'X-Forwarded-Port',
    ],
    ...['X-Forwarded-Proto', 'X-forwarded_proto', 'x_real-ip', 'Host'],
  ])('%s of a client goes no further', (name) => {
    const text = name === 'Host' ? get('B: 1') : get(`${name}: forged`, 'B: 1');
    expect(request(text)).toMatchObject({ state: 'complete', fields: 'B: 1\r\n' });
  });

  test('what Connection names goes no further, but for framing and Host', () => {
    const fields = [
      'Connection: close, X-Hop, content-length, host',
      'X-Hop: a',
      'Content-Length: 5',
      'x-HOP: b',
      'Y: c',
    ];
    expect(request(post(...fields))).toMatchObject({
      host: 'a',
      framing: 'length',
      fields: 'Content-Length: 5\r\nY: c\r\n',
    });
  });

  test('the rest stays as it was written', () => {
    const kept = 'aCCept:  x\t\r\nCookie: a\r\nCookie: b\r\n';
    expect(request(`GET / HTTP/1.1\r\n${kept}Host: a\r\nTE: x\r\n${kept}\r\n`)).toMatchObject({
      fields: kept + kept,
    });
  });
});

describe('answers', () => {
  test.each([
    [
      'usual',
      'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n',
      { status: 200, reason: 'OK', framing: 'length' },
    ],
    ['no reason', 'HTTP/1.1 204\r\n\r\n', { status: 204, reason: '' }],
    ['an empty reason', 'HTTP/1.0 404 \r\n\r\n', { status: 404, minorVersion: 0, framing: 'close' }],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', { framing: 'chunked' }],
    [
      'fields of its connection',
      'HTTP/1.1 200 OK\r\nConnection: X-A\r\nX-A: 1\r\nServer: s\r\nKeep-Alive: 5\r\nX-Real-IP: kept\r\n\r\n',
      { fields: 'Server: s\r\nX-Real-IP: kept\r\n' },
    ],
  ])('%s', (_name, text, expected) => {
    expect(response(text)).toMatchObject({ state: 'complete', ...expected });
  });

  test.each([
    ['not HTTP', 'this is no HTTP\r\n\r\n'],
    ['an empty line first', '\r\nHTTP/1.1 200 OK\r\n\r\n'],
    ['another version', 'HTTP/2.0 200 OK\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['a status out of range', 'HTTP/1.1 600 X\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n'],
    ['length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n'],
    ['chunks of HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 1\n\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(10_000)}`],
  ])('refused: %s', (_name, text) => {
    expect(response(text).state).toBe('refused');
  });
});

/** Heads that are nearly right, which is where splits matter. */
const nearly = fc
  .array(
    fc.constantFrom(
      ...[
        'GET',
        ' ',
        '/',
        '/x?y',
        'HTTP/1.1',
        'HTTP/1.0',
        'HTTP/2.0',
        '\r\n',
        '\r\n',
        '\r',
        '\n',
        '\0',
        ':',
        '\t',
        ',',
        '5',
      ],
      ...[
        'Host: a\r\n',
        'Content-Length: 5\r\n',
        'Transfer-Encoding: chunked\r\n',
        'X-A: b\r\n',
        'Connection: x-a\r\n',
      ],
      ...['GET / HTTP/1.1\r\n', 'TE: x\r\n', '\xff', 'HTTP/1.1 200 OK\r\n', 'x'.repeat(9000)],
    ),
    { maxLength: 14 },
  )
  .map((parts) => parts.join(''));

test.each(['request', 'response'] as const)('however a %s is split, it says the same', (kind) => {
  const limits = kind === 'request' ? requestLimits : responseLimits;
  fc.assert(
    fc.property(
      fc.oneof(
        nearly,
        nearly.map((text) => `GET / HTTP/1.1\r\nHost: a\r\n${text}\r\n\r\n`),
      ),
      fc.array(fc.nat(20_000)),
      (text, cuts) => {
        const parser = new HeadParser(kind, limits);
        // Reused as a connection reuses it.
        parser.parse('GET /first HTTP/1.1\r\nHost: z\r\nUpgrade: y\r\n\r\n');
        parser.reset();
        const everyByte = Array.from({ length: Math.min(text.length, 60) }, (_, i) => i);
        let split = readWhole(parser, '');
        for (const cut of [...cuts, ...everyByte, text.length].sort((a, b) => a - b)) {
          if (split.state === 'partial') split = readWhole(parser, text.slice(0, cut));
        }
        const whole = readWhole(new HeadParser(kind, limits), text);
        expect(split).toEqual(whole);
      },
    ),
    { numRuns: 400 },
  );
});
