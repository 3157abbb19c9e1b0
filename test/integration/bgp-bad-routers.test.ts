/**
 * What each bad router gets: a NOTIFICATION or none, one line in the log, one count in the metrics. All of them at the
 * same time, each from an address of its own.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { encodeMessage, splitMessages } from '@l4d/announcer/core/codec/message.ts';
import { makeOpen, type SessionSettings } from '@l4d/announcer/core/negotiation.ts';
import { announcerClient } from '@l4d/announcer/io/client.ts';
import { descriptorOf } from '@l4d/announcer/io/socket-descriptor.ts';
import { setMd5Key } from '@l4d/announcer/io/tcp-keys.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { run, runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import { until } from '../interop/bgp-until.ts';
import { enterNamespace } from './support/network-namespace.ts';

const namespace = `aud${process.pid}`;
const runDir = mkdtempSync(join(tmpdir(), `${namespace}-`));
const ours = '127.0.2.1';
const routerId = 0x0a00_0001;
const keepalive = encodeMessage({ type: 'keepalive' });

/** A message of this type with this body, in hexadecimal digits. */
function message(type: number, body = ''): Buffer {
  const bytes = Buffer.from(body, 'hex');
  const header = Buffer.alloc(19, 0xff);
  header.writeUInt16BE(19 + bytes.length, 16);
  header[18] = type;
  return Buffer.concat([header, bytes]);
}

/** An OPEN without options: version, AS, hold time, router id. */
function oldOpen({ version = 4, as = 65000, hold = 90, id = 9 } = {}): Buffer {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  return message(1, `${hex(version, 2)}${hex(as, 4)}${hex(hold, 4)}${hex(id, 8)}00`);
}

const settings: SessionSettings = {
  localAs: 65000,
  routerId: 9,
  peerAs: 65001,
  holdTimeSeconds: 90,
  families: ['ipv4'],
};

/** An UPDATE of `count` prefixes from 11.0.0.0 on; `origin` 0 to 2 is right. */
function update(first: number, count: number, origin = '00'): Buffer {
  const prefixes = Array.from(
    { length: count },
    (_, i) => `20${(0x0b00_0000 + first + i).toString(16).padStart(8, '0')}`,
  );
  return message(2, `00000014400101${origin}4002060201${'0000fde8'}4003040a000001${prefixes.join('')}`);
}

/** Says OPEN and KEEPALIVE, and a KEEPALIVE every 0.7 s from then on. */
function establish(socket: Socket, open = encodeMessage(makeOpen(settings))): NodeJS.Timeout {
  socket.write(open);
  socket.write(keepalive);
  const timer = setInterval(() => socket.write(keepalive), 700);
  socket.on('close', () => clearInterval(timer));
  return timer;
}

interface Case {
  readonly what: string;
  /** The router's part. */
  serve(socket: Socket): void;
  readonly peer?: Partial<DesiredInput['peers'][number]>;
  /** Code and subcode that it gets. */
  readonly notified?: readonly [number, number];
  /** The text of the one line. */
  readonly line: string | RegExp;
  /** The metric, without its peer. */
  readonly counter: string;
}

const sent = (code: number, subcode: number) =>
  `l4d_bgp_errors_total{direction="sent",code="${code}",subcode="${subcode}"} 1`;
const local = (code = 0, subcode = 0) =>
  `l4d_bgp_errors_total{direction="local",code="${code}",subcode="${subcode}"} 1`;
const shortHold = { holdTimeMs: 3000 };
const unacknowledged = /^TCP: ETIMEDOUT: the peer has taken nothing of what was sent for the hold time/;

