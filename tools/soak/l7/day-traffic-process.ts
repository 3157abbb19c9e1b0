import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { chanceFrom } from '../core/mutate.ts';
import type { DayPorts, DayReport } from './day-traffic.ts';

/*
 * Clients of every kind, each lane one after another: `day-traffic-process.ts PORTS LANES SEED`, until its standard input
 * ends; a report a second, and a last one.
 */

const [portsText = '', lanes = '', seed = ''] = process.argv.slice(2);
const ports = JSON.parse(portsText) as DayPorts;
const chance = chanceFrom(Number(seed));
const done: Record<string, number> = {};
const failed: Record<string, number> = {};
let stopping = false;
let session: Buffer | undefined;

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: day.example\r\n${fields}\r\n`;
const body = Buffer.alloc(200_000, 'upload ');
const bodyHash = createHash('sha256').update(body).digest('hex');

/** A connection of which can be awaited what has come. */
class Talk {
  readonly socket: Socket;
  text = '';
  over = false;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setTimeout(20_000, () => socket.destroy());
    socket.on('data', (piece) => {
      this.text += piece.toString('latin1');
      this.#wake();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.over = true;
      this.#wake();
    });
  }

  async until(holds: (text: string) => boolean, what: string): Promise<void> {
    while (!holds(this.text)) {
      if (this.over) throw new Error(`${what}: closed after ${this.text.length} bytes`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async answer(): Promise<string> {
    const whole = (text: string) => {
      const head = text.indexOf('\r\n\r\n');
      if (head < 0) return false;
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? -1);
      return length < 0 ? text.endsWith('0\r\n\r\n') : text.length >= head + 4 + length;
    };
    await this.until(whole, 'an answer');
    const { text } = this;
    this.text = '';
    if (!text.startsWith('HTTP/1.1 200 ')) throw new Error(text.slice(0, 12));
    return text;
  }
}

const reach = (port: number) => new Talk(connect({ port, host: '127.0.0.1', allowHalfOpen: true }));

function reachTls(resume: boolean): Talk {
  const socket = connectTls({
    port: ports.tls,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    servername: 'bench.example',
    ...(resume && session !== undefined ? { session } : {}),
  });
  socket.on('session', (given) => {
    session = given;
  });
  return new Talk(socket);
}

async function ask(talk: Talk, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    talk.socket.write(get(chance(20) === 0 ? '/slow' : '/'));
    // RFC 9112 section 9.6: after such an answer no request may follow.
    if (/\r\nconnection: close\r\n/i.test(await talk.answer())) break;
  }
  talk.socket.end();
}

async function echo(talk: Talk): Promise<void> {
  for (let i = 0; i < 5; i++) {
    const said = `message ${i} `.repeat(1 + chance(500));
    talk.text = '';
    talk.socket.write(said);
    await talk.until((text) => text.length >= said.length, 'an echo');
    if (talk.text !== said) throw new Error('another echo');
  }
  talk.socket.end();
}

async function upgrade(talk: Talk): Promise<void> {
  talk.socket.write(get('/', 'Connection: Upgrade\r\nUpgrade: echo\r\n'));
  await talk.until((text) => text.includes('\r\n\r\n'), 'a tunnel');
  if (!talk.text.startsWith('HTTP/1.1 101')) throw new Error(talk.text.slice(0, 12));
  await echo(talk);
}

async function upload(talk: Talk): Promise<void> {
  const chunked = chance(2) === 0;
  const how = chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`;
  talk.socket.write(`POST /hash HTTP/1.1\r\nHost: day.example\r\n${how}\r\n\r\n`);
  if (chunked) talk.socket.write(`${body.length.toString(16)}\r\n`);
  talk.socket.write(body);
  if (chunked) talk.socket.write('\r\n0\r\n\r\n');
  if (!(await talk.answer()).endsWith(bodyHash)) throw new Error('another body');
  talk.socket.end();
}

