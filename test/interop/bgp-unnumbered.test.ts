/** Sessions over link-local addresses: unnumbered with FRR, named with BIRD, and what happens to the links meanwhile. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import {
  birdAddress,
  folder,
  frrCommand,
  frrShow,
  ip,
  lbAddressAtBird,
  link,
  namespaces,
  setUpNetwork,
  startBird,
  startFrr,
  tearDownNetwork,
} from '../../tools/lab/io/unnumbered-lab.ts';
import { until } from './bgp-until.ts';

const vip4 = '203.0.113.10';
const vip6 = '2001:db8:113::10';
const { lb, frr, bird, client } = namespaces;

type InterfacePeer = NonNullable<DesiredInput['interfacePeers']>[number];

const unnumbered: InterfacePeer = { interface: 'eth0', as: 'external', connectRetryMs: 100 };
const atBird: DesiredInput['peers'][number] = {
  address: `${birdAddress}%eth1`,
  as: 65001,
  localAddress: lbAddressAtBird,
  password: 'link-local secret',
  connectRetryMs: 100,
};

const main = join(import.meta.dirname, '../../announcer/bin/start.mjs');

/** Whether an announcer answers. */
const answers = (one: AnnouncerClient) =>
  one.status().then(
    () => true,
    () => false,
  );

let announcer: ReturnType<typeof spawnIn>;
let log = '';
let api: AnnouncerClient;
let successor: number | undefined;

const put = (change: Partial<DesiredInput> = {}) =>
  api.put({
    owner: 'test',
    local: { as: 65001, routerId: '192.0.2.9', listen: true },
    peers: [atBird],
    interfacePeers: [unnumbered],
    prefixes: [{ prefix: `${vip4}/32` }, { prefix: `${vip6}/128` }],
    ...change,
  });

const peer = async (name: string) => (await api.status()).peers.find(({ address }) => address === name);
const isUp = async (name: string) => (await peer(name))?.state === 'Established';

const inKernel = (namespace: string, address: string) =>
  ip(namespace, `${address.includes(':') ? '-6' : '-4'} route show ${address}`).trim();

function linkLocalOf(namespace: string, device: string): string {
  const words = ip(namespace, `-6 -o address show dev ${device} scope link`).split(/\s+/);
  return (words[words.indexOf('inet6') + 1] ?? '').split('/')[0] ?? '';
}

/** Answers come back by the router that asked. */
const routeBack = () => {
  const gateway = linkLocalOf(frr, 'up0');
  ip(lb, `route replace 198.51.100.0/24 via inet6 ${gateway} dev eth0`);
  ip(lb, `-6 route replace 2001:db8:c::/64 via ${gateway} dev eth0`);
};

const ping = (address: string) => runIn(client, 'ping', '-c', '3', '-i', '0.05', '-W', '2', address);

beforeAll(async () => {
  setUpNetwork([`${vip4}/32`, `${vip6}/128`]);
  startFrr(65000, [
    'neighbor up0 interface remote-as external',
    'neighbor up0 timers 3 9',
    'neighbor up0 timers connect 1',
    'address-family ipv6 unicast',
    ' neighbor up0 activate',
    'exit-address-family',
  ]);
  startBird(
    `local ${birdAddress} as 65001; neighbor ${lbAddressAtBird}%up0 as 65001; direct; password "link-local secret";`,
  );
  announcer = spawnIn(lb, process.execPath, main, '--run-dir', folder);
  announcer.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  api = announcerClient(join(folder, 'announcer.sock'));
  await until('the announcer answers', () => answers(api));
  await put();
});

afterAll(() => {
  announcer?.kill('SIGKILL');
  if (successor !== undefined) process.kill(successor, 'SIGKILL');
  tearDownNetwork();
  if (process.env['UNN_LOG'] !== undefined) process.stderr.write(log);
});

/** What FRR knows of us, by the interface. */
const neighbor = () =>
  ((frrShow('show bgp neighbors up0') as Record<string, Record<string, unknown>>)['up0'] ?? {}) as {
    readonly bgpState?: string;
    readonly hostLocal?: string;
    readonly portLocal?: number;
  };

/** Sends octets as ICMPv6 from FRR's end of the link, with this hop limit. */
function sendDiscovery(octets: string, hopLimit: number, times = 1, source?: string): void {
  const script = `
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ${hopLimit})
i = socket.if_nametoindex('up0')
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, i)
${source === undefined ? '' : `s.bind(('${source}', 0, 0, i if '${source}'.startswith('fe80') else 0))`}
for _ in range(${times}): s.sendto(bytes.fromhex('${octets}'), ('ff02::1', 0, 0, i))`;
  runIn(frr, 'python3', '-c', script);
}