const cases: readonly Case[] = [
  {
    what: 'another AS',
    serve: (socket) => socket.write(oldOpen({ as: 65280 })),
    notified: [2, 2],
    line: 'OPEN Message Error / Bad Peer AS: the peer says that it is AS 65280, configured is AS 65000',
    counter: sent(2, 2),
  },
  {
    what: 'router id 0.0.0.0',
    serve: (socket) => socket.write(oldOpen({ id: 0 })),
    notified: [2, 3],
    line: 'OPEN Message Error / Bad BGP Identifier',
    counter: sent(2, 3),
  },
  {
    what: 'our own router id, inside our AS',
    peer: { as: 'internal' },
    serve: (socket) => socket.write(oldOpen({ as: 65001, id: routerId })),
    notified: [2, 3],
    line: 'OPEN Message Error / Bad BGP Identifier: the peer has our own router id 10.0.0.1',
    counter: sent(2, 3),
  },
  {
    what: 'version 3',
    serve: (socket) => socket.write(oldOpen({ version: 3 })),
    notified: [2, 1],
    line: 'OPEN Message Error / Unsupported Version Number',
    counter: sent(2, 1),
  },
  {
    what: 'a hold time of 2 s',
    serve: (socket) => socket.write(oldOpen({ hold: 2 })),
    notified: [2, 6],
    line: 'OPEN Message Error / Unacceptable Hold Time',
    counter: sent(2, 6),
  },
  {
    what: 'another password',
    peer: { password: 'ours', port: 1791 },
    serve: () => undefined,
    line: /^the TCP connection did not come up in time; TCP MD5: this host dropped \d+ segments? with a wrong signature: the passwords differ$/,
    counter: local(),
  },
  {
    what: 'a flood of messages',
    serve(socket) {
      establish(socket);
      socket.write(Buffer.concat(Array.from({ length: 30_000 }, () => keepalive)));
    },
    line: 'the peer floods: so many messages within a second; it takes turns',
    counter: 'l4d_bgp_keepalives_received{}',
  },
  {
    what: 'more routes than anybody counts',
    serve(socket) {
      establish(socket);
      for (let i = 0; i < 130; i++) socket.write(update(800 * i, 800));
    },
    line: 'the peer announces more prefixes than are counted; none is imported',
    counter: 'l4d_bgp_prefixes_received{} 100000',
  },
  {
    what: 'more routes than it may announce',
    peer: { maxPrefixesReceived: 10 },
    serve(socket) {
      establish(socket);
      socket.write(update(0, 800));
    },
    notified: [6, 1],
    line: 'Cease / Maximum Number of Prefixes Reached',
    counter: sent(6, 1),
  },
  {
    what: 'routes that are malformed',
    serve(socket) {
      establish(socket);
      socket.write(update(0, 1, '09'));
    },
    line: 'malformed UPDATE: attribute 1 origin 9 is undefined; its routes count as withdrawn (RFC 7606)',
    counter: local(3, 6),
  },
  {
    what: 'a router that reads nothing',
    peer: { ...shortHold, policy: {} },
    serve(socket) {
      establish(socket);
      socket.removeAllListeners('data');
      socket.pause();
    },
    line: unacknowledged,
    counter: local(),
  },
  {
    what: 'one octet a second',
    peer: shortHold,
    serve(socket) {
      clearInterval(establish(socket));
      const timer = setInterval(() => socket.write(Buffer.of(0xff)), 1000);
      socket.on('close', () => clearInterval(timer));
    },
    notified: [4, 0],
    line: 'Hold Timer Expired',
    counter: sent(4, 0),
  },
  {
    what: 'an end within a message',
    serve(socket) {
      clearInterval(establish(socket));
      socket.end(update(0, 1).subarray(0, 30));
    },
    line: 'the peer closed the connection in the middle of a message',
    counter: local(),
  },
  // nftables drops all packets of both while they have something that is not acknowledged.
  {
    what: 'a dead link',
    peer: shortHold,
    serve: (socket) => establish(socket),
    line: 'Hold Timer Expired',
    counter: sent(4, 0),
  },
  {
    what: 'a dead link without a hold timer',
    peer: shortHold,
    serve: (socket) => establish(socket, encodeMessage(makeOpen({ ...settings, holdTimeSeconds: 0 }))),
    line: unacknowledged,
    counter: local(),
  },
];

const addressOf = (index: number) => `127.0.2.${10 + index}`;
const indexOf = (what: string) => cases.findIndex((one) => one.what === what);
const withHold = addressOf(indexOf('a dead link'));
const withoutHold = addressOf(indexOf('a dead link without a hold timer'));

interface Line {
  readonly level: number;
  readonly time: string;
  readonly peer?: string;
  readonly msg: string;
  readonly text?: string;
}

const lines: Line[] = [];
/** What each router has heard. */
const heard = new Map<string, Buffer[]>();
const servers: Server[] = [];
const sockets: Socket[] = [];
let announcer: ChildProcess;
let cutAt = 0;
const socketPath = join(runDir, 'announcer.sock');
const client = announcerClient(socketPath);

function serve(socket: Socket): void {
  const address = socket.localAddress ?? '';
  sockets.push(socket);
  socket.on('error', () => undefined);
  const chunks: Buffer[] = [];
  heard.set(address, chunks);
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  cases.find((_, index) => addressOf(index) === address)?.serve(socket);
}

