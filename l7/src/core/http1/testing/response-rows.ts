import { responseLimits } from '../limits.ts';

/* What backends answer. They are trusted with more bytes than clients, with no more ways of writing them. */

/** What becomes of the bytes of a backend. */
export interface ResponseRow {
  /** Where the rule is: `9112 6.3` is RFC 9112 section 6.3. */
  readonly rfc: string;
  readonly name: string;
  /** What was asked; GET in HTTP/1.1 unless said otherwise. */
  readonly method: 'GET' | 'HEAD';
  readonly minorVersion: 0 | 1;
  /** Each character a byte. */
  readonly bytes: string;
  /** The backend ends its connection behind them. */
  readonly ends: boolean;
  /**
   * What the client of HTTP/1.1 gets: status codes, how the body is delimited, and its data. `broken`: 502, or, when
   * its answer has begun, a reset.
   */
  readonly expected: string;
  /** Whether the connection to the backend is used again. */
  readonly kept: boolean;
}

type Options = Partial<Pick<ResponseRow, 'method' | 'minorVersion' | 'ends' | 'kept'>>;

function passed(
  rfc: string,
  name: string,
  bytes: string,
  expected: string,
  options: Options = {},
): ResponseRow {
  return { rfc, name, method: 'GET', minorVersion: 1, bytes, ends: false, expected, kept: true, ...options };
}

function broken(rfc: string, name: string, bytes: string, options: Options = {}): ResponseRow {
  return passed(rfc, name, bytes, 'broken', { kept: false, ...options });
}

const answer = (...fields: readonly string[]) =>
  `HTTP/1.1 200 OK\r\n${fields.map((line) => `${line}\r\n`).join('')}\r\n`;
const length = (value: string, body = 'hello') => `${answer(`Content-Length: ${value}`)}${body}`;
const chunks = (body: string) => `${answer('Transfer-Encoding: chunked')}${body}`;
const status = (line: string) => `${line}\r\nContent-Length: 5\r\n\r\nhello`;
const second = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil';
const unkept: Options = { kept: false };
const ending: Options = { kept: false, ends: true };

