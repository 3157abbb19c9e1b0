import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { makeSelfSigned } from '@l4d/kit/tls/self-signed.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { backend4, buildFabric, type Fabric, until, vip4 } from './proxy/fabric.ts';
import { behaviours } from './proxy/hostile/backends.ts';
import type { Asked, Told } from './proxy/hostile/clients.ts';

/* Backends and clients that do what none should, all at once, beside real ones: nobody notices, nothing is left. */

const firstPort = 9100;
/** One listener waits for long enough on a busy machine, the other one for those that never answer. */
const patience = { port: 80, responseMs: 20_000 } as const;
const impatience = { port: 81, responseMs: 500 } as const;
let fabric: Fabric;
let worker: number;

beforeAll(async () => {
  fabric = buildFabric();
  fabric.loadLookup();
  const { cert: certificate, key } = makeSelfSigned(fabric.runDir, 'web', 'web.example');
  await Promise.all([
    fabric.startOnBackend(
      [process.execPath, 'test/integration/proxy/hostile/backends.ts', backend4, String(firstPort)],
      'listening',
    ),
    fabric.startBackend(9001, 'real'),
    fabric.startProxy(),
  ]);
  const names = Object.keys(behaviours);
  const pools = [
    ...names.map((name, i) => ({ name, backends: [{ address: backend4, port: firstPort + i }] })),
    // Nobody answers its SYN.
    { name: 'absent', backends: [{ address: '10.72.0.77', port: 80 }] },
    { name: 'default', backends: [{ address: backend4, port: 9001 }] },
  ];
  const routes = [...names, 'absent'].map((name) => ({ host: `${name}.example`, pool: name }));
  const listener = {
    ...{ address: vip4, pools, timeouts: { connectMs: 5000, responseMs: patience.responseMs } },
    routes: [...routes, { pool: 'default' }],
  };
  fabric.listen(vip4, 80);
  fabric.listen(vip4, impatience.port);
  fabric.listen(vip4, 443);
  await fabric.proxy.putDesired({
    workers: 1,
    listeners: [
      { ...listener, name: 'web', port: 80 },
      {
        ...listener,
        name: 'impatient',
        port: 81,
        timeouts: { connectMs: 5000, responseMs: impatience.responseMs },
      },
      { ...listener, name: 'web-tls', port: 443, tls: { certificates: [{ cert: certificate, key }] } },
    ],
  });
  await until(async () => (await fabric.proxy.status()).registered, 'registered');
  worker = (await fabric.workers())[0]?.pid ?? -1;
});

afterAll(() => fabric?.stop());

const get = (name: string) => `GET / HTTP/1.1\r\nHost: ${name}.example\r\nConnection: close\r\n\r\n`;
const post = (name: string) => `POST / HTTP/1.1\r\nHost: ${name}.example\r\nContent-Length: 1000\r\n\r\nhalf`;

async function ask(asked: readonly Asked[]): Promise<Record<string, readonly string[]>> {
  const { stdout, stderr } = await fabric.client(
    [process.execPath, 'test/integration/proxy/hostile/clients.ts', vip4],
    Buffer.from(JSON.stringify(asked)),
  );
  if (stdout.length === 0) throw new Error(stderr);
  const told = JSON.parse(stdout.toString()) as Told[];
  return Object.fromEntries(told.map(({ name, outcomes }) => [name, outcomes]));
}