beforeAll(async () => {
  run('ip', 'netns', 'add', namespace);
  runIn(namespace, 'ip', 'link', 'set', 'lo', 'up');
  const leave = enterNamespace(namespace);
  for (const port of [1790, 1791])
    servers.push(createServer({ noDelay: true }, serve).listen(port, '0.0.0.0'));
  const [, signed] = servers;
  if (signed === undefined) throw new Error('no server');
  // With a host name the sockets are made later.
  await until('the routers listen', () => servers.every(({ listening }) => listening));
  leave();
  setMd5Key(descriptorOf(signed) ?? -1, { address: ipAddress(ours) }, 'theirs');
  const main = join(import.meta.dirname, '../../announcer/bin/start.mjs');
  announcer = spawnIn(namespace, process.execPath, main, '--run-dir', runDir);
  if (announcer.stderr === null) throw new Error('no log');
  createInterface({ input: announcer.stderr }).on('line', (text) => {
    if (text.startsWith('{')) lines.push(JSON.parse(text) as Line);
  });
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
  await client.put({
    owner: 'test',
    local: { as: 65001, routerId: '10.0.0.1', listen: { port: 1792 } },
    peers: cases.map(({ peer }, index) => ({
      address: addressOf(index),
      as: 65000,
      port: 1790,
      localAddress: ours,
      families: ['ipv4'],
      // Once is enough: the second attempt would say the same again.
      connectRetryMs: 3_600_000,
      policy: { deny: ['12.0.0.0/8'] },
      ...peer,
    })),
    dynamicPeers: [{ range: '127.0.4.0/24', limit: 1, template: { as: 65000 } }],
    // For the router that reads nothing: more than the kernel takes for it.
    prefixes: Array.from({ length: 8000 }, (_, med) => ({ prefix: `12.0.${med >> 8}.${med & 255}/32`, med })),
  });
  const state = async (address: string) =>
    (await client.summary()).peers.find((one) => one.address === address)?.state;
  for (const address of [withHold, withoutHold]) {
    await until(`${address} is up`, async () => (await state(address)) === 'Established');
  }
  for (const rule of [
    'add table inet cut',
    'add chain inet cut in { type filter hook input priority 0; }',
    `add rule inet cut in ip daddr { ${withHold}, ${withoutHold} } drop`,
    `add rule inet cut in ip saddr { ${withHold}, ${withoutHold} } drop`,
  ]) {
    runIn(namespace, 'nft', rule);
  }
  cutAt = Date.now();
  await client.patch({ add: [{ prefix: '203.0.113.10/32' }] });
});

afterAll(() => {
  announcer?.kill('SIGKILL');
  for (const server of servers) server.close();
  for (const socket of sockets) socket.destroy();
  run('ip', 'netns', 'del', namespace);
  rmSync(runDir, { recursive: true, force: true });
});

/** Warnings and errors of a peer, by their texts. */
const told = (address: string) => lines.filter(({ peer, level }) => peer === address && level >= 40);

it.each(cases.map((one, index) => ({ ...one, address: addressOf(index) })))(
  '$what',
  async ({ address, notified, line, counter }) => {
    await until('it is told', () => told(address).length > 0, 30_000);
    const [first] = told(address);
    const text = first?.text ?? first?.msg ?? '';
    if (typeof line === 'string') expect(text).toBe(line);
    else expect(text).toMatch(line);
    const [name = '', rest = ''] = counter.split('{');
    const comma = rest.startsWith('}') ? '' : ',';
    const metrics = String((await requestJson(socketPath, 'GET', '/metrics')).body);
    expect(metrics).toContain(`${name}{peer="${address}"${comma}${rest}`);
    const errors = metrics
      .split('\n')
      .filter((one) => one.startsWith(`l4d_bgp_errors_total{peer="${address}"`));
    expect(errors.length).toBe(name === 'l4d_bgp_errors_total' ? 1 : 0);
    const { messages } = splitMessages(Buffer.concat(heard.get(address) ?? []));
    const notifications = messages.filter((one) => one[18] === 3);
    expect(notifications.map((one) => [...one.subarray(19, 21)])).toEqual(
      notified === undefined ? [] : [notified],
    );
    expect(told(address).length, 'lines').toBe(1);
  },
);

it('refuses strangers, and one more than a range has room for', async () => {
  const metric = async () => {
    const metrics = String((await requestJson(socketPath, 'GET', '/metrics')).body);
    return /^l4d_bgp_connections_refused_total (\d+)$/m.exec(metrics)?.[1];
  };
  const leave = enterNamespace(namespace);
  const callers = ['127.0.3.1', '127.0.4.1', '127.0.4.2'].map((localAddress) =>
    connect({ host: '127.0.0.1', port: 1792, localAddress }).on('error', () => undefined),
  );
  sockets.push(...callers);
  await until('two are refused', async () => (await metric()) === '2');
  leave();
  // Once a minute: the second is in the count alone.
  const said = lines.filter(({ msg }) => msg.startsWith('refused a connection'));
  expect(said.map(({ msg }) => msg)).toEqual([
    'refused a connection: the address is no peer, and in no range that has room',
  ]);
});

it('ends a half-dead session within the hold time, or twice it', () => {
  for (const address of [withHold, withoutHold]) {
    const at = Date.parse(told(address)[0]?.time ?? '');
    expect(at - cutAt, address).toBeGreaterThan(1000);
    expect(at - cutAt, address).toBeLessThan(12_000);
  }
});
