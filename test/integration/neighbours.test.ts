import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { formatMacAddress } from '@l4d/kit/mac-address.ts';
import { neighbourStateName } from '@l4d/kit/netlink/codec-neighbour.ts';
import { routeType } from '@l4d/kit/netlink/constants.ts';
import { openRtnetlink, type Rtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { type NeighbourWatch, type NeighbourWatchOptions, watchNeighbours } from '@l4d/l4d/io/neighbours.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createHealthLab, type HealthLab } from './support/health-lab.ts';
import { enterNamespace, eventually, ipIn, runIn } from './support/network-namespace.ts';

let lab: HealthLab;
let leave: () => void;
let rtnetlink: Rtnetlink;
let eth0: number;

beforeAll(() => {
  lab = createHealthLab();
  leave = enterNamespace(lab.balancer);
  rtnetlink = openRtnetlink();
  eth0 = interfaceIndex('eth0');
});

afterAll(() => {
  rtnetlink?.close();
  leave?.();
  lab?.remove();
});

const macOf = (namespace: string) => JSON.parse(ipIn(namespace, '-j link show eth0'))[0].address as string;

describe('rtnetlink', () => {
  it('tells links and addresses as ip does', async () => {
    const links = await rtnetlink.links();
    const told = JSON.parse(ipIn(lab.balancer, '-j link show')) as {
      ifindex: number;
      ifname: string;
      mtu: number;
    }[];
    expect(links.map(({ index, name, mtu }) => ({ index, name, mtu }))).toEqual(
      told.map(({ ifindex: index, ifname: name, mtu }) => ({ index, name, mtu })),
    );
    const link = await rtnetlink.link(eth0);
    expect(link).toMatchObject({
      name: 'eth0',
      up: true,
      kind: 'veth',
      operationalState: 'up',
      master: undefined,
    });
    expect(formatMacAddress(link?.mac ?? new Uint8Array())).toBe(macOf(lab.balancer));
    expect(await rtnetlink.link(9999)).toBeUndefined();
    const addresses = await rtnetlink.addresses(eth0);
    const global = addresses.filter(({ scope }) => scope === 'global');
    expect(global.map(({ address, prefixLength }) => `${formatIpAddress(address)}/${prefixLength}`)).toEqual([
      '10.76.0.1/24',
      'fd76::1/64',
    ]);
    expect((await rtnetlink.addresses()).length).toBeGreaterThan(addresses.length);
  });

  it('adds, replaces, tells and deletes routes of both families', async () => {
    for (const [destination, gateway, source] of [
      ['198.51.100.0/24', '10.76.0.21', '10.76.0.1'],
      ['2001:db8:9::/48', 'fd76::21', 'fd76::1'],
    ] as const) {
      const route = {
        destination: ipPrefix(destination),
        table: 4711,
        gateway: ipAddress(gateway),
        interfaceIndex: eth0,
        preferredSource: ipAddress(source),
      };
      const { family } = route.gateway;
      expect(await rtnetlink.routes(family, 4711)).toEqual([]);
      await rtnetlink.addRoute(route);
      await expect(rtnetlink.addRoute(route)).rejects.toMatchObject({ code: 'EEXIST' });
      await rtnetlink.replaceRoute(route);
      expect(await rtnetlink.routes(family, 4711)).toMatchObject([
        { ...route, type: routeType.unicast, onLink: false },
      ]);
      expect(await rtnetlink.deleteRoute(route)).toBe(true);
      expect(await rtnetlink.deleteRoute(route)).toBe(false);
    }
  });

  it('makes a VIP local', async () => {
    const route = { destination: ipPrefix('203.0.113.99/32'), type: 'local', interfaceIndex: 1 } as const;
    await rtnetlink.replaceRoute(route);
    expect(ipIn(lab.balancer, 'route get 203.0.113.99')).toContain('local 203.0.113.99 dev lo');
    expect(await rtnetlink.deleteRoute(route)).toBe(true);
  });

  it('says what the kernel says', async () => {
    const route = {
      destination: ipPrefix('198.51.100.0/24'),
      gateway: ipAddress('192.0.2.1'),
      interfaceIndex: eth0,
    };
    await expect(rtnetlink.addRoute(route)).rejects.toThrow(
      'RTM_NEWROUTE: ENETUNREACH: Nexthop has invalid gateway',
    );
    await expect(rtnetlink.resolveNeighbour(9999, ipAddress('10.0.0.1'))).rejects.toMatchObject({
      code: 'ENODEV',
    });
  });

  it('ensures a rule once', async () => {
    for (const family of [4, 6] as const) {
      const rule = { family, priority: 900, table: 4711, mark: 0x4d000000, markMask: 0xff000000 };
      expect([await rtnetlink.ensureRule(rule), await rtnetlink.ensureRule(rule)]).toEqual([true, false]);
      expect((await rtnetlink.rules(family)).filter(({ table }) => table === 4711)).toMatchObject([rule]);
      expect([await rtnetlink.deleteRule(rule), await rtnetlink.deleteRule(rule)]).toEqual([true, false]);
    }
  });

  it('sets and removes permanent neighbours', async () => {
    const address = ipAddress('10.76.0.77');
    await rtnetlink.setPermanentNeighbour(eth0, address, Uint8Array.of(2, 0, 0, 0, 0, 7));
    const told = (await rtnetlink.neighbours({ interfaceIndex: eth0 })).find(
      (one) => formatIpAddress(one.address) === '10.76.0.77',
    );
    expect([formatMacAddress(told?.mac ?? new Uint8Array()), neighbourStateName(told?.state ?? 0)]).toEqual([
      '02:00:00:00:00:07',
      'PERMANENT',
    ]);
    expect([
      await rtnetlink.removeNeighbour(eth0, address),
      await rtnetlink.removeNeighbour(eth0, address),
    ]).toEqual([true, false]);
  });

  it('reads a table of thousands whole while requests go on', async () => {
    const lines = Array.from(
      { length: 3000 },
      (_, i) => `route add 198.18.${i >> 8}.${i & 255}/32 dev eth0 table 4712`,
    );
    writeFileSync(join(lab.folder, 'routes'), lines.join('\n'));
    runIn(lab.balancer, 'ip', '-batch', join(lab.folder, 'routes'));
    const [routes, links] = await Promise.all([rtnetlink.routes(4, 4712), rtnetlink.links()]);
    expect([routes.length, links.length > 1]).toEqual([3000, true]);
  });
});

describe('watching neighbours', () => {
  let watch: NeighbourWatch | undefined;
  const told: string[] = [];

  function start(options: Partial<NeighbourWatchOptions> = {}): NeighbourWatch {
    told.length = 0;
    watch = watchNeighbours({
      interfaceIndex: eth0,
      logger: createLogger('neighbours-test'),
      onChange: (address, mac) =>
        told.push(`${formatIpAddress(address)} ${mac === undefined ? '-' : formatMacAddress(mac)}`),
      ...options,
    });
    return watch;
  }

  afterEach(() => {
    watch?.stop();
    watch = undefined;
    ipIn(lab.balancer, 'neigh flush all');
  });

  it('has both families resolved that nobody has talked to', async () => {
    ipIn(lab.balancer, 'neigh flush all');
    const { setTargets } = start();
    setTargets([ipAddress('10.76.0.21'), ipAddress('fd76::22'), ipAddress('10.76.0.200')]);
    await eventually('two answers', () => told.length >= 2);
    expect([...told].sort()).toEqual([`10.76.0.21 ${macOf(lab.one)}`, `fd76::22 ${macOf(lab.two)}`]);
  });

  it('follows a MAC that changes at once', async () => {
    const { setTargets, mac } = start();
    setTargets([ipAddress('10.76.0.21')]);
    await eventually('an answer', () => told.length === 1);
    const before = macOf(lab.one);
    ipIn(lab.one, 'link set eth0 address 02:00:00:00:76:99');
    // The kernel takes no second answer within a second of the last (net.ipv4.neigh.*.locktime).
    await new Promise((resolve) => setTimeout(resolve, 1100));
    ipIn(lab.one, 'neigh flush all');
    runIn(lab.one, 'ping', '-c', '1', '-W', '1', '10.76.0.1');
    await eventually('the new one', () => told.at(-1) === '10.76.0.21 02:00:00:00:76:99');
    expect(formatMacAddress(mac(ipAddress('10.76.0.21')) ?? new Uint8Array())).toBe('02:00:00:00:76:99');
    ipIn(lab.one, `link set eth0 address ${before}`);
    ipIn(lab.one, 'addr replace fd76::21/64 dev eth0 nodad');
  });

  it('resolves anew what was deleted, keeping the MAC meanwhile', async () => {
    const { setTargets } = start({
      timing: { probeDelay: Milliseconds(300), maxProbeDelay: Seconds(1), keepFor: Seconds(60) },
    });
    setTargets([ipAddress('10.76.0.22')]);
    await eventually('an answer', () => told.length === 1);
    ipIn(lab.balancer, 'neigh del 10.76.0.22 dev eth0');
    await eventually('asked anew', () => ipIn(lab.balancer, 'neigh show 10.76.0.22').includes('REACHABLE'));
    expect(told).toHaveLength(1);
  });

  it('confirms what has grown stale', async () => {
    const { setTargets } = start({
      timing: { probeDelay: Milliseconds(200), maxProbeDelay: Seconds(1), keepFor: Seconds(60) },
    });
    setTargets([ipAddress('10.76.0.22')]);
    await eventually('an answer', () => told.length === 1);
    ipIn(lab.balancer, `neigh replace 10.76.0.22 lladdr ${macOf(lab.two)} dev eth0 nud stale`);
    // The kernel waits 5 s (delay_first_probe_time) before it asks on behalf of a stale entry.
    const states: string[] = [];
    await eventually(
      'confirmed',
      () => {
        states.push(ipIn(lab.balancer, 'neigh show 10.76.0.22').trim().split(' ').at(-1) ?? '');
        return states.includes('DELAY') && states.at(-1) === 'REACHABLE';
      },
      20_000,
    );
  });

  it('gives a MAC up when nobody has answered for the time to keep it', async () => {
    const { setTargets } = start({
      timing: { probeDelay: Milliseconds(200), maxProbeDelay: Seconds(1), keepFor: Seconds(2) },
    });
    setTargets([ipAddress('10.76.0.22')]);
    await eventually('an answer', () => told.length === 1);
    ipIn(lab.two, 'link set eth0 down');
    ipIn(lab.balancer, 'neigh del 10.76.0.22 dev eth0');
    const lostAt = performance.now();
    await eventually('given up', () => told.at(-1) === '10.76.0.22 -', 20_000);
    expect(performance.now() - lostAt).toBeGreaterThan(1900);
    ipIn(lab.two, 'link set eth0 up');
    await eventually('back', () => told.at(-1) === `10.76.0.22 ${macOf(lab.two)}`, 20_000);
  });

  it('reads the table anew when events were lost', async () => {
    const { setTargets, resyncs } = start({ receiveBufferBytes: 2304 });
    setTargets([ipAddress('10.76.0.50')]);
    const flood = Array.from(
      { length: 900 },
      (_, i) =>
        `neigh replace 10.76.${(i >> 8) + 1}.${i & 255} lladdr 02:00:00:00:00:01 dev eth0 nud permanent`,
    );
    const last = 'neigh replace 10.76.0.50 lladdr 02:00:00:00:00:50 dev eth0 nud permanent';
    writeFileSync(join(lab.folder, 'flood'), [...flood, last].join('\n'));
    await eventually('asked', () => ipIn(lab.balancer, 'neigh show 10.76.0.50') !== '');
    // This process waits here: the last event finds a full buffer.
    runIn(lab.balancer, 'ip', '-batch', join(lab.folder, 'flood'));
    await eventually('what was lost', () => told.at(-1) === '10.76.0.50 02:00:00:00:00:50');
    expect(resyncs()).toBeGreaterThan(0);
    // And it goes on listening after the error.
    ipIn(lab.balancer, 'neigh replace 10.76.0.50 lladdr 02:00:00:00:00:51 dev eth0 nud permanent');
    await eventually('an event after that', () => told.at(-1) === '10.76.0.50 02:00:00:00:00:51');
  });
});
