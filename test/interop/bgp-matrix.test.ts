/** Each feature with each of four routers, all at the same time; docs/operators/interop.md shows the outcome. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import type { PeerStatus } from '@l4d/announcer/core/api-status.ts';
import type { RecordPage } from '@l4d/announcer/core/record-json.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { run, runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import { until } from './bgp-until.ts';
import { bird } from './matrix/bird.ts';
import { exabgp } from './matrix/exabgp.ts';
import { columns, type FeatureName, features } from './matrix/features.ts';
import { frr } from './matrix/frr.ts';
import { gobgp } from './matrix/gobgp.ts';
import { type RouterName, routerNames } from './matrix/names.ts';
import { ourAs, password, type Router, routerAs } from './matrix/router.ts';
import {
  addresses,
  announcerNamespace,
  folder,
  type SessionName,
  sessionNames,
  setUp,
  tearDown,
} from './matrix/topology.ts';

type PeerInput = DesiredInput['peers'][number];

const routers: readonly Router[] = [frr, bird, gobgp, exabgp];
const first4 = '203.0.113.10/32';
const first6 = '2001:db8:113::10/128';
const withdrawn = '203.0.113.11/32';
const notLongLived = '203.0.113.12/32';
/** A prefix of each router, with two next hops on its link. */
const twoPaths = (router: RouterName) => `198.51.100.${routerNames.indexOf(router) + 1}/32`;
/** As many as make a message of more than 4096 octets. */
const many = Array.from({ length: 1500 }, (_, i) => ({ prefix: `11.0.${i >> 8}.${i & 255}/32` }));
const lastOfMany = many.at(-1)?.prefix ?? '';
/** Each is a message of its own: more than the keepalives of the time that is waited. */
const distinct = Array.from({ length: 20 }, (_, med) => ({ prefix: `198.18.0.${med}/32`, med }));
const shutdownText = 'disk swap in rack 4';

const options: Partial<Record<SessionName, Partial<PeerInput>>> = {
  plain: { gracefulShutdownMs: 1500 },
  overIpv6: { extendedNextHop: true },
  options: {
    promise: 'continuity',
    restartTimeMs: 2000,
    longLivedGracefulRestartMs: 60_000,
    extendedMessages: true,
    enhancedRouteRefresh: true,
    addPath: true,
    role: 'customer',
    policy: {},
  },
  secured: { password, ttlSecurityHops: 1 },
  wrongPassword: { password },
  routerConnects: { mode: 'passive' },
  weConnect: { mode: 'active' },
  routersRange: { mode: 'active' },
  longOpen: { extendedOptionalParameters: true },
};

function peer(router: RouterName, session: SessionName): PeerInput {
  const { theirs, ours } = addresses(router, session);
  return {
    address: theirs,
    localAddress: ours,
    as: routerAs,
    connectRetryMs: 200,
    ...(session === 'overIpv6' ? {} : { nextHop6: addresses(router, 'overIpv6').ours }),
    policy: { deny: ['11.0.0.0/8', '198.51.100.0/24'] },
    ...options[session],
  };
}

const desired: DesiredInput = {
  owner: 'test',
  local: { as: ourAs, routerId: '10.78.0.2', listen: true },
  peers: routerNames.flatMap((router) =>
    sessionNames.filter((session) => session !== 'ourRange').map((session) => peer(router, session)),
  ),
  dynamicPeers: routerNames.map((router) => ({
    range: `${addresses(router, 'ourRange').theirs}/32`,
    template: { as: routerAs },
  })),
  prefixes: [
    {
      prefix: first4,
      communities: ['65001:9'],
      largeCommunities: ['65001:1:2'],
      linkBandwidth: { mbps: 80 },
    },
    { prefix: first6 },
    { prefix: withdrawn },
    { prefix: notLongLived, communities: ['65535:7'] },
    ...routerNames.flatMap((router) => [
      { prefix: twoPaths(router) },
      { prefix: twoPaths(router), pathId: 2, nextHop: addresses(router, 'plain').ours },
    ]),
    ...many,
    ...distinct,
  ],
};