/** The status line and the fields. */
export const responseHeadRows: readonly ResponseRow[] = [
  passed('9112 4', 'a plain answer', length('5'), '200 length hello'),
  passed('9112 4', 'no reason', status('HTTP/1.1 200 '), '200 length hello'),
  passed('9112 4', 'no reason and no space', status('HTTP/1.1 200'), '200 length hello'),
  passed('9112 4', 'a reason with bytes above ASCII', status('HTTP/1.1 200 \xe4'), '200 length hello'),
  passed('9110 15', 'a status nobody knows', status('HTTP/1.1 299 X'), '299 length hello'),
  passed('9112 9.3', 'HTTP/1.0', status('HTTP/1.0 200 OK'), '200 length hello', unkept),
  passed(
    '9112 9.3',
    'HTTP/1.0 that is kept',
    length('5').replace('1.1', '1.0').replace('\r\n', '\r\nConnection: keep-alive\r\n'),
    '200 length hello',
  ),
  broken('9112 4', 'an empty line first', `\r\n${length('5')}`),
  broken('9112 4', 'a space first', ` ${length('5')}`),
  broken('9112 4', 'no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'),
  broken('9112 4', 'a request', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'),
  broken('9112 4', 'a TLS alert', '\x15\x03\x03\x00\x02\x02\x28\r\n\r\n'),
  broken('9112 4', 'NUL bytes', '\0'.repeat(100)),
  broken('9112 4', 'ICY', status('ICY 200 OK')),
  broken('9112 2.3', 'HTTP/2.0', status('HTTP/2.0 200 OK')),
  broken('9112 2.3', 'HTTP/1.2', status('HTTP/1.2 200 OK')),
  broken('9112 2.3', 'HTTP/0.9', 'hello', ending),
  broken('9112 2.3', 'a version in small letters', status('http/1.1 200 OK')),
  broken('9112 4', 'two spaces', status('HTTP/1.1  200 OK')),
  broken('9112 4', 'a tab', status('HTTP/1.1\t200 OK')),
  broken('9112 4', 'a status of two digits', status('HTTP/1.1 20 OK')),
  broken('9112 4', 'a status of four digits', status('HTTP/1.1 2000 OK')),
  broken('9110 15', 'a status of 0', status('HTTP/1.1 000 OK')),
  broken('9110 15', 'a status of 600', status('HTTP/1.1 600 OK')),
  broken('9112 4', 'a negative status', status('HTTP/1.1 -20 OK')),
  broken('9112 4', 'a control character in the reason', status('HTTP/1.1 200 O\x01K')),
  broken('9112 2.2', 'a bare CR in the reason', status('HTTP/1.1 200 O\rK')),
  broken('9112 2.2', 'a bare LF behind the status line', length('5').replace('\r\n', '\n')),
  broken('9112 2.2', 'bare LFs', length('5').replaceAll('\r\n', '\n')),
  broken('9112 2.2', 'a bare LF behind a field', answer('X: y\nZ: z', 'Content-Length: 0')),
  broken('9112 2.2', 'a bare CR in a field', answer('X: y\rZ: z', 'Content-Length: 0')),
  broken('9112 5.1', 'a space before a colon', answer('X : y', 'Content-Length: 0')),
  broken('9112 5.1', 'a length with a space before the colon', `${answer('Content-Length : 5')}hello`),
  broken('9112 5.2', 'a folded field', answer('X: y', ' z', 'Content-Length: 0')),
  broken('9112 5', 'a line without colon', answer('X', 'Content-Length: 0')),
  broken('9112 5', 'no name', answer(': y', 'Content-Length: 0')),
  broken('9110 5.5', 'a NUL in a value', answer('X: \0', 'Content-Length: 0')),
  broken('9110 5.5', 'a control character in a value', answer('X: \x01', 'Content-Length: 0')),
  broken(
    '9110 5.4',
    'more fields than there may be',
    answer(...Array.from({ length: responseLimits.maxFields + 1 }, () => 'X: y')),
  ),
  broken('9110 5.4', 'a line above the limit', answer(`X: ${'y'.repeat(responseLimits.maxHeadBytes)}`)),
  broken('9110 5.4', 'fields without end', `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(20_000)}`),
  broken('9112 4', 'a status line without end', `HTTP/1.1 200 ${'x'.repeat(100_000)}`),
  broken('9112 8', 'an end before a byte', '', ending),
  broken('9112 8', 'an end in the head', 'HTTP/1.1 200 OK\r\nContent-Le', ending),
];

/** How long the body is. */
export const responseBodyRows: readonly ResponseRow[] = [
  passed('9112 6.3', 'a length of 0', length('0', ''), '200 length '),
  passed('9112 6.3', 'leading zeros', length('005'), '200 length hello'),
  passed('9112 6.3', 'chunks', chunks('5\r\nhello\r\n0\r\n\r\n'), '200 chunked hello'),
  passed(
    '9112 7.1',
    'chunks with extensions and trailers',
    chunks('5;x=y\r\nhello\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n'),
    '200 chunked hello',
  ),
  passed('9112 6.3', 'until the end', `${answer()}hello`, '200 chunked hello', ending),
  passed('9112 6.3', 'until the end, empty', answer(), '200 chunked ', ending),
  passed('9112 6.3', 'until the end, for HTTP/1.0', `${answer()}hello`, '200 close hello', {
    ...ending,
    minorVersion: 0,
  }),
  passed('9112 7.1', 'chunks for HTTP/1.0', chunks('2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'), '200 close hello', {
    minorVersion: 0,
  }),
  passed(
    '9112 9.6',
    'Connection: close',
    `${answer('Connection: close', 'Content-Length: 5')}hello`,
    '200 length hello',
    unkept,
  ),
  passed('9112 6.3', 'HEAD with a length', length('5', ''), '200 length ', { method: 'HEAD' }),
  passed('9112 6.3', 'HEAD with chunked', chunks(''), '200 none ', { method: 'HEAD' }),
  passed('9112 6.3', 'HEAD with a body', length('5'), '200 length ', { method: 'HEAD', kept: false }),
  passed('9112 6.3', '204', 'HTTP/1.1 204 No Content\r\n\r\n', '204 none '),
  passed(
    '9110 8.6',
    '204 with a length',
    'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
    '204 none ',
  ),
  passed(
    '9112 6.1',
    '204 with chunked',
    'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n',
    '204 none ',
  ),
  passed(
    '9112 6.3',
    '204 with a body',
    'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello',
    '204 none ',
    unkept,
  ),
  passed(
    '9112 6.3',
    '304 with a length',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
    '304 length ',
  ),
  passed(
    '9112 6.3',
    '304 with a body',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello',
    '304 length ',
    unkept,
  ),
  passed('9112 9.2', 'a second answer behind it', length('5') + second, '200 length hello', unkept),
  passed(
    '9112 9.2',
    'a second answer behind chunks',
    chunks('5\r\nhello\r\n0\r\n\r\n') + second,
    '200 chunked hello',
    unkept,
  ),
  passed(
    '9112 9.2',
    'a second answer behind 204',
    `HTTP/1.1 204 No Content\r\n\r\n${second}`,
    '204 none ',
    unkept,
  ),
  passed(
    '9112 9.2',
    'a second answer behind 304',
    `HTTP/1.1 304 Not Modified\r\n\r\n${second}`,
    '304 none ',
    unkept,
  ),
  passed('9112 9.2', 'a byte behind it', `${length('5')}\n`, '200 length hello', unkept),
  passed('9112 9.2', 'an empty line behind it', `${length('5')}\r\n`, '200 length hello', unkept),
  passed(
    '9110 7.6.1',
    'Connection that names Content-Length',
    `${answer('Connection: content-length', 'Content-Length: 5')}hello`,
    '200 length hello',
  ),
  passed(
    '9110 7.6.1',
    'Connection that names Transfer-Encoding',
    `${answer('Connection: transfer-encoding', 'Transfer-Encoding: chunked')}5\r\nhello\r\n0\r\n\r\n`,
    '200 chunked hello',
  ),
  broken(
    '9112 6.3',
    'a length and chunked',
    `${answer('Content-Length: 5', 'Transfer-Encoding: chunked')}5\r\nhello\r\n0\r\n\r\n`,
  ),
  broken(
    '9112 6.3',
    'chunked and a length',
    `${answer('Transfer-Encoding: chunked', 'Content-Length: 5')}5\r\nhello\r\n0\r\n\r\n`,
  ),
  broken('9112 6.3', 'two lengths', `${answer('Content-Length: 5', 'Content-Length: 6')}hello`),
  broken('9112 6.3', 'two equal lengths', `${answer('Content-Length: 5', 'Content-Length: 5')}hello`),
  broken('9112 6.3', 'a list of lengths', length('5, 5')),
  broken('9110 8.6', 'a length with a plus', length('+5')),
  broken('9110 8.6', 'a negative length', length('-5')),
  broken('9110 8.6', 'a hexadecimal length', length('0x5')),
  broken('9110 8.6', 'an empty length', length('')),
  broken('9110 8.6', 'a length of 2^64 and 5', length('18446744073709551621')),
  broken('9112 6.1', 'another coding', `${answer('Transfer-Encoding: gzip')}hello`, ending),
  broken(
    '9112 6.1',
    'another coding, then chunked',
    `${answer('Transfer-Encoding: gzip, chunked')}5\r\nhello\r\n0\r\n\r\n`,
  ),
  broken(
    '9112 6.1',
    'chunked twice',
    `${answer('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}5\r\nhello\r\n0\r\n\r\n`,
  ),
  broken('9112 7', 'identity', `${answer('Transfer-Encoding: identity')}hello`, ending),
  broken(
    '9112 6.1',
    'chunked in HTTP/1.0',
    'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  ),
  broken('9112 8', 'less than its length', length('6'), ending),
  broken('9112 8', 'an end in a chunk', chunks('5\r\nhel'), ending),
  broken('9112 8', 'an end before the last chunk', chunks('5\r\nhello\r\n'), ending),
  broken('9112 8', 'an end in the trailers', chunks('5\r\nhello\r\n0\r\nX: y'), ending),
  broken('9112 7.1', 'a chunk of another size', chunks('3\r\nhello\r\n0\r\n\r\n')),
  broken('9112 7.1', 'a chunk size with 0x', chunks('0x5\r\nhello\r\n0\r\n\r\n')),
  broken('9112 7.1', 'a chunk size with a sign', chunks('+5\r\nhello\r\n0\r\n\r\n')),
  broken('9112 7.1', 'a chunk size beyond 2^64', chunks('10000000000000005\r\nhello\r\n0\r\n\r\n')),
  broken('9112 7.1', 'a chunk size with a space', chunks('5 \r\nhello\r\n0\r\n\r\n')),
  broken('9112 2.2', 'a bare LF behind a chunk size', chunks('5\nhello\r\n0\r\n\r\n')),
  broken('9112 2.2', 'a bare LF behind chunk data', chunks('5\r\nhello\n0\r\n\r\n')),
  broken('9112 7.1.1', 'extensions above the limit', chunks(`5;${'a'.repeat(5000)}\r\nhello\r\n0\r\n\r\n`)),
  broken('9112 7.1.2', 'trailers above the limit', chunks(`0\r\n${'X: y\r\n'.repeat(3000)}\r\n`)),
];

/** RFC 9110 section 15.2: interim answers and the switch of protocols. */
export const interimRows: readonly ResponseRow[] = [
  passed(
    '9110 15.2',
    '103',
    `HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${length('5')}`,
    '103 200 length hello',
  ),
  passed(
    '9110 15.2',
    'several',
    `${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(3)}${length('5')}`,
    '103 103 103 200 length hello',
  ),
  passed(
    '9110 15.2',
    '103 with a length',
    `HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n${length('5')}`,
    '103 200 length hello',
  ),
  passed(
    '9110 15.2.1',
    '100 that nobody waits for',
    `HTTP/1.1 100 Continue\r\n\r\n${length('5')}`,
    '200 length hello',
  ),
  passed(
    '9110 15.2',
    '103 for HTTP/1.0',
    `HTTP/1.1 103 Early Hints\r\n\r\n${length('5')}`,
    '200 length hello',
    { minorVersion: 0 },
  ),
  broken('9110 15.2', 'more than there may be', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100)),
  broken(
    '9110 15.2.2',
    '101 that nobody asked for',
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n${second}`,
  ),
  broken('9112 8', 'an end behind it', 'HTTP/1.1 103 Early Hints\r\n\r\n', ending),
  broken('9112 4', 'no HTTP behind it', 'HTTP/1.1 103 Early Hints\r\n\r\nhello\r\n\r\n'),
];

/** All of them. */
export const responseTables = [
  { name: 'head', rows: responseHeadRows },
  { name: 'body', rows: responseBodyRows },
  { name: 'interim', rows: interimRows },
] as const;

/** Their rows. */
export const responseRows: readonly ResponseRow[] = responseTables.flatMap(({ rows }) => rows);
