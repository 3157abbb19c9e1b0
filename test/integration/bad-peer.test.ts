import { createServer, type Server, type Socket } from 'node:net';
import type { BgpPeerView, FabricStatus } from '@l4d/l4d/core/status.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createLoneHost,
  eventually,
  goodConfig,
  type LoneHost,
  type StartedDaemon,
} from './support/lone-host.ts';
import { enterNamespace, ipIn } from './support/network-namespace.ts';

/** RFC 4271 section 4.1: sixteen bytes of ones. */
const marker = Buffer.alloc(16, 0xff);
const messageType = { open: 1, notification: 3, keepalive: 4 } as const;

function message(type: number, body: Buffer = Buffer.alloc(0), length = 19 + body.length): Buffer {
  return Buffer.concat([marker, Buffer.from([length >> 8, length & 255, type]), body]);
}

/** An OPEN of AS 65000 with hold time 90 s and router id 10.88.0.1. */
const openBody = Buffer.from([4, 65000 >> 8, 65000 & 255, 0, 90, 10, 88, 0, 1, 0]);
const keepalive = message(messageType.keepalive);
const open = message(messageType.open, openBody);

/** What a peer says right after the connection is made, and the NOTIFICATION (code, subcode) it is to get. */
const nonsense = [
  { what: 'text of another protocol', says: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), gets: [1, 1] },
  {
    what: 'a marker that is not all ones',
    says: Buffer.concat([Buffer.alloc(16), Buffer.from([0, 19, 4])]),
    gets: [1, 1],
  },
  { what: 'a length above 4096', says: message(messageType.open, openBody, 4097), gets: [1, 2] },
  { what: 'a length below 19', says: message(messageType.keepalive, Buffer.alloc(0), 18), gets: [1, 2] },
  { what: 'a message of no known type', says: message(9), gets: [1, 3] },
  {
    what: 'an OPEN of version 3',
    says: message(1, Buffer.concat([Buffer.from([3]), openBody.subarray(1)])),
    gets: [2, 1],
  },
  {
    what: 'an OPEN of another AS',
    says: message(1, Buffer.from([4, 0xff, 0, 0, 90, 10, 88, 0, 1, 0])),
    gets: [2, 2],
  },
  {
    what: 'an OPEN with router id 0.0.0.0',
    says: message(1, Buffer.from([4, 65000 >> 8, 65000 & 255, 0, 90, 0, 0, 0, 0, 0])),
    gets: [2, 3],
  },
  {
    what: 'an OPEN with hold time 1 s',
    says: message(1, Buffer.from([4, 65000 >> 8, 65000 & 255, 0, 1, 10, 88, 0, 1, 0])),
    gets: [2, 6],
  },
  {
    what: 'an OPEN with hold time 2 s',
    says: message(1, Buffer.from([4, 65000 >> 8, 65000 & 255, 0, 2, 10, 88, 0, 1, 0])),
    gets: [2, 6],
  },
  { what: 'a KEEPALIVE before any OPEN', says: keepalive, gets: [5, 1] },
  {
    what: 'an UPDATE that ends in the middle of an attribute',
    says: Buffer.concat([open, keepalive, message(2, Buffer.from([0, 0, 0, 9, 0x40, 1, 1]))]),
    gets: [3, 1],
  },
] as const;

let host: LoneHost;
let daemon: StartedDaemon;
const servers: Server[] = [];

/** Each nonsense is a peer of its own, so that none waits for the damping (RFC 4271 section 8.1.1) of another. */
const addressOf = (index: number) => `10.88.0.${100 + index}`;
/** What the announcer answered to the first session with each. */
const heard = new Map<string, Promise<Buffer>>();

/** A router that does as it should, as little as that takes. */
function goodRouter(socket: Socket): void {
  const timer = setInterval(() => socket.write(keepalive), 1000);
  socket.on('close', () => clearInterval(timer));
  socket.on('error', () => undefined);
  socket.write(open);
  socket.once('data', () => socket.write(keepalive));
}

/** Talks nonsense in the first session, and as it should in those after it. */
function badRouter(socket: Socket): void {
  const address = socket.localAddress?.replace('::ffff:', '') ?? '';
  socket.on('error', () => undefined);
  if (heard.has(address)) {
    goodRouter(socket);
    return;
  }
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  heard.set(address, new Promise((resolve) => socket.on('close', () => resolve(Buffer.concat(chunks)))));
  socket.write(nonsense.find((_, index) => addressOf(index) === address)?.says ?? '');
}

function listenInClient(port: number, serve: (socket: Socket) => void): void {
  const leave = enterNamespace(host.namespaces.client);
  // Without a host name the socket is made at once, in this namespace.
  servers.push(createServer(serve).listen(port));
  leave();
}