let announcer: ChildProcess;
let client: AnnouncerClient;

async function start(): Promise<void> {
  const main = join(import.meta.dirname, '../../announcer/bin/start.mjs');
  const runDir = join(folder, 'announcer');
  announcer = spawnIn(announcerNamespace, process.execPath, main, '--run-dir', runDir);
  announcer.stderr?.resume();
  client = announcerClient(join(runDir, 'announcer.sock'));
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
}

/** What has been tried, by row and router. */
const outcomes = new Map<string, boolean>();

/** Waits for a row's check to hold with all routers that are known to have it; the others must not hold it. */
async function row(
  feature: FeatureName,
  holds: (router: Router, status: (session: SessionName) => PeerStatus | undefined) => boolean,
  timeoutMs = 40_000,
): Promise<void> {
  const { cells } = features[feature];
  let failing: string[] = [];
  let peers: readonly PeerStatus[] = [];
  const look = async () => {
    ({ peers } = await client.status().catch(() => ({ peers: [] as readonly PeerStatus[] })));
    failing = routers
      .filter((router) => {
        const status = (session: SessionName) =>
          peers.find(({ address }) => address === addresses(router.name, session).theirs);
        const outcome = holds(router, status);
        outcomes.set(`${feature} ${router.name}`, outcome);
        return outcome !== (cells[router.name] === 'yes');
      })
      .map(({ name }) => name);
    return failing.length === 0;
  };
  await until(feature, look, timeoutMs).catch(() => undefined);
  const seen = () =>
    peers.map(({ address, state, flaps, lastError }) => [address, state, flaps, lastError?.text].join(' '));
  expect(failing, `${feature}\n${failing.length === 0 ? '' : seen().join('\n')}`).toEqual([]);
}

/**
 * Whether a session has stayed. Where both ends connect at the same time on a busy machine, ours may be Established on a
 * connection that the router, which has not heard our KEEPALIVE yet, gives up for the other (RFC 4271 section 6.8).
 */
function hasStayed(status: PeerStatus | undefined): boolean {
  const collided = /Connection Collision Resolution/.test(status?.lastError?.text ?? '');
  return status?.flaps === 0 || (status?.flaps === 1 && collided);
}

/** Whether it has, and is there. */
const isUp = (status: PeerStatus | undefined) => status?.state === 'Established' && hasStayed(status);

/** A row that is a session of its own. */
const established = (feature: FeatureName & SessionName) =>
  row(feature, (_, status) => isUp(status(feature)));

/** The flight record of the session on which both connect. */
async function recordOf(router: Router): Promise<RecordPage['entries']> {
  const path = `/v1/peers/${addresses(router.name, 'collision').theirs}/record?limit=100`;
  const { body } = await requestJson(join(folder, 'announcer/announcer.sock'), 'GET', path);
  return (body as RecordPage).entries;
}

/** Whether our connection and the router's are there at the same time, before either OPEN has arrived. */
async function hasTwoConnections(router: Router): Promise<boolean> {
  const entries = await recordOf(router);
  const ways = entries.flatMap((entry) => (entry.kind === 'connected' ? [entry.incoming] : []));
  const isAlive = !entries.some(({ kind }) => kind === 'closed' || kind === 'error');
  return isAlive && ways.includes(true) && ways.includes(false);
}

