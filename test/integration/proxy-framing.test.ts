import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildFabric, type Fabric, type Running, until, vip4 } from './proxy/fabric.ts';

/*
 * Another reader behind the proxy, nginx, must see the requests that the proxy saw: as many, and in the same
 * bytes. Where it finds one more, a client has smuggled it.
 */

const messages = 600;
let fabric: Fabric;
let nginx: Running;

beforeAll(async () => {
  fabric = buildFabric();
  fabric.loadLookup();
  [nginx] = await Promise.all([fabric.startNginx(9001), fabric.startProxy()]);
  fabric.listen(vip4, 80);
  await until(async () => (await fabric.proxy.status()).registered, 'registered');
  const backends = [{ address: '10.72.0.2', port: 9001 }];
  const listener = { name: 'web', address: vip4, port: 80, pools: [{ name: 'default', backends }] };
  await fabric.proxy.putDesired({ listeners: [listener] });
});

afterAll(() => fabric?.stop());

/** Requests that are nearly right, always the same ones. */
function nearlyRight(): string[] {
  let state = 20_240_101;
  const below = (n: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const pick = (choices: readonly string[]) => choices[below(choices.length)] ?? '';
  const ends = [
    '\r\n',
    '\r\n',
    '\r\n',
    '\r\n',
    '\r\n',
    '\r\n',
    '\r\n',
    '\r\n',
    '\n',
    '\r',
    '\r\r\n',
    '\n\r\n',
  ];
  const fields = [
    ...[
      'Content-Length: 5',
      'Content-Length: 05',
      'Content-Length:5',
      'Content-Length : 5',
      'Content-Length: 5, 5',
    ],
    ...['Content-Length: +5', 'content-length: 3', 'Transfer-Encoding: chunked', 'Transfer-Encoding:chunked'],
    ...['Transfer-Encoding: Chunked', 'Transfer-Encoding : chunked', 'Transfer-Encoding: xchunked', 'X: y'],
    ...[
      'Transfer-Encoding: identity',
      'Transfer-Encoding: \tchunked',
      'Transfer-Encoding:\x0bchunked',
      ' X: y',
    ],
    ...[
      'Connection: content-length',
      'Connection: transfer-encoding',
      'Connection: close',
      'Upgrade: h2c',
      'X:',
    ],
    ...['Host: b', 'Expect: 100-continue', 'X: a\0b', 'TE: trailers', 'Transfer_Encoding: chunked', 'X : y'],
  ];
  const bodies = [
    '',
    'hello',
    '5\r\nhello\r\n0\r\n\r\n',
    '5;x="\n"\r\nhello\r\n0\r\n\r\n',
    '0\r\n\r\n',
    '5\nhello\n0\n\n',
  ];
  const more = [
    '5\r\nhello\r\n0\r\nX: y\r\n\r\n',
    '0x5\r\nhello\r\n0\r\n\r\n',
    '05\r\nhello\r\n00\r\n\r\n',
    '5 \r\nhello\r\n0\r\n\r\n',
  ];
  return Array.from({ length: messages }, (_, i) => {
    const method = pick(['GET', 'POST', 'POST', 'POST', 'PUT', 'DELETE', 'OPTIONS']);
    const version = pick(['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0']);
    const lines = Array.from({ length: below(4) }, () => `${pick(fields)}${pick(ends)}`).join('');
    const head = `${method} /m${i} ${version}\r\nHost: a\r\n${lines}\r\n`;
    return `${head}${pick([...bodies, ...more])}GET /smuggled${i} HTTP/1.1\r\nHost: a\r\n\r\n`;
  });
}

test('nginx reads as many requests as the proxy has sent, and none that the proxy did not see', async () => {
  // 20 at a time; each connection ends with its answers or after a moment of silence.
  const script = `
    const { connect } = require('net');
    let text = '';
    process.stdin.on('data', (piece) => { text += piece; }).on('end', () => {
      const left = JSON.parse(text);
      const answers = [];
      const next = () => {
        const one = left.shift();
        if (one === undefined) return;
        const socket = connect(80, '${vip4}', () => socket.write(one.text, 'latin1'));
        let got = '';
        socket.setTimeout(150, () => socket.destroy());
        socket.on('data', (piece) => { got += piece; });
        socket.on('error', () => {});
        socket.on('close', () => { console.log(JSON.stringify([one.i, got.match(/HTTP\\/1\\.1 \\d+/g) || []])); next(); });
      };
      for (let i = 0; i < 20; i++) next();
    });`;
  const input = nearlyRight().map((text, i) => ({ i, text }));
  const { stdout } = await fabric.client(
    [process.execPath, '-e', script],
    Buffer.from(JSON.stringify(input)),
  );
  const answers = stdout
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as [number, string[]]);
  expect(answers).toHaveLength(messages);
  const status = async () => (await fabric.proxy.status()).listeners[0];
  await until(async () => (await status())?.activeConnections === 0, 'all are over');
  const sent = (await status())?.backends[0]?.requests ?? 0;
  const read = nginx
    .output()
    .split('\n')
    .filter((line) => line.startsWith('read "'));
  expect(read.length).toBe(sent);
  // nginx finds nothing malformed in what the proxy lets through, but methods that are not of capital letters.
  const usual =
    /^read "(?:[A-Z]+ \/(?:m|smuggled)\d+ HTTP\/1\.1" (?:200|405)|helloGET \/smuggled\d+ HTTP\/1\.1" 400)$/;
  expect(read.filter((line) => !usual.test(line))).toEqual([]);
  // Both kinds were among them.
  const refused = answers.filter(([, codes]) => codes[0] === 'HTTP/1.1 400').length;
  expect(refused).toBeGreaterThan(messages / 10);
  expect(sent).toBeGreaterThan(messages / 10);
  // A request behind a refused one is never reached.
  const refusedFirst = new Set(answers.filter(([, codes]) => codes[0] === 'HTTP/1.1 400').map(([i]) => i));
  const behind = read
    .map((line) => Number(/smuggled(\d+)/.exec(line)?.[1]))
    .filter((i) => refusedFirst.has(i));
  expect(behind).toEqual([]);
});