async function status(): Promise<FabricStatus> {
  const answer = await host.run('l4ctl', '-o', 'json', 'status');
  if (answer.code !== 0) throw new Error(answer.stderr + daemon.stderr());
  return JSON.parse(answer.stdout) as FabricStatus;
}

async function peer(address: string): Promise<BgpPeerView | undefined> {
  return (await status()).bgp.announcer?.peers.find((one) => one.address === address);
}

beforeAll(async () => {
  host = createLoneHost('l4dpeer');
  listenInClient(1790, goodRouter);
  listenInClient(1791, badRouter);
  for (const index of nonsense.keys()) {
    ipIn(host.namespaces.client, `address add ${addressOf(index)}/24 dev e0`);
  }
  const bad = nonsense.map((_, index) => `  - { address: ${addressOf(index)}, as: 65000, port: 1791 }\n`);
  const config = goodConfig({
    host: 'interface: br0, bgp: { as: 65011, routerId: 10.88.0.11 }',
    more: `peers:
  - { address: 10.88.0.1, as: 65000, port: 1790 }
  - { address: 10.88.0.99, as: 65000 }
${bad.join('')}`,
  });
  daemon = await host.start('-c', host.write('bgp.yaml', config));
  const state = await eventually(
    async () => (await peer('10.88.0.1'))?.state,
    (now) => now === 'Established',
    60_000,
  );
  expect(state).toBe('Established');
});
afterAll(async () => {
  for (const server of servers) server.close();
  await host?.remove();
});

/** Code and subcode of the NOTIFICATION in a stream of messages. */
function notificationIn(stream: Buffer): number[] | undefined {
  for (let at = 0; at + 19 <= stream.length; at += stream.readUInt16BE(at + 16)) {
    if (stream[at + 18] === messageType.notification) return [...stream.subarray(at + 19, at + 21)];
  }
  return undefined;
}

describe('a peer that talks nonsense', () => {
  /** All of them as the daemon shows them, asked once: a command takes its time on a busy machine. */
  let shown: readonly BgpPeerView[] = [];
  beforeAll(async () => {
    const answered = () => Promise.all(nonsense.map((_, index) => heard.get(addressOf(index))));
    await eventually(answered, (answers) => !answers.includes(undefined), 60_000);
    shown = await eventually(
      async () => (await status()).bgp.announcer?.peers ?? [],
      (peers) => peers.every(({ address, lastError }) => !heard.has(address) || lastError !== undefined),
      60_000,
    );
  });

  it.each(nonsense.map((one, index) => ({ ...one, address: addressOf(index) })))(
    '$what: gets NOTIFICATION $gets',
    async ({ gets, address }) => {
      expect(notificationIn((await heard.get(address)) ?? Buffer.alloc(0))).toEqual(gets);
      const { lastError } = shown.find((one) => one.address === address) ?? {};
      expect(lastError).toMatchObject({ direction: 'sent', code: gets[0], subcode: gets[1] });
    },
  );

  it('harms no other session, neither daemon nor traffic', async () => {
    expect(await peer('10.88.0.1')).toMatchObject({ state: 'Established', flaps: 0 });
    expect(daemon.process.exitCode).toBeNull();
    expect(await host.ask()).toBe('backend');
  });

  it('and then behaves is taken back', async () => {
    const states = await eventually(
      async () => (await status()).bgp.announcer?.peers.filter(({ address }) => heard.has(address)) ?? [],
      (peers) => peers.every(({ state }) => state === 'Established'),
      60_000,
    );
    expect(states.map(({ state }) => state)).toEqual(nonsense.map(() => 'Established'));
    expect(states.map(({ prefixesAdvertised }) => prefixesAdvertised)).toEqual(nonsense.map(() => 1));
  });
});

describe('a peer that cannot be reached', () => {
  it('is shown as such, with why; the VIP is announced to the others', async () => {
    const seen = await eventually(
      () => peer('10.88.0.99'),
      (now) => now?.lastError !== undefined,
      60_000,
    );
    expect(['Idle', 'Connect', 'Active']).toContain(seen?.state);
    expect(seen?.lastError?.text).toMatch(/EHOSTUNREACH|ETIMEDOUT|timed out|unreachable/i);
    const text = (await host.run('l4ctl', 'bgp', 'summary')).stdout;
    expect(text).toContain(
      `10.88.0.99: last error (${seen?.lastError?.direction}): ${seen?.lastError?.text}\n`,
    );
    const { vips } = await status();
    expect(vips[0]?.announced).toBe(true);
  });
});