beforeAll(async () => {
  setUp();
  for (const router of routers) router.start();
  await start();
  for (const rule of [
    'add table inet marks',
    'add chain inet marks out { type filter hook output priority 0; }',
    // Refusals are of sockets that do not exist.
    ...['sport', 'dport'].flatMap((side) =>
      ['ip', 'ip6'].map(
        (family) =>
          `add rule inet marks out tcp ${side} 179 tcp flags & rst == 0 ${family} dscp != cs6 counter`,
      ),
    ),
  ]) {
    runIn(announcerNamespace, 'nft', rule);
  }
  // On the session of the collision both ends can connect, and hear nothing on either connection.
  const range = 'daddr 10.78.0.0/16 ip daddr & 0.0.0.255 == 10';
  for (const rule of [
    'add table inet gate',
    'add chain inet gate in { type filter hook input priority 0; }',
    'add chain inet gate out { type filter hook output priority 0; }',
    `add rule inet gate in ip ${range.replaceAll('daddr', 'saddr')} tcp flags & psh == psh drop`,
    `add rule inet gate out ip ${range} tcp flags & psh == psh drop`,
  ]) {
    runIn(announcerNamespace, 'nft', rule);
  }
  await client.put(desired);
});

afterAll(() => {
  announcer?.kill('SIGKILL');
  for (const router of routers) router.stop();
  tearDown();
});

it('are the versions of the page', () => {
  const texts: Record<RouterName, string> = {
    frr: run('/usr/lib/frr/bgpd', '--version'),
    bird: run('sh', '-c', 'bird --version 2>&1'),
    gobgp: run('gobgpd', '--version'),
    exabgp: run('exabgp', '--version'),
  };
  for (const name of routerNames) expect(texts[name]).toContain(columns[name].version);
});

it('sessions', async () => {
  await row('overIpv4', (router, status) => {
    return (
      isUp(status('plain')) && router.route('plain', first4) !== '' && router.route('plain', first6) !== ''
    );
  });
  const collided = new Set<RouterName>();
  await until('collisions', async () => {
    for (const router of routers) if (await hasTwoConnections(router)) collided.add(router.name);
    return routers.every(({ name }) => collided.has(name) || features.collision.cells[name] !== 'yes');
  });
  runIn(announcerNamespace, 'nft', 'delete table inet gate');
  await row('overIpv6', (router, status) => {
    return isUp(status('overIpv6')) && router.route('overIpv6', first6) !== '';
  });
  await row('extendedNextHop', (router) => router.route('overIpv6', first4).includes('fd78:'));
  await established('weConnect');
  await established('routerConnects');
  await established('ourRange');
  await established('routersRange');
  await established('secured');
  await established('longOpen');
  await row(
    'collision',
    // Of those that open none while they have one, one may be in time all the same: that is no fault.
    ({ name }, status) =>
      features.collision.cells[name] === 'yes' && collided.has(name) && isUp(status('collision')),
  );
  let decided = 0;
  for (const router of routers.filter(({ name }) => features.collision.cells[name] === 'yes')) {
    // Cease / Connection Collision Resolution: whose it is depends on whose OPEN came first. A router that is slow
    // may also give up its own connection before either is heard.
    decided += (await recordOf(router)).filter(
      (entry) => 'hex' in entry && entry.hex.slice(36, 42) === '030607',
    ).length;
    const { peers } = await client.status();
    const { theirs } = addresses(router.name, 'collision');
    expect(peers.find(({ address }) => address === theirs)?.state, router.name).toBe('Established');
  }
  expect(decided, 'collisions decided by a Cease').toBeGreaterThan(0);
  await row('wrongPassword', (_, status) => {
    const { state, lastError } = status('wrongPassword') ?? {};
    return state !== 'Established' && /wrong signature: the passwords differ/.test(lastError?.text ?? '');
  });
});

it('marks its packets as internetwork control, whoever has connected', () => {
  for (const [session, mark] of [
    ['weConnect', 'tos:0xc0'],
    ['routerConnects', 'tos:0xc0'],
    ['overIpv6', 'tclass:0xc0'],
  ] as const) {
    const { ours } = addresses('frr', session);
    const text = runIn(
      announcerNamespace,
      'ss',
      '-Htin',
      '--tos',
      'state',
      'established',
      'src',
      ours.includes(':') ? `[${ours}]` : ours,
    );
    expect(text, session).toContain(mark);
  }
  // The handshakes too.
  const unmarked = runIn(announcerNamespace, 'nft', 'list table inet marks').match(/counter packets \d+/g);
  expect(unmarked).toEqual(Array(4).fill('counter packets 0'));
});

