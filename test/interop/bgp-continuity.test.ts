/** Graceful restart, planned stops and the other negotiated options against FRR. */
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { connectChannel } from '@l4d/kit/ffi/descriptor-channel.ts';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  frrCommand,
  frrShow,
  inKernel,
  namespaces,
  setUpNetwork,
  startAnnouncer,
  startFrr,
  tearDownNetwork,
} from '../../tools/lab/io/bgp-lab.ts';
import { runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import { until } from './bgp-until.ts';

type PeerInput = DesiredInput['peers'][number];

const frr: PeerInput = { address: '10.77.0.1', as: 65000, nextHop6: 'fd77:0::2', connectRetryMs: 100 };
const route4 = '203.0.113.10';
const route6 = '2001:db8:113::10';

let announcer: ReturnType<typeof startAnnouncer>;
let client: AnnouncerClient;

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

const put = (peer: Partial<PeerInput>, prefixes?: DesiredInput['prefixes']) =>
  client.put({
    owner: 'test',
    local: { as: 65001, routerId: '10.77.0.2', listen: true },
    peers: [{ ...frr, ...peer }],
    prefixes: prefixes ?? [{ prefix: `${route4}/32` }, { prefix: `${route6}/128` }],
  });

const peer = async () => (await client.status()).peers[0];

const established = () =>
  until(
    'established',
    async () => (await peer())?.state === 'Established' && inKernel(namespaces.frr, route4),
  );

const frrBgp = (...lines: string[]) => frrCommand('configure terminal', 'router bgp 65000', ...lines);

/** What FRR knows of us. */
function neighbor(): Record<string, unknown> {
  return (
    (frrShow('show bgp neighbors 10.77.0.2') as Record<string, Record<string, unknown>>)['10.77.0.2'] ?? {}
  );
}

const path4 = (prefix = `${route4}/32`) =>
  (frrShow(`show bgp ipv4 unicast ${prefix}`) as { paths?: Record<string, unknown>[] }).paths?.[0];

beforeAll(async () => {
  setUpNetwork();
  startFrr(65000, 65001, ['bgp graceful-restart', 'bgp graceful-restart stalepath-time 60']);
  await start();
});

afterAll(() => {
  announcer?.process.kill('SIGKILL');
  tearDownNetwork();
});

afterEach(async () => {
  await client.put({ owner: 'test', local: { as: 65001, routerId: '10.77.0.2' }, peers: [], prefixes: [] });
});

/** Every change of a route in the router's kernel table while `work` runs. */
async function routeEvents(work: () => Promise<void>): Promise<string[]> {
  const monitor = spawnIn(namespaces.frr, 'ip', 'monitor', 'route');
  let text = '';
  monitor.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  // Routes of nobody mark that the monitor listens, and later that it has told all.
  const ipRoute = (...words: string[]) => runIn(namespaces.frr, 'ip', 'route', ...words);
  await until('the monitor listens', () => {
    // The same again would be no event.
    ipRoute('add', 'blackhole', '192.0.2.98');
    ipRoute('del', 'blackhole', '192.0.2.98');
    return text.includes('192.0.2.98');
  });
  try {
    await work();
    ipRoute('add', 'blackhole', '192.0.2.99');
    await until('the monitor has told all', () => text.includes('192.0.2.99'));
    ipRoute('del', 'blackhole', '192.0.2.99');
  } finally {
    monitor.kill();
  }
  return text.split('\n').filter((line) => line.includes(route4) || line.includes(route6));
}

it('continuity: killed, the routes stay; back, End-of-RIB, and nothing moved', async () => {
  await put({ promise: 'continuity', restartTimeMs: 20_000 });
  await established();
  expect((await peer())?.negotiated).toContain('gracefulRestart');
  const events = await routeEvents(async () => {
    announcer.process.kill('SIGKILL');
    await until('the session is down', () => neighbor()['bgpState'] !== 'Established');
    expect([inKernel(namespaces.frr, route4), inKernel(namespaces.frr, route6)]).toEqual([true, true]);
    await start();
    await put({ promise: 'continuity', restartTimeMs: 20_000 });
    await established();
    await until('End-of-RIB has come', () => {
      const info = neighbor()['gracefulRestartInfo'] as
        | Record<string, { endOfRibStatus?: { endOfRibRecv?: boolean } }>
        | undefined;
      return ['ipv4Unicast', 'ipv6Unicast'].every(
        (family) => info?.[family]?.endOfRibStatus?.endOfRibRecv === true,
      );
    });
  });
  expect(events).toEqual([]);
  expect(path4()).not.toHaveProperty('stale');
});

it('continuity: what is no longer wanted after the restart goes with End-of-RIB', async () => {
  // Both times at the router, this one and its stalepath-time, are far longer than the wait below.
  await put({ promise: 'continuity', restartTimeMs: 120_000 });
  await established();
  announcer.process.kill('SIGKILL');
  await until('the session is down', () => neighbor()['bgpState'] !== 'Established');
  await start();
  await put({ promise: 'continuity', restartTimeMs: 120_000 }, [{ prefix: `${route4}/32` }]);
  await until('the stale route is gone', () => !inKernel(namespaces.frr, route6));
  expect(inKernel(namespaces.frr, route4)).toBe(true);
});

it('continuity: a planned restart keeps the routes, a planned stop ends them', async () => {
  await put({ promise: 'continuity', restartTimeMs: 20_000 });
  await established();
  await client.shutdown({ keepRoutes: true });
  await until('the session is down', () => neighbor()['bgpState'] !== 'Established');
  expect(inKernel(namespaces.frr, route4)).toBe(true);
  await start();
  await put({ promise: 'continuity', restartTimeMs: 20_000 });
  await established();
  await client.shutdown({ text: 'disk swap' });
  await until('routes gone', () => !inKernel(namespaces.frr, route4));
  await start();
});

it('continuity: an upgrade that fails ends in a restart where that is asked for, and no route moves', async () => {
  await put({ promise: 'continuity', restartTimeMs: 20_000 });
  await established();
  // Whoever says nothing here is in the way of a successor.
  const path = announcer.socketPath.replace('announcer.sock', 'announcer-handover.sock');
  const inTheWay = connectChannel(path, { onMessage: () => {}, onClosed: () => {} });
  const events = await routeEvents(async () => {
    await expect(client.handOver({ otherwise: 'stay' })).rejects.toThrow('the successor has ended');
    expect(await peer()).toMatchObject({ state: 'Established', flaps: 0 });
    await expect(client.handOver({ otherwise: 'restart' })).rejects.toMatchObject({
      problem: { title: 'No handover: the announcer ends for a restart' },
    });
    await until('the session is down', () => neighbor()['bgpState'] !== 'Established');
    // It was left without a word.
    expect(neighbor()['lastResetDueTo']).toMatch(/closed/i);
    await start();
    await put({ promise: 'continuity', restartTimeMs: 20_000 });
    await established();
  });
  inTheWay.close();
  expect(events).toEqual([]);
});

it('fast: killed, the routes go at once', async () => {
  await put({});
  await established();
  expect((await peer())?.negotiated).not.toContain('gracefulRestart');
  announcer.process.kill('SIGKILL');
  await until('routes gone', () => !inKernel(namespaces.frr, route4));
  // By the end of the connection, not by the hold time.
  expect(neighbor()['lastResetDueTo']).toMatch(/closed/i);
  await start();
});

it('a planned stop announces GRACEFUL_SHUTDOWN, waits, and says why', async () => {
  await put({ gracefulShutdownMs: 4000 });
  await established();
  const stopped = client.shutdown({ text: 'disk swap in rack 4' });
  await until('the community is there', () => JSON.stringify(path4() ?? {}).includes('graceful-shutdown'));
  expect(inKernel(namespaces.frr, route4)).toBe(true);
  await stopped;
  await until('routes gone', () => !inKernel(namespaces.frr, route4));
  expect(JSON.stringify(neighbor())).toContain('Cease/Administrative Shutdown');
  await start();
});

it('extended messages, enhanced route refresh, RFC 9072, role: agreed with FRR', async () => {
  frrBgp('neighbor 10.77.0.2 local-role provider');
  try {
    await put({
      extendedMessages: true,
      enhancedRouteRefresh: true,
      extendedOptionalParameters: true,
      role: 'customer',
      roleStrict: true,
    });
    await established();
    const agreed = (await peer())?.negotiated ?? [];
    expect(agreed).toEqual(expect.arrayContaining(['enhancedRouteRefresh', 'extendedMessages']));
    expect(JSON.stringify(neighbor())).toMatch(/"remoteRole":"customer"/);
    const updates = () =>
      (neighbor()['messageStats'] as { updatesRecv: number } | undefined)?.updatesRecv ?? 0;
    const before = updates();
    frrCommand('clear bgp ipv4 unicast 10.77.0.2 soft in');
    await until('the UPDATE came again', () => updates() > before);
    expect((await peer())?.state).toBe('Established');
    expect(inKernel(namespaces.frr, route4)).toBe(true);
    await put({ role: 'peer' });
    await until('Role Mismatch', async () => /Role Mismatch/.test((await peer())?.lastError?.text ?? ''));
  } finally {
    frrBgp('no neighbor 10.77.0.2 local-role provider');
  }
});

it('10,000 prefixes in messages of 64 KiB', async () => {
  const many = Array.from({ length: 10_000 }, (_, i) => ({ prefix: `11.0.${i >> 8}.${i & 255}/32` }));
  await put({ extendedMessages: true }, [{ prefix: `${route4}/32` }, ...many]);
  await established();
  const count = () =>
    (frrShow('show bgp ipv4 unicast summary') as { peers: Record<string, { pfxRcd: number }> }).peers[
      '10.77.0.2'
    ]?.pfxRcd;
  await until('all there', () => count() === 10_001);
  expect((await peer())?.messagesSent).toBeLessThan(12);
});

it('policy: MED, prepend, communities of three kinds, filter', async () => {
  await put({ policy: { med: 7, communities: ['65001:9'], deny: ['203.0.113.99/32'] } }, [
    {
      prefix: `${route4}/32`,
      prepend: 2,
      communities: ['65001:1'],
      largeCommunities: ['65001:1:2'],
      extendedCommunities: ['rt:65001:5'],
      linkBandwidth: { mbps: 80 },
    },
    { prefix: '203.0.113.99/32' },
  ]);
  await established();
  expect(path4()).toMatchObject({
    metric: 7,
    aspath: { string: '65001 65001 65001' },
    community: { string: '65001:1 65001:9' },
    largeCommunity: { string: '65001:1:2' },
  });
  expect(JSON.stringify(path4())).toMatch(/RT:65001:5.*LB:65001:10000000/);
  expect((await client.status()).prefixes[1]?.notAdvertisedTo).toEqual([
    { peer: '10.77.0.1', reason: "the peer's policy keeps it back" },
  ]);
});

it('several paths of a prefix (RFC 7911)', async () => {
  await put({ addPath: true }, [
    { prefix: `${route4}/32` },
    { prefix: `${route4}/32`, pathId: 2, nextHop: '10.77.0.3' },
  ]);
  await established();
  const paths = () => (frrShow(`show bgp ipv4 unicast ${route4}/32`) as { paths?: unknown[] }).paths?.length;
  await until('two paths', () => paths() === 2);
  await client.patch({ remove: [`${route4}/32#2`] });
  await until('one path', () => paths() === 1);
});

it('link bandwidth becomes weights of the router’s kernel routes: 25 to 75', async () => {
  await put({ addPath: true }, [
    { prefix: `${route4}/32`, linkBandwidth: { mbps: 25 } },
    { prefix: `${route4}/32`, pathId: 2, nextHop: '10.77.0.3', linkBandwidth: { mbps: 75 } },
  ]);
  await established();
  const weights = () =>
    [...runIn(namespaces.frr, 'ip', 'route', 'show', route4).matchAll(/via (\S+) .*weight (\d+)/g)].map(
      ([, via, weight]) => [via, Number(weight)] as const,
    );
  await until('two next hops', () => weights().length === 2);
  const [first = 0, second = 0] = weights()
    .sort(([a = ''], [b = '']) => a.localeCompare(b))
    .map(([, weight]) => weight);
  expect(Math.round((100 * first) / (first + second))).toBe(25);
});

it('IPv4 prefixes over an IPv6 session with IPv6 next hops (RFC 8950)', async () => {
  frrBgp(
    'neighbor fd77:0::2 remote-as 65001',
    'neighbor fd77:0::2 timers connect 1',
    'neighbor fd77:0::2 capability extended-nexthop',
  );
  await put({ address: 'fd77:0::1', extendedNextHop: true });
  await until('the IPv6 next hop is in the kernel', () =>
    /via inet6 (fd77|fe80)/.test(runIn(namespaces.frr, 'ip', 'route', 'show', route4)),
  );
  expect((await peer())?.negotiated).toContain('extendedNextHop');
  frrBgp('no neighbor fd77:0::2');
});

it('a change of one prefix: PATCH adds, removes, and refuses another revision', async () => {
  await put({});
  await established();
  const { revision } = await client.patch({
    add: [{ prefix: '203.0.113.12/32' }],
    remove: [`${route6}/128`],
  });
  await until('changed', () => inKernel(namespaces.frr, '203.0.113.12') && !inKernel(namespaces.frr, route6));
  expect(inKernel(namespaces.frr, route4)).toBe(true);
  await expect(client.patch({ remove: [`${route4}/32`], ifRevision: revision - 1 })).rejects.toThrow(
    /the revision is/,
  );
  await expect(client.patch({ add: [{ prefix: '203.0.113.300/32' }] })).rejects.toThrow(/add\[0\]\.prefix/);
  expect(inKernel(namespaces.frr, route4)).toBe(true);
});

it('waits for the peer with DelayOpen, and stays Idle after a failure with damping', async () => {
  await put({ delayOpenMs: 2000, idleHoldMs: 3000 });
  await established();
  frrCommand('clear bgp 10.77.0.2');
  await until('idle', async () => (await peer())?.state === 'Idle');
  await established();
});
