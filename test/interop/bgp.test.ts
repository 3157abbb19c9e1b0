import { once } from 'node:events';
import { statSync } from 'node:fs';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { encodeMessage, splitMessages } from '@l4d/announcer/core/codec/message.ts';
import { makeOpen } from '@l4d/announcer/core/negotiation.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  frrCommand,
  frrShow,
  inKernel,
  namespaces,
  scriptedPeer,
  setUpNetwork,
  startAnnouncer,
  startBird,
  startFrr,
  stopBird,
  stopFrr,
  tearDownNetwork,
} from '../../tools/lab/io/bgp-lab.ts';
import { runIn } from '../../tools/lab/io/namespace-commands.ts';
import { until } from './bgp-until.ts';

const frrPeer = { address: '10.77.0.1', as: 65000, nextHop6: 'fd77:0::2', connectRetryMs: 200 };
const birdPeer = { address: 'fd77:1::1', as: 65000, nextHop4: '10.77.1.2', connectRetryMs: 200 };
const otherPeer = { address: '10.77.2.1', as: 65002, mode: 'passive' as const };
/** A route of the router's own, so that there is something for us to refuse. */
const frrExtra = ['no bgp network import-check', 'network 198.51.100.0/24'];
const route4 = '203.0.113.10';
const route6 = '2001:db8:113::10';

let announcer: ReturnType<typeof startAnnouncer>;
let client: AnnouncerClient;

function desired(change: Partial<DesiredInput> = {}): DesiredInput {
  return {
    owner: 'test',
    local: { as: 65001, routerId: '10.77.0.2', listen: true },
    peers: [frrPeer, birdPeer, otherPeer],
    prefixes: [{ prefix: `${route4}/32`, med: 10, communities: ['65000:1'] }, { prefix: `${route6}/128` }],
    ...change,
  };
}

async function start(): Promise<void> {
  announcer = startAnnouncer();
  client = announcerClient(announcer.socketPath);
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
}

async function peer(address: string) {
  const found = (await client.status()).peers.find((candidate) => candidate.address === address);
  if (found === undefined) throw new Error(`no peer ${address}`);
  return found;
}

const established = (address: string) =>
  until(`${address} established`, async () => (await peer(address)).state === 'Established');

const bothHaveBoth = () =>
  until('both routers have both routes', () =>
    [namespaces.frr, namespaces.bird].every((name) => inKernel(name, route4) && inKernel(name, route6)),
  );

beforeAll(async () => {
  setUpNetwork();
  startFrr(65000, 65001, frrExtra);
  startBird(65000, 65001);
  await start();
});

afterAll(() => {
  announcer?.process.kill('SIGKILL');
  tearDownNetwork();
});

