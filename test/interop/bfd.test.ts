/** BFD of the announcer with FRR's bfdd and BIRD, over links that fail in silence. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { encodePacket } from '@l4d/announcer/core/bfd/packet.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import {
  bfdProfile,
  birdShow,
  configureBird,
  cutLink,
  frrConfigure,
  frrShow,
  inKernel,
  mendLink,
  namespaces,
  setUpNetwork,
  startAnnouncer,
  startFrr,
  tearDownNetwork,
  watchDeletion,
} from './bfd-lab.ts';
import { until } from './bgp-until.ts';

type Peer = DesiredInput['peers'][number];
type Bfd = NonNullable<Peer['bfd']>;

const route4 = '203.0.113.10';
const route6 = '2001:db8:113::10';
const frr = '10.78.0.1';
const bird = 'fd78:1::1';

let announcer: ReturnType<typeof startAnnouncer>;
let client: AnnouncerClient;

/** The fast ones ask more of the machine than a test may: `npm run soak -- bfd-cut`. */
const cutIntervals = process.env['L4D_TEST_LONG'] === undefined ? [100] : [50, 10];

const at = (intervalMs: number): Bfd => ({ txIntervalMs: intervalMs, rxIntervalMs: intervalMs });

function desired(frrBfd: Bfd | undefined, birdBfd: Bfd | undefined = undefined): DesiredInput {
  const option = (bfd: Bfd | undefined) => (bfd === undefined ? {} : { bfd });
  return {
    owner: 'test',
    local: { as: 65001, routerId: '10.78.0.2', listen: true },
    peers: [
      { address: frr, as: 65000, connectRetryMs: 200, families: ['ipv4'], ...option(frrBfd) },
      { address: bird, as: 65000, connectRetryMs: 200, families: ['ipv6'], ...option(birdBfd) },
    ],
    prefixes: [{ prefix: `${route4}/32` }, { prefix: `${route6}/128` }],
  };
}

async function peer(address: string) {
  const found = (await client.status()).peers.find((candidate) => candidate.address === address);
  if (found === undefined) throw new Error(`no peer ${address}`);
  return found;
}

const established = (address: string) =>
  until(`${address} established`, async () => (await peer(address)).state === 'Established');

const bfdIs = (address: string, state: string) =>
  until(`BFD with ${address} ${state}`, async () => (await peer(address)).bfd?.state === state);

const frrPeer = () =>
  (frrShow('show bfd peer 10.78.0.2') as { status: string; diagnostic: string } | undefined) ?? undefined;

async function start(runDir?: string): Promise<void> {
  announcer = startAnnouncer(runDir);
  client = announcerClient(announcer.socketPath);
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
}

beforeAll(async () => {
  setUpNetwork();
  startFrr();
  configureBird();
  await start();
});

afterAll(() => {
  announcer?.process.kill('SIGKILL');
  tearDownNetwork();
});

