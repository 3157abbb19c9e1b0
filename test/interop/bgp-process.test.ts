/**
 * The announcer's process against scripted peers on loopback addresses: what a router would not do, or not
 * often enough to be waited for.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import {
  decodeMessage,
  encodeMessage,
  type ReceivedMessage,
  splitMessages,
} from '@l4d/announcer/core/codec/message.ts';
import { makeOpen } from '@l4d/announcer/core/negotiation.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { until } from './bgp-until.ts';

const main = join(import.meta.dirname, '../../announcer/bin/start.mjs');

let runDir: string;
let announcer: ChildProcess;
let client: AnnouncerClient;
const servers: Server[] = [];
const sockets: Socket[] = [];

beforeEach(async () => {
  runDir = mkdtempSync(join(tmpdir(), `l4dbgp${process.pid}-run-`));
  // What a killed process leaves behind.
  const script =
    'require("node:net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))';
  spawnSync(process.execPath, ['-e', script, join(runDir, 'announcer.sock')]);
  // A small heap: garbage is collected early, so that memory tells what is held; what queues without bound dies.
  const args = ['--max-old-space-size=320', main, '--run-dir', runDir];
  announcer = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'ignore'] });
  client = announcerClient(join(runDir, 'announcer.sock'));
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
});

afterEach(() => {
  announcer.kill('SIGKILL');
  for (const server of servers.splice(0)) server.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  rmSync(runDir, { recursive: true, force: true });
});

interface Scripted {
  readonly port: number;
  /** The last connection that came in. */
  socket?: Socket;
  readonly received: { readonly message: ReceivedMessage }[];
}

/** A router of AS 65000 on a loopback address: says OPEN and KEEPALIVE, records what it hears. */
async function scripted(
  host: string,
  options: { routerId?: number; reads?: boolean } = {},
): Promise<Scripted> {
  const { routerId = 1, reads = true } = options;
  const peer: { -readonly [Key in keyof Scripted]: Scripted[Key] } = { port: 0, received: [] };
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.push(socket);
    peer.socket = socket;
    socket.on('error', () => {});
    socket.write(openOf(routerId));
    socket.write(encodeMessage({ type: 'keepalive' }));
    if (!reads) return;
    record(socket, peer.received);
  });
  servers.push(server);
  server.listen(0, host);
  await once(server, 'listening');
  peer.port = (server.address() as { port: number }).port;
  return peer;
}

function record(socket: Socket, received: Scripted['received']): void {
  let rest: Uint8Array = new Uint8Array(0);
  socket.on('data', (chunk) => {
    const split = splitMessages(Buffer.concat([rest, chunk]));
    rest = Uint8Array.from(split.rest);
    for (const bytes of split.messages) {
      const decoded = decodeMessage(bytes, { fourOctetAs: true, internal: false });
      if (!decoded.ok) throw new Error('the announcer sent what its own decoder refuses');
      received.push({ message: decoded.value });
    }
  });
}

function openOf(routerId: number): Uint8Array {
  return encodeMessage(
    makeOpen({ localAs: 65000, routerId, peerAs: 65001, holdTimeSeconds: 3, families: ['ipv4', 'ipv6'] }),
  );
}

function desired(peers: DesiredInput['peers'], prefixes: DesiredInput['prefixes'] = []): DesiredInput {
  return { owner: 'test', local: { as: 65001, routerId: '10.0.0.1', listen: false }, peers, prefixes };
}

const at = (address: string, { port }: Scripted) => ({
  address,
  port,
  as: 65000,
  connectRetryMs: 50,
  holdTimeMs: 3000,
});

const established = (address: string) =>
  until(`${address} established`, async () =>
    (await client.status()).peers.some((peer) => peer.address === address && peer.state === 'Established'),
  );

const many = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ prefix: `11.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32` }));

it('replaces a stale socket, keeps it private, and a second process says so in one line', () => {
  expect(statSync(join(runDir, 'announcer.sock')).mode & 0o777).toBe(0o600);
  const second = spawnSync(process.execPath, [main, '--run-dir', runDir], { encoding: 'utf8' });
  expect(second.status).toBe(75);
  expect(second.stderr).toBe(
    `l4-announcer: another announcer is already running on ${join(runDir, 'announcer.sock')}\n`,
  );
  const wrong = spawnSync(process.execPath, [main, '--no-such-flag'], { encoding: 'utf8' });
  expect([wrong.status, wrong.stderr.includes('\n    at ')]).toEqual([2, false]);
});