it('what routes carry', async () => {
  await row('largeCommunities', (router) =>
    /65001[:, ]+1[:, ]+2\b|"ASN":65001,"LocalData1":1,"LocalData2":2\b/.test(router.route('plain', first4)),
  );
  // 80 Mbit/s are 10,000,000 octets a second: as a number, as the bits of a float, and with type and AS before them.
  await row('linkBandwidth', (router) =>
    /\b(10000000|1259902592|1405078335952512)\b/.test(router.route('plain', first4)),
  );
});

it('what both sides agree on', async () => {
  await row('addPath', (router) => {
    const paths = router.route('options', twoPaths(router.name));
    const { ours } = addresses(router.name, 'plain');
    return paths.includes(addresses(router.name, 'options').ours) && paths.includes(ours);
  });
  await row('roles', (router) => /role: customer/i.test(router.neighbor('options')));
  await row(
    'longMessages',
    (router, status) =>
      (status('options')?.negotiated?.includes('extendedMessages') ?? false) &&
      router.route('options', lastOfMany) !== '',
  );
});

it('refreshes', async () => {
  const { peers } = await client.status();
  const before = new Map(peers.map(({ address, messagesSent }) => [address, messagesSent]));
  for (const router of routers) {
    router.refresh('plain');
    router.refresh('options');
  }
  const isResent = (status: PeerStatus | undefined, messages: number) =>
    (status?.messagesSent ?? 0) >= (before.get(status?.address ?? '') ?? 0) + messages;
  await row('refresh', (_, status) => isResent(status('plain'), distinct.length));
  await row(
    'enhancedRefresh',
    (_, status) =>
      (status('options')?.negotiated?.includes('enhancedRouteRefresh') ?? false) &&
      isResent(status('options'), distinct.length),
  );
});

it('withdraws', async () => {
  await client.patch({ remove: [withdrawn] });
  await row(
    'withdraw',
    (router, status) =>
      router.route('plain', withdrawn) === '' &&
      router.route('plain', first4) !== '' &&
      hasStayed(status('plain')),
  );
});

it('restarts', async () => {
  announcer.kill('SIGKILL');
  await once(announcer, 'exit');
  // First: the promise "fast" of the other sessions.
  await until('the routes of other sessions are gone', () =>
    routers.every((router) => router.route('plain', first4) === ''),
  );
  const isLongLived = /llgr-stale|\(65535, ?6\)|4294901766/;
  await row('longLived', (router) => {
    const kept = router.route('options', first4);
    return isLongLived.test(kept) && router.route('options', notLongLived) === '';
  });
  await start();
  await client.put(desired);
  await row('gracefulRestart', (router, status) => {
    const fresh = router.route('options', first4);
    const isFresh = fresh !== '' && !isLongLived.test(fresh) && !/"stale":true/.test(fresh);
    return isFresh && status('options')?.state === 'Established' && router.name !== 'exabgp';
  });
});

it('stops', async () => {
  await row('overIpv4', (router) => router.route('plain', first4) !== '');
  const stopped = client.shutdown({ text: shutdownText });
  await row('gracefulShutdown', (router) =>
    /graceful-shutdown|\(65535, ?0\)|\[ 65535, 0 \]|4294901760/.test(router.route('plain', first4)),
  );
  await stopped;
  await row('shutdownText', (router) => `${router.neighbor('plain')}${router.log()}`.includes(shutdownText));
});

it('has tried every cell', () => {
  const cells = Object.keys(features).flatMap((feature) => routerNames.map((name) => `${feature} ${name}`));
  expect(cells.filter((cell) => !outcomes.has(cell))).toEqual([]);
});