const advertisement = '86000000000000000000000000000000';

it('FRR unnumbered: found by router advertisements, VIPs of both families carry packets', async () => {
  await until('established', () => isUp('eth0'));
  expect(await peer('eth0')).toMatchObject({ as: 65000, neighbour: `${linkLocalOf(frr, 'up0')}%eth0` });
  await until('routes', () => inKernel(frr, vip4) !== '' && inKernel(frr, vip6) !== '');
  const ours = linkLocalOf(lb, 'eth0');
  expect(inKernel(frr, vip4)).toContain(`via inet6 ${ours} dev up0`);
  expect(inKernel(frr, vip6)).toContain(`via ${ours} dev up0`);
  routeBack();
  expect(ping(vip4)).toMatch(/ 0% packet loss/);
  expect(ping(vip6)).toMatch(/ 0% packet loss/);
});

it('BIRD at a link-local address, inside our AS, with TCP MD5: both families by way of it', async () => {
  await until('established', () => isUp(atBird.address));
  await until('routes', () => inKernel(bird, vip4) !== '' && inKernel(bird, vip6) !== '');
  expect(inKernel(bird, vip4)).toContain(`via inet6 ${lbAddressAtBird} dev up0`);
  expect(inKernel(bird, vip6)).toContain(`via ${lbAddressAtBird} dev up0`);
});

it('nobody on the link takes the place of a peer with a session, and a flood does not disturb it', async () => {
  const before = await peer('eth0');
  ip(frr, 'address add fe80::bad/64 dev up0 nodad');
  sendDiscovery(advertisement, 64);
  sendDiscovery(`${advertisement}0100000000000000`, 255);
  sendDiscovery('86000000', 255);
  sendDiscovery(advertisement, 255, 500, 'fe80::bad');
  ip(frr, 'address del fe80::bad/64 dev up0');
  await until('told of', () =>
    ['"hop-limit"', '"option"', '"length"', '"too-many"', 'more than one router'].every((text) =>
      log.includes(text),
    ),
  );
  expect(await peer('eth0')).toMatchObject({ state: 'Established', neighbour: before?.neighbour, flaps: 0 });
});

it.each([
  ['we connect', { mode: 'active' as const }, 'neighbor up0 passive', true],
  ['FRR connects', { mode: 'passive' as const }, 'no neighbor up0 passive', false],
])('with TCP MD5 over the unnumbered link, %s', async (_name, change, line, weConnect) => {
  frrCommand('configure terminal', 'router bgp 65000', 'neighbor up0 password unnumbered', line);
  await put({ interfacePeers: [{ ...unnumbered, ...change, password: 'unnumbered' }] });
  await until('established', async () => (await isUp('eth0')) && neighbor().bgpState === 'Established');
  expect(neighbor().portLocal === 179).toBe(weConnect);
});

it('a neighbour with another link-local address, and links that go, come and are others', async () => {
  frrCommand('configure terminal', 'router bgp 65000', 'no neighbor up0 password');
  await put();
  await until('established', () => isUp('eth0'));
  const old = linkLocalOf(frr, 'up0');
  ip(frr, 'link set up0 down');
  await until('down', async () => (await peer('eth0'))?.lastError?.text === 'the interface eth0 is down');
  expect((await peer('eth0'))?.state).toBe('Idle');
  ip(frr, 'link set up0 address 02:00:00:00:77:01');
  ip(frr, 'link set up0 up');
  await until('back', () => isUp('eth0'));
  expect(linkLocalOf(frr, 'up0')).not.toBe(old);
  expect((await peer('eth0'))?.neighbour).toBe(`${linkLocalOf(frr, 'up0')}%eth0`);
  const index = ip(lb, '-o link show eth0').split(':')[0];
  ip(lb, 'link del eth0');
  await until('gone', async () => (await peer('eth0'))?.lastError?.text === 'there is no interface eth0');
  link(frr, 'eth0');
  ip(lb, 'address add 2001:db8:e::1/64 dev eth0 nodad');
  expect(ip(lb, '-o link show eth0').split(':')[0]).not.toBe(index);
  await until('back', () => isUp('eth0'));
  await until('routes', () => inKernel(frr, vip4) !== '' && inKernel(frr, vip6) !== '');
  routeBack();
  expect(ping(vip4)).toMatch(/ 0% packet loss/);
  // RFC 2545 section 3: there is a global address now, which goes first; the link-local one is what carries packets.
  const path = (frrShow(`show bgp ipv6 unicast ${vip6}/128`) as { paths: { nexthops: { ip: string }[] }[] })
    .paths[0];
  expect(path?.nexthops.map((hop) => hop.ip)).toEqual(['2001:db8:e::1', linkLocalOf(lb, 'eth0')]);
  expect(inKernel(frr, vip6)).toContain(`via ${linkLocalOf(lb, 'eth0')} dev up0`);
  // The other session has not noticed.
  expect(await peer(atBird.address)).toMatchObject({ state: 'Established', flaps: 0 });
});