it('writes an announce at once: the request is answered after the octets are on the wire', async () => {
  const peer = await scripted('127.0.0.9');
  await client.put(desired([at('127.0.0.9', peer)]));
  await established('127.0.0.9');
  let inOrder = 0;
  for (let i = 1; i <= 20; i++) {
    const before = peer.received.length;
    const updated = () => peer.received.slice(before).some(({ message }) => message.type === 'update');
    await client.put(desired([at('127.0.0.9', peer)], many(i)));
    await setImmediate();
    if (updated()) inOrder += 1;
    await until('the UPDATE arrives', updated);
  }
  // Most: other work on the machine may hold up the packets of single ones.
  expect(inOrder).toBeGreaterThan(10);
});

it('keeps others alive, and its memory, while one peer stops reading and another floods', async () => {
  const [stalled, flooding, good] = [
    await scripted('127.0.0.10', { reads: false }),
    await scripted('127.0.0.11'),
    await scripted('127.0.0.12'),
  ];
  const peers = [at('127.0.0.10', stalled), at('127.0.0.11', flooding), at('127.0.0.12', good)];
  const alive = setInterval(() => {
    for (const { socket } of [stalled, flooding, good]) socket?.write(encodeMessage({ type: 'keepalive' }));
  }, 500);
  try {
    await client.put(desired(peers));
    for (const { address } of peers) await established(address);
    const update = encodeMessage({ type: 'update', withdrawn: [], attributes: [], nlri: [] });
    const refresh = encodeMessage({
      type: 'route-refresh',
      afi: 1,
      safi: 1,
      subtype: 0,
      filters: new Uint8Array(0),
    });
    const flood = Buffer.concat(Array.from({ length: 2000 }, (_, i) => (i % 100 === 0 ? refresh : update)));
    const end = performance.now() + 4000;
    const flooder = (async () => {
      while (performance.now() < end) {
        if ((flooding.socket?.writableLength ?? 0) < 1_000_000) flooding.socket?.write(flood);
        await sleep(1);
      }
    })();
    await client.put(desired(peers, many(100_000)));
    await flooder;
    await until('the good peer knows all', async () => {
      const status = await client.status();
      return status.peers.some(
        (peer) => peer.address === '127.0.0.12' && peer.prefixesAdvertised === 100_000,
      );
    });
    const status = await client.status();
    const one = (address: string) => status.peers.find((peer) => peer.address === address);
    expect(one('127.0.0.12')).toMatchObject({ state: 'Established', flaps: 0 });
    // Longer than the hold time of three seconds: keepalives went out all the while.
    expect(good.received.filter(({ message }) => message.type === 'keepalive').length).toBeGreaterThan(3);
    const resident = Number(
      spawnSync('ps', ['-o', 'rss=', '-p', String(announcer.pid)], { encoding: 'utf8' }).stdout,
    );
    expect(resident).toBeLessThan(600 * 1024);
  } finally {
    clearInterval(alive);
  }
}, 60_000);

it.each([
  ['the peer’s id is higher: its connection stays', 0xff000001, 'incoming'],
  ['ours is higher: our connection stays', 1, 'outgoing'],
])('resolves a collision: %s', async (_name, routerId, kept) => {
  const port = 20_000 + (process.pid % 10_000);
  const peer = await scripted('127.0.0.13', { routerId });
  // Holds back its OPEN on our connection until its own is there too.
  const server = servers[0];
  server?.removeAllListeners('connection');
  const ours = new Promise<Socket>((resolve) => server?.once('connection', resolve));
  const config = {
    ...desired([at('127.0.0.13', peer)]),
    local: { as: 65001, routerId: '10.0.0.1', listen: { port } },
  };
  await client.put(config);
  const outgoing = await ours;
  sockets.push(outgoing);
  const incoming = connect({ host: '127.0.0.1', port, localAddress: '127.0.0.13' });
  sockets.push(incoming);
  await once(incoming, 'connect');
  const heard: Record<'incoming' | 'outgoing', Scripted['received']> = { incoming: [], outgoing: [] };
  for (const [name, socket] of [
    ['incoming', incoming],
    ['outgoing', outgoing],
  ] as const) {
    socket.on('error', () => {});
    record(socket, heard[name]);
    socket.write(openOf(routerId));
  }
  const loser = kept === 'incoming' ? 'outgoing' : 'incoming';
  await until('Cease / Connection Collision Resolution', () =>
    heard[loser].some(
      ({ message }) => message.type === 'notification' && message.code === 6 && message.subcode === 7,
    ),
  );
  (kept === 'incoming' ? incoming : outgoing).write(encodeMessage({ type: 'keepalive' }));
  await established('127.0.0.13');
  expect((await client.status()).peers[0]).toMatchObject({ state: 'Established', flaps: 0 });
});

