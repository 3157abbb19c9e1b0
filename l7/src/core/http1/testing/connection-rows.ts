import { answered, get, nextRequest, post, type RequestRow, refused, taken, takenLast } from './wire-row.ts';

/* What concerns the connection, what is asked of the other end before a body is sent, and how far a request goes. */

const asks = (method: string, ...fields: readonly string[]) => get(...fields).replace('GET', method);
const lastForward = 'RFC 9110: whom no forward is left answers; the others let it pass or know no TRACE';
const unclearForwards = 'how far it is to go would be a guess';

/** RFC 9110 sections 7.6.1, 7.6.2, 7.8 and 10.1.1, RFC 9112 section 9. */
export const connectionRows: readonly RequestRow[] = [
  taken('9112 9.3', 'two requests at once', get() + get().replace('/', '/2'), ['GET /', 'GET /2']),
  taken('9112 9.3.2', 'a body and a request at once', `${post('Content-Length: 5')}hello${get()}`, [
    'POST / hello',
    'GET /',
  ]),
  taken('9112 2.2', 'an empty line between requests', `${get()}\r\n${get()}`, ['GET /', 'GET /']),
  takenLast('9112 9.6', 'Connection: close', get('Connection: close'), 'GET /'),
  takenLast('9112 9.6', 'close among other options', get('Connection: x, CLOSE ,y'), 'GET /'),
  takenLast('9112 9.6', 'close and keep-alive', get('Connection: keep-alive, close'), 'GET /'),
  takenLast('9112 9.6', 'a request behind close', get('Connection: close') + get(), 'GET /'),
  takenLast('9112 9.3', 'HTTP/1.0', 'GET / HTTP/1.0\r\nHost: a\r\n\r\n', 'GET /'),
  taken(
    '9112 9.3',
    'HTTP/1.0 with keep-alive',
    'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n',
    'GET /',
  ),
  taken('9110 7.6.1', 'options that are empty', get('Connection: , ,'), 'GET /'),
  taken('9110 7.6.1', 'a field that Connection names', get('Connection: x-hop', 'X-Hop: y'), 'GET /'),
  taken('9110 7.6.1', 'Connection that names Host', get('Connection: host'), 'GET /'),
  taken(
    '9110 7.6.1',
    'Connection that names Content-Length',
    `${post('Connection: content-length', 'Content-Length: 5')}hello`,
    'POST / hello',
  ),
  taken(
    '9110 7.6.1',
    'Connection that names what the proxy says',
    get('Connection: x-forwarded-for'),
    'GET /',
  ),
  taken('9110 7.6.2', 'OPTIONS without Max-Forwards', asks('OPTIONS'), 'OPTIONS /'),
  taken('9110 7.6.2', 'OPTIONS with forwards left', asks('OPTIONS', 'Max-Forwards: 3'), 'OPTIONS /'),
  taken(
    '9110 7.6.2',
    'TRACE with one forward left',
    asks('TRACE', 'Max-Forwards: 1'),
    'TRACE /',
    'the backend decides whether it is traced',
  ),
  answered('9110 7.6.2', 'OPTIONS without forward left', asks('OPTIONS', 'Max-Forwards: 0'), lastForward),
  answered('9110 7.6.2', 'TRACE without forward left', asks('TRACE', 'max-forwards:\t00'), lastForward),
  taken('9110 7.6.2', 'Max-Forwards of another method', get('Max-Forwards: 0'), 'GET /'),
  ...['', '-1', 'x', '1, 1', '1.5'].map((value) =>
    refused(
      '9110 7.6.2',
      `OPTIONS with Max-Forwards of "${value}"`,
      asks('OPTIONS', `Max-Forwards: ${value}`),
      unclearForwards,
    ),
  ),
  refused(
    '9110 7.6.2',
    'two Max-Forwards',
    asks('TRACE', 'Max-Forwards: 5', 'Max-Forwards: 5'),
    unclearForwards,
  ),
  taken(
    '9110 10.1.1',
    'Expect with its body',
    `${post('Expect: 100-continue', 'Content-Length: 5')}hello`,
    'POST / hello',
  ),
  taken(
    '9110 10.1.1',
    'Expect in other letters',
    `${post('Expect: 100-Continue', 'Content-Length: 5')}hello`,
    'POST / hello',
  ),
  taken('9110 10.1.1', 'Expect without body', post('Expect: 100-continue', 'Content-Length: 0'), 'POST /'),
  taken(
    '9110 10.1.1',
    'another expectation',
    get('Expect: x'),
    'GET /',
    'the backend may answer 417, and knows what it can do',
  ),
  takenLast(
    '9110 10.1.1',
    'Expect in HTTP/1.0',
    'POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello',
    'POST / hello',
  ),
  taken(
    '9110 7.8',
    'Upgrade to h2c',
    get('Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AA'),
    'GET /',
  ),
  taken('9110 7.8', 'Upgrade to TLS', get('Connection: Upgrade', 'Upgrade: TLS/1.2'), 'GET /'),
  taken('9110 7.8', 'Upgrade to HTTP/2.0', get('Connection: Upgrade', 'Upgrade: HTTP/2.0'), 'GET /'),
  taken('9110 7.8', 'Upgrade that Connection does not name', get('Upgrade: websocket'), 'GET /'),
  taken(
    '9110 7.8',
    'two Upgrades',
    get('Connection: Upgrade', 'Upgrade: websocket', 'Upgrade: h2c'),
    'GET /',
  ),
  taken(
    '9110 7.8',
    'a list of protocols',
    get('Connection: Upgrade', 'Upgrade: websocket, h2c'),
    'GET /',
    'no tunnel is opened; HAProxy wants the key of a WebSocket',
  ),
  takenLast(
    '9110 7.8',
    'Upgrade in HTTP/1.0',
    'GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'GET /',
    'no tunnel is opened; HAProxy wants the key of a WebSocket',
  ),
  takenLast(
    '9112 9.3',
    'a request behind HTTP/1.0',
    `GET / HTTP/1.0\r\nHost: a\r\n\r\n${nextRequest}`,
    'GET /',
  ),
];