async function connectFirst(talk: Talk): Promise<void> {
  talk.socket.write(
    `CONNECT 127.0.0.1:${ports.backend} HTTP/1.1\r\nHost: 127.0.0.1:${ports.backend}\r\n\r\n`,
  );
  await talk.until((text) => text.includes('\r\n\r\n'), 'CONNECT');
  if (!talk.text.startsWith('HTTP/1.1 200')) throw new Error(talk.text.slice(0, 12));
  talk.text = '';
  await ask(talk, 2);
}

async function socksFirst(talk: Talk): Promise<void> {
  talk.socket.write(Buffer.of(5, 1, 0));
  await talk.until((text) => text.length >= 2, 'SOCKS');
  talk.text = '';
  talk.socket.write(Buffer.of(5, 1, 0, 1, 127, 0, 0, 1, ports.backend >> 8, ports.backend & 255));
  await talk.until((text) => text.length >= 10, 'SOCKS');
  if (talk.text.charCodeAt(1) !== 0) throw new Error('SOCKS refused');
  talk.text = '';
  await ask(talk, 2);
}

/** Leaves in the middle of something; whatever becomes of it is right. */
async function leave(port: number): Promise<void> {
  const talk = reach(port);
  const phases = [
    '',
    'GET / HT',
    get('/slow'),
    get('/big'),
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    `CONNECT 127.0.0.1:${ports.backend} HTTP/1.1\r\nHost: a\r\n\r\n`,
    '\x05\x01',
  ];
  talk.socket.write(phases[chance(phases.length)] ?? '', 'latin1');
  await sleep(chance(30));
  if (chance(2) === 0) talk.socket.resetAndDestroy();
  else talk.socket.destroy();
}

const kinds: readonly (readonly [string, number, () => Promise<void>])[] = [
  ['keep-alive', 20, () => ask(reach(ports.http), 1 + chance(20))],
  ['on replaced workers', 10, () => ask(reach(ports.struck), 1 + chance(5))],
  ['TLS, full', 5, () => ask(reachTls(false), 2)],
  ['TLS, resumed', 10, () => ask(reachTls(true), 2)],
  ['upload', 5, () => upload(reach(ports.http))],
  ['upload in TLS', 2, () => upload(reachTls(true))],
  ['upgrade', 5, () => upgrade(reach(ports.http))],
  ['upgrade in TLS', 2, () => upgrade(reachTls(true))],
  ['relay', 5, () => ask(reach(ports.tcp), 2)],
  ['CONNECT', 5, () => connectFirst(reach(ports.connect))],
  ['SOCKS', 5, () => socksFirst(reach(ports.socks))],
  [
    'abandoned',
    26,
    () => leave([ports.http, ports.tls, ports.tcp, ports.connect, ports.socks, ports.struck][chance(6)] ?? 0),
  ],
];
const total = kinds.reduce((sum, [, share]) => sum + share, 0);

function chooseKind(): readonly [string, () => Promise<void>] {
  let at = chance(total);
  for (const [name, share, run] of kinds) {
    if (at < share) return [name, run];
    at -= share;
  }
  throw new RangeError('beyond all kinds');
}

function count(where: Record<string, number>, what: string): void {
  where[what] = (where[what] ?? 0) + 1;
}

async function lane(): Promise<void> {
  while (!stopping) {
    const [name, run] = chooseKind();
    try {
      await run();
      count(done, name);
    } catch (error) {
      count(failed, `${name}: ${(error as Error).message}`);
      await sleep(20);
    }
  }
}

function report(): void {
  process.stdout.write(`${JSON.stringify({ done, failed } satisfies DayReport)}\n`);
}

process.stdin.on('end', () => {
  stopping = true;
});
process.stdin.resume();
const reporting = setInterval(report, 1000);
await Promise.all(Array.from({ length: Number(lanes) }, lane));
clearInterval(reporting);
report();
process.exit(0);