it('BFD on the unnumbered link', async () => {
  frrCommand('configure terminal', 'router bgp 65000', 'neighbor up0 bfd');
  await put({ interfacePeers: [{ ...unnumbered, bfd: { txIntervalMs: 100, rxIntervalMs: 100 } }] });
  await until('BFD is up', async () => (await peer('eth0'))?.bfd?.state === 'Up');
  await until('FRR says so too', () => JSON.stringify(frrShow('show bfd peers')).includes('"status":"up"'));
  expect((await peer('eth0'))?.state).toBe('Established');
});

it('a successor has the unnumbered sessions before it has heard a router, and their BFD', async () => {
  const before = { eth0: await peer('eth0'), bird: await peer(atBird.address) };
  const { pid } = await api.handOver();
  successor = pid;
  expect(await peer('eth0')).toMatchObject({ state: 'Established', flaps: before.eth0?.flaps });
  await until('BFD is with a new process', async () => (await api.status()).bfdProcess?.handovers === 1);
  // The same desired state again, as the daemon says it; and the router is heard in the meantime.
  await put({ interfacePeers: [{ ...unnumbered, bfd: { txIntervalMs: 100, rxIntervalMs: 100 } }] });
  await until('the router has been heard', async () => (await peer('eth0'))?.neighbour !== undefined);
  expect(await peer('eth0')).toMatchObject({
    state: 'Established',
    flaps: before.eth0?.flaps,
    neighbour: before.eth0?.neighbour,
    bfd: { state: 'Up', flaps: before.eth0?.bfd?.flaps, sourcePort: before.eth0?.bfd?.sourcePort },
  });
  expect(await peer(atBird.address)).toMatchObject({ state: 'Established', flaps: before.bird?.flaps });
  expect(neighbor().bgpState).toBe('Established');
});

it('two announcers find each other; a password in a file is taken from it alone, and changed without a reset', async () => {
  link(client, 'eth2', 'up1');
  const runDir = join(folder, 'other');
  const other = spawnIn(client, process.execPath, main, '--run-dir', runDir);
  try {
    let otherLog = '';
    other.stderr?.on('data', (chunk: Buffer) => {
      otherLog += chunk.toString();
    });
    const otherApi = announcerClient(join(runDir, 'announcer.sock'));
    await until('the other answers', () => answers(otherApi));
    const files = [join(folder, 'here.key'), join(folder, 'there.key')] as const;
    for (const file of files) writeFileSync(file, 'first\n', { mode: 0o644 });
    const [passwordFile, otherFile] = files;
    const common = { as: 'internal', connectRetryMs: 100, holdTimeMs: 6000 } as const;
    await put({ interfacePeers: [{ ...common, interface: 'eth2', passwordFile }] });
    await otherApi.put({
      owner: 'test',
      local: { as: 65001, routerId: '192.0.2.10', listen: true },
      peers: [],
      interfacePeers: [{ ...common, interface: 'up1', passwordFile: otherFile }],
      prefixes: [],
    });
    expect(await peer('eth2')).toMatchObject({
      state: 'Idle',
      lastError: {
        text: `${passwordFile} may be read or changed by others (mode 0644; allowed: 0600 or 0400)`,
      },
    });
    for (const file of files) chmodSync(file, 0o600);
    await until('established', () => isUp('eth2'));
    for (const file of files) writeFileSync(file, 'second');
    const changed = 'the TCP MD5 password was changed';
    await until('the new password is in force', () => log.includes(changed) && otherLog.includes(changed));
    // What the kernel signs with on the connection that there is.
    const inForce = runIn(lb, 'ss', '-tniH', 'state', 'established');
    expect(inForce).toContain('second');
    expect(inForce).not.toContain('first');
    const keepalives = async () => (await peer('eth2'))?.messages.received.keepalive ?? 0;
    const before = await keepalives();
    await until('the session goes on', async () => (await keepalives()) > before);
    expect(await peer('eth2')).toMatchObject({ state: 'Established', flaps: 0 });
    expect(JSON.stringify(await api.status())).not.toMatch(/first|second|link-local secret/);
    expect(log).not.toMatch(/first|second"|link-local secret/);
  } finally {
    other.kill('SIGKILL');
  }
});