const descriptors = () => readdirSync(`/proc/${worker}/fd`).length;
const residentMb = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${worker}/status`, 'utf8'))?.[1]) / 1024;
/** Connections to backends that are open or being opened. */
const upstreams = () =>
  execFileSync('nsenter', [
    `--net=/run/netns/l7p${process.pid}-b`,
    ...['ss', '-Htn', 'state', 'connected', 'dst', '10.72.0.0/24'],
  ])
    .toString()
    .split('\n')
    .filter((line) => line !== '' && !line.includes('TIME-WAIT')).length;

test('hostile backends and clients that leave at every moment: an answer in its time, and nothing is left', async () => {
  await ask([{ name: 'good', port: 80, text: get('good'), times: 1 }]);
  await until(
    async () =>
      upstreams() === 0 &&
      (await fabric.proxy.status()).listeners.every(({ activeConnections }) => activeConnections === 0),
    'it is quiet',
  );
  const before = { descriptors: descriptors(), residentMb: residentMb() };
  const times = 10;
  const leaving = { port: 80, times, leavesAfterMs: 150 };
  const slow = ['never', 'stalls'];
  const told = await ask([
    ...Object.keys(behaviours)
      .filter((name) => name !== 'endless')
      .map((name) => ({
        name,
        port: slow.includes(name) ? impatience.port : patience.port,
        text: get(name),
        times,
      })),
    { name: 'leaves before a byte', text: '', ...leaving },
    { name: 'leaves in its head', text: 'GET / HT', ...leaving },
    { name: 'leaves while its backend is connected to', text: get('absent'), ...leaving },
    { name: 'leaves in its body', text: post('never'), ...leaving },
    {
      name: 'leaves in its chunk',
      text: post('never')
        .replace('Content-Length: 1000', 'Transfer-Encoding: chunked')
        .replace('half', '10\r\nhalf'),
      ...leaving,
    },
    { name: 'leaves while it waits', text: get('never'), ...leaving },
    { name: 'leaves in its answer', text: get('endless'), ...leaving },
  ]);
  const one = Object.fromEntries(
    Object.entries(told).map(([name, outcomes]) => [name, [...new Set(outcomes)].sort().join(', ')]),
  );
  // What is wrong in the first piece of an answer makes it 502; what comes later cuts it.
  const cutOrNone = expect.stringMatching(/^(?:200 cut|502 whole|200 cut, 502 whole)$/);
  // On a busy machine it may not even have begun in that time.
  const stalled = expect.stringMatching(/^(?:200 cut|504 whole)(?:, 504 whole)?$/);
  const left = expect.stringMatching(/^(?:200)? left(?:, 200 left)?$/);
  expect(one).toEqual({
    ...{ good: '200 whole', drips: '200 whole', never: '504 whole', stalls: stalled },
    ...{ garbage: '502 whole', headers: '502 whole', interim: '103 whole', resets: '502 whole' },
    ...{
      extensions: cutOrNone,
      trailers: cutOrNone,
      'closes-in-length': '200 cut',
      'closes-in-chunk': '200 cut',
    },
    ...{ 'closes-at-once': '502 whole', 'closes-in-status': '502 whole', 'closes-in-head': '502 whole' },
    ...{ 'leaves before a byte': ' left', 'leaves in its head': ' left', 'leaves in its body': ' left' },
    ...{ 'leaves while its backend is connected to': ' left', 'leaves in its chunk': ' left' },
    ...{ 'leaves while it waits': ' left', 'leaves in its answer': left },
  });
  await until(
    async () => upstreams() === 0 && descriptors() <= before.descriptors,
    'everything is closed',
    () =>
      `${descriptors()} descriptors, ${before.descriptors} before; ${upstreams()} connections to backends`,
  );
  const { listeners } = await fabric.proxy.status();
  expect(listeners.map(({ activeConnections }) => activeConnections)).toEqual([0, 0, 0]);
  expect(residentMb() - before.residentMb).toBeLessThan(150);
});

const tlsUrl = ['-k', '--resolve', `web.example:443:${vip4}`, 'https://web.example/'];

test.each([
  ['curl --http1.0', ['--http1.0', `http://${vip4}/`], 0],
  ['curl --http1.1', ['--http1.1', `http://${vip4}/`], 0],
  [
    'curl that expects 100',
    ['-H', 'Expect: 100-continue', '--data-binary', 'x'.repeat(5000), `http://${vip4}/`],
    5000,
  ],
  ['curl that uploads from a pipe', ['-T', '-', `http://${vip4}/`], 3_000_000],
  ['curl over TLS', tlsUrl, 0],
  ['curl over TLS that uploads', ['-T', '-', ...tlsUrl], 3_000_000],
] as const)('%s', async (name, args, length) => {
  const input = Buffer.alloc(name.includes('uploads') ? length : 0, 'x');
  const { code, stdout, stderr } = await fabric.client(['curl', '-sS', '--max-time', '20', ...args], input);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(JSON.parse(stdout.toString())).toMatchObject({ name: 'real', length });
});

test('a WebSocket client, openssl s_client', async () => {
  const script = `
    const socket = new WebSocket('ws://${vip4}/ws');
    let echoed = 0;
    socket.onopen = () => socket.send('message 0');
    socket.onmessage = ({ data }) => {
      if (data !== 'message ' + echoed) throw new Error(data);
      echoed += 1;
      if (echoed < 50) socket.send('message ' + echoed); else socket.close(1000);
    };
    socket.onclose = ({ code, wasClean }) => console.log(echoed, code, wasClean);`;
  const [webSocket, tls] = await Promise.all([
    fabric.client([process.execPath, '-e', script]),
    fabric.client(
      ['openssl', 's_client', '-connect', `${vip4}:443`, '-servername', 'web.example', '-quiet'],
      Buffer.from(get('good')),
    ),
  ]);
  expect(webSocket.stdout.toString()).toBe('50 1000 true\n');
  expect(tls.stdout.toString()).toMatch(/^HTTP\/1.1 200 OK\r\n[\s\S]*\r\n\r\nok$/);
});