describe('with FRR and BIRD', () => {
  beforeEach(async () => {
    await client.put(desired(at(100), at(100)));
    for (const address of [frr, bird]) {
      await established(address);
      await bfdIs(address, 'Up');
    }
  });

  it('comes up over IPv4 and IPv6, and both ends agree on the slower interval', async () => {
    for (const address of [frr, bird]) {
      await until(`negotiated with ${address}`, async () => {
        const { bfd } = await peer(address);
        return bfd?.remoteState === 'Up' && bfd.txIntervalMs === 100 && bfd.rxIntervalMs === 100;
      });
      const { bfd } = await peer(address);
      expect(bfd).toMatchObject({
        state: 'Up',
        remoteState: 'Up',
        diagnostic: 'none',
        txIntervalMs: 100,
        rxIntervalMs: 100,
        detectionTimeMs: 300,
        dropped: {},
        sendErrors: {},
      });
      expect(bfd?.upSince).toBeGreaterThan(Date.now() - 60_000);
    }
    const theirs = frrShow('show bfd peer 10.78.0.2') as Record<string, unknown>;
    const { bfd } = await peer(frr);
    expect(theirs).toMatchObject({
      status: 'up',
      id: bfd?.remoteDiscriminator,
      'remote-id': bfd?.localDiscriminator,
      'remote-transmit-interval': 100,
      'remote-receive-interval': 100,
      'remote-detect-multiplier': 3,
    });
    expect(birdShow('show', 'bfd', 'sessions')).toMatch(/fd78:1::2 +up0 +Up .* 0\.100 +0\.300/);
  });

  it('changes intervals while it is up, by a poll sequence, and the BGP session does not notice', async () => {
    const { flaps, bfd } = await peer(frr);
    await client.put(desired(at(400), at(100)));
    await until('slower', async () => (await peer(frr)).bfd?.txIntervalMs === 400);
    await until(
      'the router knows',
      () =>
        (frrShow('show bfd peer 10.78.0.2') as Record<string, unknown>)['remote-transmit-interval'] === 400,
    );
    await client.put(desired(at(100), at(100)));
    await until('faster', async () => (await peer(frr)).bfd?.detectionTimeMs === 300);
    expect(await peer(frr)).toMatchObject({ flaps, bfd: { transitions: bfd?.transitions } });
  });

  it.each(cutIntervals)('a link cut in silence at 3 × %i ms', async (intervalMs) => {
    frrConfigure(...bfdProfile(intervalMs));
    await client.put(desired(at(intervalMs), at(100)));
    const detectionTimeMs = 3 * intervalMs;
    await until('fast', async () => (await peer(frr)).bfd?.detectionTimeMs === detectionTimeMs);
    await until('in the kernel', () => inKernel(namespaces.frr, route4));
    const before = await peer(frr);
    await sleep(2000);
    const holding = (await peer(frr)).bfd;
    console.log(
      `3 × ${intervalMs} ms: ${(holding?.transitions ?? 0) - (before.bfd?.transitions ?? 0)} changes of state in 2 s; ` +
        `largest lateness of a timer ${holding?.timerLatenessMs} ms; last: ${holding?.diagnostic}`,
    );
    await bfdIs(frr, 'Up');
    const gone = watchDeletion(namespaces.frr, route4);
    await sleep(300);
    try {
      const start = performance.now();
      cutLink();
      const cut = performance.now();
      await until('the session is down', async () => (await peer(frr)).state !== 'Established');
      const down = performance.now();
      await until('the route is gone', () => gone.at() !== undefined);
      const late = (await peer(frr)).bfd?.timerLatenessMs;
      console.log(
        `3 × ${intervalMs} ms: cut took ${Math.round(cut - start)} ms; from its start, BGP down here ` +
          `${Math.round(down - start)} ms, route gone there ${Math.round((gone.at() ?? 0) - start)} ms; ` +
          `largest lateness of a timer ${late} ms`,
      );
      const { lastError, bfd } = await peer(frr);
      expect(lastError).toMatchObject({ direction: 'sent', code: 6, subcode: 10 });
      expect(lastError?.text).toBe('Cease / BFD Down: control detection time expired');
      expect(bfd).toMatchObject({ state: 'Down', diagnostic: 'control detection time expired' });
      // The other session has not been touched.
      expect(await peer(bird)).toMatchObject({ state: 'Established', bfd: { state: 'Up' } });
    } finally {
      gone.stop();
      mendLink();
      frrConfigure(...bfdProfile(50));
    }
    await established(frr);
    await bfdIs(frr, 'Up');
  });

  it('AdminDown of a router leaves the session alone', async () => {
    const { flaps } = await peer(frr);
    frrConfigure('bfd', 'profile lb', 'shutdown');
    try {
      await until('its AdminDown', async () => (await peer(frr)).bfd?.remoteState === 'AdminDown');
      // Longer than the detection time, by far.
      await sleep(1000);
      expect(await peer(frr)).toMatchObject({
        state: 'Established',
        flaps,
        bfd: { state: 'Down', diagnostic: 'neighbor signaled session down' },
      });
    } finally {
      frrConfigure('bfd', 'profile lb', 'no shutdown');
    }
    await bfdIs(frr, 'Up');
    expect(await peer(frr)).toMatchObject({ state: 'Established', flaps });
  });

  it('AdminDown of ours is what both routers see, not a failure of the path', async () => {
    await client.put(desired(undefined, undefined));
    await until('FRR sees it', () => frrPeer()?.status === 'down');
    expect(frrShow('show bfd peer 10.78.0.2')).toMatchObject({
      'remote-diagnostic': 'administratively down',
    });
    expect((await peer(frr)).bfd).toBeUndefined();
    await until('BIRD sees it', () => /fd78:1::2 +up0 +Down/.test(birdShow('show', 'bfd', 'sessions')));
  });

  it('takes nothing that has passed a router', async () => {
    const { bfd } = await peer(frr);
    const forged = encodePacket({
      diagnostic: 0,
      state: 'Down',
      poll: false,
      final: false,
      controlPlaneIndependent: false,
      demand: false,
      multiplier: 3,
      myDiscriminator: 7,
      yourDiscriminator: bfd?.localDiscriminator ?? 0,
      desiredMinTx: 1_000_000,
      requiredMinRx: 1_000_000,
      requiredMinEchoRx: 0,
    });
    const hex = Buffer.from(forged).toString('hex');
    const sender = spawnIn(
      namespaces.frr,
      process.execPath,
      '-e',
      `const socket = require('node:dgram').createSocket('udp4');
       socket.bind(0, '${frr}', () => {
         socket.setTTL(254);
         socket.send(Buffer.from('${hex}', 'hex'), 3784, '10.78.0.2', () => socket.close());
       });`,
    );
    await once(sender, 'exit');
    await until('counted', async () => ((await peer(frr)).bfd?.dropped['wrong-ttl'] ?? 0) === 1);
    expect((await peer(frr)).bfd).toMatchObject({ state: 'Up', transitions: bfd?.transitions });
  });

  it('strict mode: no session before BFD is up', async () => {
    frrConfigure('router bgp 65000', 'no neighbor 10.78.0.2 bfd');
    try {
      await client.put({ ...desired(undefined), peers: [] });
      await client.put(desired({ ...at(100), strict: true }));
      await sleep(1500);
      expect(await peer(frr)).toMatchObject({ state: 'Idle', bfd: { state: 'Down' } });
    } finally {
      frrConfigure('router bgp 65000', 'neighbor 10.78.0.2 bfd', 'neighbor 10.78.0.2 bfd profile lb');
    }
    await established(frr);
    expect((await peer(frr)).bfd?.state).toBe('Up');
  });

  it.each([
    ['simple', 'simple'],
    ['keyed-md5', 'keyed md5'],
    ['meticulous-keyed-md5', 'meticulous keyed md5'],
    ['keyed-sha1', 'keyed sha1'],
    ['meticulous-keyed-sha1', 'meticulous keyed sha1'],
  ] as const)('authenticates by %s, and a wrong key is no neighbour', async (type, name) => {
    configureBird(`authentication ${name}; password "lab secret" { id 3; };`);
    const auth = { type, keyId: 3, key: 'lab secret' };
    try {
      await client.put(desired(at(100), { ...at(100), auth }));
      await bfdIs(bird, 'Up');
      const taken = async () => (await peer(bird)).bfd?.packetsReceived ?? 0;
      const before = await taken();
      await until('more packets are taken', async () => (await taken()) >= before + 5);
      await bfdIs(bird, 'Up');
      await client.put(desired(at(100), { ...at(100), auth: { ...auth, key: 'other secret' } }));
      await bfdIs(bird, 'Down');
      await until(
        'what has the wrong key is dropped',
        async () => ((await peer(bird)).bfd?.dropped['auth-digest'] ?? 0) > 0,
      );
      await client.put(desired(at(100), { ...at(100), auth }));
      await bfdIs(bird, 'Up');
    } finally {
      configureBird();
    }
  });

  it('says AdminDown on a planned stop; killed, it is missed within the detection time', async () => {
    announcer.process.kill('SIGTERM');
    expect((await once(announcer.process, 'exit'))[0]).toBe(0);
    expect(frrShow('show bfd peer 10.78.0.2')).toMatchObject({
      status: 'down',
      'remote-diagnostic': 'administratively down',
    });
    await start();
    await client.put(desired(at(100), at(100)));
    await bfdIs(frr, 'Up');
    announcer.process.kill('SIGKILL');
    await until('missed', () => frrPeer()?.diagnostic === 'control detection time expired');
    await start();
  });
});