it('does not take its own standstill for the peer’s silence', async () => {
  const peer = await scripted('127.0.0.16');
  await client.put(desired([at('127.0.0.16', peer)]));
  await established('127.0.0.16');
  const alive = setInterval(() => peer.socket?.write(encodeMessage({ type: 'keepalive' })), 500);
  try {
    announcer.kill('SIGSTOP');
    await sleep(4000);
    announcer.kill('SIGCONT');
    await sleep(1500);
    expect((await client.status()).peers[0]).toMatchObject({ state: 'Established', flaps: 0 });
  } finally {
    clearInterval(alive);
    announcer.kill('SIGCONT');
  }
});

it('takes messages octet by octet, and counts a connection that ends within one', async () => {
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    const keepalive = encodeMessage({ type: 'keepalive' });
    void (async () => {
      for (const octet of [...openOf(1), ...keepalive]) {
        socket.write(Uint8Array.of(octet));
        await sleep(5);
      }
      await established('127.0.0.17');
      socket.end(keepalive.subarray(0, 10));
    })().catch(() => {});
  });
  servers.push(server);
  server.listen(0, '127.0.0.17');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await client.put(desired([{ ...at('127.0.0.17', { port, received: [] }), connectRetryMs: 60_000 }]));
  await until('the session came and went', async () => (await client.status()).peers[0]?.flaps === 1);
  const [peer] = (await client.status()).peers;
  expect(peer?.lastError).toMatchObject({
    direction: 'local',
    text: 'the peer closed the connection in the middle of a message',
  });
  expect(peer?.errors).toEqual([{ direction: 'local', code: 0, subcode: 0, count: 1 }]);
});

it('takes a peer away with the right Cease, and leaves the others alone', async () => {
  const [one, two] = [await scripted('127.0.0.14'), await scripted('127.0.0.15')];
  await client.put(desired([at('127.0.0.14', one), at('127.0.0.15', two)]));
  await established('127.0.0.14');
  await established('127.0.0.15');
  await client.put(desired([at('127.0.0.15', two)]));
  await until('Cease / Peer De-configured', () =>
    one.received.some(
      ({ message }) => message.type === 'notification' && message.code === 6 && message.subcode === 3,
    ),
  );
  expect((await client.status()).peers).toMatchObject([
    { address: '127.0.0.15', state: 'Established', flaps: 0 },
  ]);
});

it('answers mistakes with problem+json, and takes the same state twice as one', async () => {
  const socketPath = join(runDir, 'announcer.sock');
  expect(await requestJson(socketPath, 'PUT', '/v1/desired', { owner: '' })).toMatchObject({ status: 400 });
  expect(
    (await requestJson(socketPath, 'POST', '/v1/withdraw', { prefixes: ['nonsense'] })).body,
  ).toMatchObject({
    problems: [{ path: 'prefixes[0]' }],
  });
  expect(await requestJson(socketPath, 'GET', '/v1/nothing')).toMatchObject({ status: 404 });
  const first = await client.put(desired([], many(3)));
  expect(await client.put(desired([], many(3)))).toEqual(first);
  await client.withdraw('all');
  expect((await client.status()).prefixes).toEqual([]);
  await client.put(desired([], many(3)));
  expect((await client.status()).prefixes.length).toBe(3);
  await client.shutdown();
  const [code] = announcer.exitCode === null ? await once(announcer, 'exit') : [announcer.exitCode];
  expect(code).toBe(0);
});
