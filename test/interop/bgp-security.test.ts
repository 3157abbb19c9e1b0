/** TCP MD5, GTSM and TCP-AO against FRR and BIRD, in both directions. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { tcpAoMissing } from '@l4d/announcer/io/tcp-keys.ts';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import {
  frrCommand,
  frrShow,
  setUpNetwork,
  startAnnouncer,
  startBird,
  startFrr,
  tearDownNetwork,
} from '../../tools/lab/io/bgp-lab.ts';
import { until } from './bgp-until.ts';

type PeerInput = DesiredInput['peers'][number];

const password = 'sécret of 2385';
const frr: PeerInput = { address: '10.77.0.1', as: 65000, connectRetryMs: 200 };
const bird: PeerInput = { address: 'fd77:1::1', as: 65000, connectRetryMs: 200, password };

let announcer: ReturnType<typeof startAnnouncer>;
let client: AnnouncerClient;
let successor: number | undefined;

const put = (...peers: PeerInput[]) =>
  client.put({
    owner: 'test',
    local: { as: 65001, routerId: '10.77.0.2', listen: true },
    peers,
    prefixes: [{ prefix: '203.0.113.10/32' }],
  });

const status = async (address: string) =>
  (await client.status()).peers.find((candidate) => candidate.address === address);

const established = (address: string) =>
  until(`${address} established`, async () => (await status(address))?.state === 'Established', 40_000);

const frrBgp = (...lines: string[]) => frrCommand('configure terminal', 'router bgp 65000', ...lines);

/** The router connects (and we only listen), or waits. */
function frrConnects(connects: boolean): void {
  frrBgp(connects ? 'no neighbor 10.77.0.2 passive' : 'neighbor 10.77.0.2 passive');
}

beforeAll(async () => {
  setUpNetwork();
  startFrr(65000, 65001);
  startBird(65000, 65001, `password "${password}";`);
  announcer = startAnnouncer();
  client = announcerClient(announcer.socketPath);
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
});

afterAll(() => {
  announcer?.process.kill('SIGKILL');
  if (successor !== undefined) process.kill(successor, 'SIGKILL');
  tearDownNetwork();
});

beforeEach(async () => {
  frrBgp('no neighbor 10.77.0.2 password', 'no neighbor 10.77.0.2 ttl-security hops 1');
  await put();
});

it.each([
  ['active', false],
  ['passive', true],
] as const)('TCP MD5 with FRR, we are %s', async (mode, connects) => {
  frrBgp(`neighbor 10.77.0.2 password ${password.replaceAll(' ', '-')}`);
  frrConnects(connects);
  await put({ ...frr, mode, password: password.replaceAll(' ', '-') });
  await established(frr.address);
});

it('TCP MD5 with BIRD over IPv6', async () => {
  await put(bird);
  await established(bird.address);
});

it.each([
  ['wrong', 'other', /wrong signature: the passwords differ/],
  ['missing here', undefined, /with a signature: a peer has a password configured, and here there is none/],
] as const)('TCP MD5: a password that is %s gives no session and says why', async (_name, own, expected) => {
  frrBgp('neighbor 10.77.0.2 password right');
  frrConnects(true);
  await put({ ...frr, ...(own === undefined ? {} : { password: own }) });
  await until(
    'the error says why',
    async () => expected.test((await status(frr.address))?.lastError?.text ?? ''),
    30_000,
  );
  expect((await status(frr.address))?.state).not.toBe('Established');
  await put({ ...frr, password: 'right' });
  await established(frr.address);
});

it('TCP MD5: a password that the router does not have', async () => {
  frrConnects(true);
  await put({ ...frr, mode: 'passive', password: 'right' });
  await until(
    'the error says why',
    async () => /without a signature/.test((await status(frr.address))?.lastError?.text ?? ''),
    30_000,
  );
  // The same connection without a password is taken: the key is off the listener.
  await put({ ...frr, mode: 'passive' });
  await established(frr.address);
});

it.each([
  ['active', false],
  ['passive', true],
] as const)('GTSM with FRR, we are %s', async (mode, connects) => {
  frrBgp('neighbor 10.77.0.2 ttl-security hops 1');
  frrConnects(connects);
  await put({ ...frr, mode, ttlSecurityHops: 1 });
  await established(frr.address);
});

it('takes whoever connects from a range, with the password of the range', async () => {
  frrBgp('neighbor 10.77.0.2 password of-the-range');
  frrConnects(true);
  const template = { as: 65000, password: 'of-the-range' };
  const dynamic = (range: string) =>
    client.put({
      owner: 'test',
      local: { as: 65001, routerId: '10.77.0.2', listen: true },
      peers: [],
      dynamicPeers: [{ range, limit: 1, template }],
      prefixes: [{ prefix: '203.0.113.10/32' }],
    });
  await dynamic('10.77.0.0/24');
  await established('10.77.0.1');
  // The same again leaves the session alone; another range ends it.
  await dynamic('10.77.0.0/24');
  expect((await status('10.77.0.1'))?.flaps).toBe(0);
  // A successor has the peer, knows its range, and so whether it is still admitted.
  const { pid } = await client.handOver();
  expect(await client.status()).toMatchObject({ pid, peers: [{ state: 'Established', flaps: 0 }] });
  await dynamic('10.77.0.0/24');
  expect(await status('10.77.0.1')).toMatchObject({ state: 'Established', flaps: 0 });
  successor = pid;
  const sessions = frrShow('show bgp neighbors 10.77.0.2') as Record<string, object>;
  expect(sessions['10.77.0.2']).toMatchObject({ bgpState: 'Established' });
  await dynamic('10.77.9.0/24');
  expect(await status('10.77.0.1')).toBeUndefined();
});

it('GTSM: a router that sends with a low TTL stays outside', async () => {
  frrConnects(false);
  frrBgp('neighbor 10.77.0.2 ebgp-multihop 5');
  await put({ ...frr, mode: 'active', ttlSecurityHops: 1 });
  // Without GTSM the session is there in a second.
  const end = performance.now() + 3000;
  while (performance.now() < end) {
    const seen = await status(frr.address);
    expect(seen).toBeDefined();
    expect(seen?.state).not.toBe('Established');
    await sleep(100);
  }
});

it('TCP-AO is refused in one sentence where the kernel lacks it', async ({ skip }) => {
  const missing = tcpAoMissing();
  skip(missing === undefined, 'this kernel has TCP-AO');
  await expect(put({ ...frr, tcpAo: { key: 'k', sendId: 1, receiveId: 1 } })).rejects.toThrow(
    /peers\[0\]\.tcpAo: this kernel has no TCP-AO/,
  );
});