it('with the promise continuity it outlives the announcer, which finds it again', async () => {
  // Far less than it is without the announcer, and more than a busy machine holds a process up.
  const wanted = desired(at(200));
  const peers = wanted.peers.map((one) => ({
    ...one,
    promise: 'continuity' as const,
    restartTimeMs: 20_000,
  }));
  await client.put({ ...wanted, peers });
  await bfdIs(frr, 'Up');
  const before = (await peer(frr)).bfd;
  announcer.process.kill('SIGKILL');
  await once(announcer.process, 'exit');
  await sleep(1500);
  expect(frrShow('show bfd peer 10.78.0.2')).toMatchObject({ status: 'up', id: before?.remoteDiscriminator });
  await start(announcer.runDir);
  await client.put({ ...wanted, peers });
  await until('found again', async () => (await peer(frr)).bfd?.state === 'Up');
  expect((await peer(frr)).bfd).toMatchObject({
    localDiscriminator: before?.localDiscriminator,
    transitions: before?.transitions,
  });
  await established(frr);
});

it('sends nothing to anybody without the option', async () => {
  await client.put(desired(undefined, undefined));
  await sleep(300);
  const sockets = runIn(namespaces.announcer, 'ss', '-Huln');
  expect(sockets).not.toMatch(/:[34]784/);
});