describe('with FRR and BIRD', () => {
  beforeEach(async () => {
    await client.put(desired());
    await established(frrPeer.address);
    await established(birdPeer.address);
    await bothHaveBoth();
  });

  it('shows what it announces, and the socket is for its owner alone', async () => {
    const status = await client.status();
    expect(statSync(announcer.socketPath).mode & 0o777).toBe(0o600);
    expect(status.prefixes).toEqual([
      { prefix: '203.0.113.10/32', advertisedTo: ['10.77.0.1', 'fd77:1::1'], notAdvertisedTo: [] },
      { prefix: '2001:db8:113::10/128', advertisedTo: ['10.77.0.1', 'fd77:1::1'], notAdvertisedTo: [] },
    ]);
    const seen = frrShow(`show bgp ipv4 unicast ${route4}/32`) as {
      paths: { med: number; community: { string: string }; aspath: { string: string } }[];
    };
    expect(seen.paths[0]).toMatchObject({
      metric: 10,
      community: { string: '65000:1' },
      aspath: { string: '65001' },
    });
  });

  it('brings a new prefix into the kernel, and takes it out again', async () => {
    const more = desired();
    await client.put({ ...more, prefixes: [...more.prefixes, { prefix: '203.0.113.11/32' }] });
    await until('announced', () => inKernel(namespaces.frr, '203.0.113.11'));
    await client.put(more);
    await until('withdrawn', () => !inKernel(namespaces.frr, '203.0.113.11'));
    expect(inKernel(namespaces.frr, route4)).toBe(true);
  });

  it('withdraws by request until the next put', async () => {
    await client.withdraw(['203.0.113.10/32']);
    await until('withdrawn from both', () =>
      [namespaces.frr, namespaces.bird].every((name) => !inKernel(name, route4) && inKernel(name, route6)),
    );
    await client.put(desired());
    await bothHaveBoth();
  });

  it('withdraws everything when its owner is silent for the dead-man time, and the sessions stay', async () => {
    await client.put(desired({ deadManMs: 1000 }));
    await until('nothing left', () => !inKernel(namespaces.frr, route4) && !inKernel(namespaces.frr, route6));
    expect((await client.status()).deadMan).toBe(true);
    expect((await peer(frrPeer.address)).state).toBe('Established');
    const { flaps } = await peer(frrPeer.address);
    await client.put(desired({ deadManMs: 1000 }));
    await bothHaveBoth();
    expect((await peer(frrPeer.address)).flaps).toBe(flaps);
  });

  it('refuses a bad state and stays as it is', async () => {
    await expect(client.put(desired({ prefixes: [{ prefix: '203.0.113.300/32' }] }))).rejects.toThrow(
      /prefixes\[0\]\.prefix: "203\.0\.113\.300\/32" is not/,
    );
    expect(inKernel(namespaces.frr, route4)).toBe(true);
  });

  it('comes back after the router was restarted', async () => {
    stopFrr('SIGKILL');
    await until('session lost', async () => (await peer(frrPeer.address)).state !== 'Established');
    runIn(namespaces.frr, 'ip', 'route', 'flush', 'proto', 'bgp');
    startFrr(65000, 65001, frrExtra);
    await established(frrPeer.address);
    await bothHaveBoth();
    stopBird();
    await until('session lost', async () => (await peer(birdPeer.address)).state !== 'Established');
    expect((await peer(birdPeer.address)).lastError).toMatchObject({ direction: 'received', code: 6 });
    startBird(65000, 65001);
    await established(birdPeer.address);
  });

  it('answers garbage with the right NOTIFICATION and harms no other session', async () => {
    const before = await client.status();
    const open = encodeMessage(
      makeOpen({
        localAs: 65002,
        routerId: 0x0a4d0201,
        peerAs: 65001,
        holdTimeSeconds: 9,
        families: ['ipv4'],
      }),
    );
    const keepalive = encodeMessage({ type: 'keepalive' });
    const oversized = Uint8Array.from(keepalive);
    oversized.set([0xff, 0xff], 16);
    const unknownType = Uint8Array.from(keepalive);
    unknownType[18] = 40;
    const badUpdate = Uint8Array.from([...keepalive.subarray(0, 16), 0, 23, 2, 0xff, 0xff, 0, 0]);
    const cases: [string, Uint8Array[], number[]][] = [
      ['garbage', [new TextEncoder().encode('GET / HTTP/1.1\r\nHost: a.example\r\n\r\n')], [1, 1]],
      ['an oversized message', [open, keepalive, oversized], [1, 2, 0xff, 0xff]],
      ['an unknown type', [open, keepalive, unknownType], [1, 3, 40]],
      [
        'an UPDATE before OPEN',
        [encodeMessage({ type: 'update', withdrawn: [], attributes: [], nlri: [] })],
        [5, 1, 2],
      ],
      ['lengths that do not fit', [open, keepalive, badUpdate], [3, 1]],
      ['a second OPEN', [open, keepalive, open], [5, 3, 1]],
    ];
    for (const [name, messages, expected] of cases) {
      const answer = splitMessages(await scriptedPeer(Buffer.concat(messages)));
      const last = answer.messages.at(-1);
      expect([name, last?.[18], ...(last?.subarray(19) ?? [])]).toEqual([name, 3, ...expected]);
      expect((await peer(otherPeer.address)).lastError).toMatchObject({
        direction: 'sent',
        code: expected[0],
      });
    }
    // A message cut short and then silence: nothing to answer yet, and nothing breaks.
    await scriptedPeer(Buffer.concat([open, keepalive, keepalive.subarray(0, 10)]), 500);
    const after = await client.status();
    for (const { address } of [frrPeer, birdPeer]) {
      const one = after.peers.find((candidate) => candidate.address === address);
      expect(one).toMatchObject({
        state: 'Established',
        flaps: before.peers.find((candidate) => candidate.address === address)?.flaps,
      });
    }
  });

  it('counts what a peer announces and imports nothing', async () => {
    await until('the router has announced', async () => (await peer(frrPeer.address)).prefixesReceived > 0);
    expect(runIn(namespaces.announcer, 'ip', 'route', 'show', 'proto', 'bgp').trim()).toBe('');
  });

  it('sends everything again when the router asks for a refresh', async () => {
    const updates = () => {
      const neighbors = frrShow('show bgp neighbors 10.77.0.2') as Record<
        string,
        { messageStats: { updatesRecv: number } }
      >;
      return neighbors['10.77.0.2']?.messageStats.updatesRecv ?? 0;
    };
    const before = updates();
    frrCommand('clear bgp ipv4 unicast 10.77.0.2 soft in');
    await until('the UPDATE came again', () => updates() > before);
    expect(inKernel(namespaces.frr, route4)).toBe(true);
  });

  it.each([
    ['an internal peer: LOCAL_PREF, empty path', 65000, { locPrf: 100, aspath: { string: 'Local' } }],
    ['an AS of four octets', 4_200_000_001, { aspath: { string: '4200000001' } }],
  ])('announces as %s', async (_name, as, expected) => {
    const remoteAs = (number: number) =>
      frrCommand('configure terminal', 'router bgp 65000', `neighbor 10.77.0.2 remote-as ${number}`);
    remoteAs(as);
    try {
      await client.put(desired({ local: { as, routerId: '10.77.0.2', listen: true }, peers: [frrPeer] }));
      await established(frrPeer.address);
      await until(
        'in the kernel',
        () => inKernel(namespaces.frr, route4) && inKernel(namespaces.frr, route6),
      );
      const seen = frrShow(`show bgp ipv4 unicast ${route4}/32`) as { paths: object[] };
      expect(seen.paths[0]).toMatchObject(expected);
    } finally {
      remoteAs(65001);
    }
  });

  it('tells a wrong AS clearly, on both sides', async () => {
    await client.put(desired({ peers: [{ ...frrPeer, as: 64999 }, birdPeer, otherPeer] }));
    await until('Bad Peer AS sent', async () => (await peer(frrPeer.address)).lastError?.subcode === 2);
    expect((await peer(frrPeer.address)).lastError).toMatchObject({
      direction: 'sent',
      code: 2,
      subcode: 2,
      text: 'OPEN Message Error / Bad Peer AS: the peer says that it is AS 65000, configured is AS 64999',
    });
    // Our own AS wrong: the router says so.
    await client.put(desired({ local: { as: 65009, routerId: '10.77.0.2', listen: false } }));
    await until('Bad Peer AS received', async () => {
      const error = (await peer(frrPeer.address)).lastError;
      return error?.direction === 'received' && error.code === 2 && error.subcode === 2;
    });
  });

  it('says why an IPv6 prefix cannot go over an IPv4 session', async () => {
    const { nextHop6, ...without } = frrPeer;
    await client.put(desired({ peers: [without] }));
    await established(frrPeer.address);
    const status = await client.status();
    expect(status.prefixes[1]?.notAdvertisedTo).toEqual([
      { peer: '10.77.0.1', reason: 'an IPv6 prefix on an IPv4 session needs nextHop6' },
    ]);
  });

  it('says Cease when it is shut down, and killed it leaves no route behind', async () => {
    announcer.process.kill('SIGTERM');
    const [code] = await once(announcer.process, 'exit');
    expect(code).toBe(0);
    await until('routes gone', () => !inKernel(namespaces.frr, route4) && !inKernel(namespaces.bird, route6));
    const neighbors = frrShow('show bgp neighbors 10.77.0.2') as Record<
      string,
      { lastNotificationReason?: string }
    >;
    expect(neighbors['10.77.0.2']?.lastNotificationReason).toBe('Cease/Administrative Shutdown');

    await start();
    await client.put(desired());
    await bothHaveBoth();
    announcer.process.kill('SIGKILL');
    await until('routes gone', () => !inKernel(namespaces.frr, route4) && !inKernel(namespaces.bird, route6));
    await start();
  });
});
