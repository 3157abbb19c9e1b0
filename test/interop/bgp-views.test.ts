/**
 * What operators see and paste: the snippets of `l4ctl bgp router-config` bring up sessions as they are printed, the
 * views say what FRR says, and the flight record is a capture file that tshark dissects.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ChangesAnswer } from '@l4d/announcer/core/latency.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { announcerDesired } from '@l4d/l4d/core/announcement.ts';
import { type DesiredState, parseDesiredState } from '@l4d/l4d/core/desired-state.ts';
import { createMemoryPort } from '@l4d/l4d/io/api/memory-port.ts';
import { type Listener, startApiServer } from '@l4d/l4d/io/api-server.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { captureL4ctl } from '../../tools/l4ctl/testing/captured.ts';
import {
  folder,
  frrShow,
  inKernel,
  namespaces,
  setUpNetwork,
  startAnnouncer,
  tearDownNetwork,
} from '../../tools/lab/io/bgp-lab.ts';
import { run, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import { until } from './bgp-until.ts';

const secret = 'vws-secret-of-the-session';
const bfd = { txInterval: '100ms', rxInterval: '100ms' };
const desiredJson = {
  version: 1,
  host: { bgp: { as: 65001, routerId: '10.77.0.2', listen: true } },
  peers: [
    {
      address: '10.77.0.1',
      as: 65000,
      connectRetry: '200ms',
      password: secret,
      ttlSecurityHops: 1,
      promise: 'continuity',
      nextHops: { ipv6: 'fd77:0::2' },
      // FRR runs BFD over several hops beside ttl-security, and the snippet says so.
      bfd: { ...bfd, multihop: true, minTtl: 255 },
    },
    {
      address: 'fd77:1::1',
      as: 65000,
      connectRetry: '200ms',
      password: secret,
      ttlSecurityHops: 1,
      nextHops: { ipv4: '10.77.1.2' },
      bfd,
    },
  ],
  vips: ['203.0.113.10', '2001:db8:113::10'].map((address) => ({
    address,
    port: 80,
    backends: [{ address: address.includes(':') ? 'fd77:9::1' : '10.77.9.1' }],
  })),
};
const noNextHops = { ipv4: undefined, ipv6: undefined };
const vips = ['203.0.113.10/32', '2001:db8:113::10/128'];
const frrRun = join(folder, 'frr');
const birdSocket = join(folder, 'bird.ctl');

let announcer: ReturnType<typeof startAnnouncer>;
let client: AnnouncerClient;
let api: Listener;
let apiFolder: string;
let rangeSnippet: string;
let bird: ReturnType<typeof spawnIn> | undefined;

beforeAll(async () => {
  setUpNetwork();
  startEmptyFrr();
  announcer = startAnnouncer();
  client = announcerClient(announcer.socketPath);
  const state = parseDesiredState(desiredJson);
  if (!state.ok) throw new Error(JSON.stringify(state.error));
  apiFolder = mkdtempSync(join(folder, 'vws-'));
  api = await startApiServer({
    port: createMemoryPort(state.value),
    version: 'test',
    socketPath: join(apiFolder, 'l4d.sock'),
  });
  await until('the announcer answers', () =>
    client.summary().then(
      () => true,
      () => false,
    ),
  );
  await put(state.value, vips);
});

afterAll(async () => {
  // Told to stop, it takes its BFD process with it, which would wait for another announcer otherwise.
  await client?.shutdown().catch(() => {});
  announcer?.process.kill('SIGKILL');
  bird?.kill('SIGTERM');
  try {
    process.kill(Number(readFileSync(join(frrRun, 'bfdd.pid'), 'utf8')));
  } catch {
    // It was never started.
  }
  await api?.close();
  tearDownNetwork();
});

async function put(state: DesiredState, prefixes: readonly string[]): Promise<void> {
  const desired = announcerDesired(
    state,
    prefixes.map((prefix) => ({ prefix })),
    noNextHops,
  );
  if (desired !== undefined) await client.put(desired);
}

/** zebra, bgpd and bfdd that know nothing but their names. */
function startEmptyFrr(): void {
  run('install', '-d', '-o', 'frr', '-g', 'frr', frrRun);
  writeFileSync(join(folder, 'empty.conf'), 'hostname frr\n');
  const common = ['--vty_socket', frrRun, '-z', join(frrRun, 'zserv.api'), '-A', '127.0.0.1', '-P', '0'];
  for (const daemon of ['zebra', 'bgpd', 'bfdd']) {
    const files = ['-i', join(frrRun, `${daemon}.pid`), '-f', join(folder, 'empty.conf')];
    const more = daemon === 'bfdd' ? ['--bfdctl', join(frrRun, 'bfdd.sock')] : [];
    const command = [`/usr/lib/frr/${daemon}`, '-d', ...common, ...more, ...files];
    run('ip', 'netns', 'exec', namespaces.frr, ...command);
  }
}

/** As it is pasted into `vtysh -c "configure terminal"`; throws with what vtysh says of a line. */
function pasteIntoFrr(text: string): void {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('!'));
  const said = run(
    'vtysh',
    '--vty_socket',
    frrRun,
    ...['configure terminal', ...lines].flatMap((line) => ['-c', line]),
  );
  expect(said).not.toMatch(/%|Unknown|Ambiguous/);
}

async function l4ctl(line: string, runDir = dirname(announcer.socketPath)) {
  const { code, out, err } = await captureL4ctl(line, runDir, {
    sleep: async () => {},
    hostAddresses: () => ['10.77.0.2/24', 'fd77::2/64', '10.77.1.2/24', 'fd77:1::2/64'],
  });
  if (code !== 0) throw new Error(`l4ctl ${line}: ${err}`);
  return out;
}

const peer = async (address: string) =>
  (await client.summary()).peers.find((candidate) => candidate.address === address);

const isUp = async (address: string) => {
  const found = await peer(address);
  return found?.state === 'Established' && found.bfd?.state === 'Up';
};

function frrNeighbor(): { readonly messageStats: Record<string, number> } | undefined {
  return (frrShow('show bgp neighbors 10.77.0.2') as Record<string, ReturnType<typeof frrNeighbor>>)[
    '10.77.0.2'
  ];
}

const inBird = (prefix: string) =>
  run('birdc', '-s', birdSocket, 'show', 'route', 'for', prefix).includes(prefix);

it('the snippets for FRR and BIRD bring up the sessions as printed, and let nothing in but the VIPs', async () => {
  pasteIntoFrr(await l4ctl('bgp router-config frr --for 10.77.0.1', apiFolder));
  rangeSnippet = await l4ctl('bgp router-config frr --for 10.77.0.1 --range 10.77.0.0/24', apiFolder);
  const snippet = await l4ctl('bgp router-config bird --for fd77:1::1', apiFolder);
  const birdFile = join(folder, 'vws-bird.conf');
  writeFileSync(birdFile, `router id 10.77.1.1;\nprotocol device {}\n${snippet}`);
  bird = spawnIn(namespaces.bird, 'bird', '-f', '-c', birdFile, '-s', birdSocket);
  await until('both sessions and BFD are up', async () =>
    (await Promise.all(desiredJson.peers.map(({ address }) => isUp(address)))).every(Boolean),
  );
  await until('both routers have both VIPs', () =>
    vips.every((prefix) => inBird(prefix) && inKernel(namespaces.frr, prefix.split('/')[0] ?? '')),
  );
  const state = parseDesiredState(desiredJson);
  if (!state.ok) throw new Error('parsed before');
  await put(state.value, [...vips, '198.51.100.1/32', '203.0.113.11/32']);
  await until('the routers have read what is more', async () => {
    const sent = (await peer('10.77.0.1'))?.messages.sent.update;
    const filtered = /Import updates: +\d+ +\d+ +([1-9]\d*)/;
    return (
      (await peer('10.77.0.1'))?.prefixesAdvertised === 4 &&
      frrNeighbor()?.messageStats['updatesRecv'] === sent &&
      filtered.test(run('birdc', '-s', birdSocket, 'show', 'protocols', 'all', 'l4d'))
    );
  });
  const accepted = frrShow('show bgp ipv4 unicast') as { routes: Record<string, unknown> };
  expect(Object.keys(accepted.routes)).toEqual(['203.0.113.10/32']);
  expect(run('birdc', '-s', birdSocket, 'show', 'route', 'count')).toMatch(/^Total: 2 of 2 routes/m);
  await put(state.value, vips);
}, 60_000);

it('says what FRR says, in the same columns', async () => {
  const head = (text: string) =>
    text
      .split('\n')
      .find((line) => line.startsWith('Neighbor'))
      ?.trim()
      .split(/\s+/);
  const frr = run('vtysh', '--vty_socket', frrRun, '-c', 'show bgp ipv4 unicast summary');
  expect(head(await l4ctl('bgp summary'))).toEqual(head(frr));
  await client.patch({ add: [{ prefix: '203.0.113.12/32' }] });
  await until('the change is acknowledged', async () => {
    const { body: told } = await requestJson(announcer.socketPath, 'GET', '/v1/changes');
    const { changes } = told as ChangesAnswer;
    const change = changes.findLast(
      (one) => one.peer === '10.77.0.1' && one.prefixes.includes('203.0.113.12/32'),
    );
    return change?.ackedAtMs !== undefined && change.ackedAtMs >= change.writtenAtMs;
  });
  await client.patch({ remove: ['203.0.113.12/32'] });
  await until('FRR has read all', async () => {
    return frrNeighbor()?.messageStats['updatesRecv'] === (await peer('10.77.0.1'))?.messages.sent.update;
  });
  const own = await peer('10.77.0.1');
  const stats = frrNeighbor()?.messageStats;
  expect([own?.messages.sent.open, own?.messages.sent.notification]).toEqual([
    stats?.['opensRecv'],
    stats?.['notificationsRecv'],
  ]);
  expect(own?.messages.sent.update).toBe(stats?.['updatesRecv']);
  expect(await l4ctl('bgp routes advertised 10.77.0.1')).toMatch(
    /\*>203\.0\.113\.10\/32 +10\.77\.0\.2 +0 +65001 i\n\*>2001:db8:113::10\/128 +fd77::2 /,
  );
  const { body } = await requestJson(announcer.socketPath, 'GET', '/metrics');
  expect(body).toMatch(/^l4d_bgp_update_acked_seconds_count\{peer="10\.77\.0\.1"\} [1-9]/m);
  expect(body).toContain('l4d_bgp_session_up{peer="10.77.0.1"} 1\n');
  expect(body).toContain(`l4d_bgp_updates_total{peer="10.77.0.1"} ${own?.messages.sent.update}\n`);
});

it('clear resets with Cease / Administrative Reset; soft leaves the session and sends again', async () => {
  const before = await peer('10.77.0.1');
  await l4ctl('bgp clear 10.77.0.1 --soft');
  await until('routes were sent again', async () => {
    const now = await peer('10.77.0.1');
    return (now?.messages.sent.update ?? 0) > (before?.messages.sent.update ?? 0);
  });
  expect((await peer('10.77.0.1'))?.flaps).toBe(before?.flaps);
  await l4ctl('bgp clear 10.77.0.1');
  await until('another session is up', async () => {
    const now = await peer('10.77.0.1');
    return now?.state === 'Established' && now.flaps === (before?.flaps ?? 0) + 1;
  });
  expect(await l4ctl('bgp record 10.77.0.1')).toMatch(
    />> NOTIFICATION Cease \/ Hard Reset of Cease \/ Administrative Reset\n/,
  );
});

it('the flight record is a capture file that tshark dissects: no malformed packet, our prefixes, BFD, no secret', async () => {
  const many = Array.from({ length: 700 }, (_, i) => ({ prefix: `198.18.${i >> 8}.${i & 255}/32` }));
  await client.patch({ add: many });
  await until('all are told', async () => (await peer('10.77.0.1'))?.prefixesAdvertised === 702);
  // The session ends and the peer is gone: the record stays.
  await client.put({ ...announcerInput(), peers: [] });
  expect(await peer('10.77.0.1')).toBeUndefined();
  // FRR knows graceful restart, so the end is a Hard Reset (RFC 8538).
  for (const [address, ttl, subcode, bfdPort] of [
    ['10.77.0.1', 'ip.ttl', 9, 4784],
    ['fd77:1::1', 'ipv6.hlim', 3, 3784],
  ] as const) {
    const file = join(folder, `${ttl}.pcapng`);
    await l4ctl(`bgp record ${address} --pcap ${file}`);
    const shark = (...args: string[]) =>
      run('tshark', '-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE', '-r', file, ...args);
    expect(shark('-Y', '_ws.malformed || tcp.analysis.flags || _ws.expert.severity == error')).toBe('');
    expect(shark('-Y', 'tcp.checksum.status == 0 || ip.checksum.status == 0')).toBe('');
    const types = new Set(shark('-Y', 'bgp', '-T', 'fields', '-e', 'bgp.type').match(/\d/g));
    expect([...types].sort()).toEqual(expect.arrayContaining(['1', '2', '3', '4']));
    const updates = shark('-Y', 'bgp.type == 2', '-V');
    for (const prefix of [...vips, '198.18.2.187/32']) expect(updates).toContain(prefix);
    // More octets than a segment has: it was put together from several.
    expect(shark('-Y', 'tcp.segment.count > 1').trim()).not.toBe('');
    expect(
      shark('-Y', `bgp.notify.major_error == 6 && bgp.notify.minor_error_cease == ${subcode}`).trim(),
    ).not.toBe('');
    const hops = shark('-Y', 'bfd', '-T', 'fields', '-e', ttl, '-e', 'udp.dstport').trim().split('\n');
    expect(new Set(hops)).toEqual(new Set([`255\t${bfdPort}`]));
    expect(shark('-Y', 'frame.comment contains "Established"').trim()).not.toBe('');
    const captured = Number(shark('-c', '1', '-T', 'fields', '-e', 'frame.time_epoch'));
    expect(Math.abs(captured - Date.now() / 1000)).toBeLessThan(120);
    expect(readFileSync(file).includes(secret)).toBe(false);
  }
  const text = await l4ctl('bgp record 10.77.0.1');
  expect(text).toMatch(/-- BGP OpenConfirm -> Established\n/);
  expect(text).toMatch(/-- BFD .* -> Up: /);
  expect(text).toMatch(/>> NOTIFICATION Cease \/ Hard Reset of Cease \/ Peer De-configured\n/);
}, 60_000);

it('the snippet for a range takes any host of it', async () => {
  pasteIntoFrr('no router bgp 65000\n');
  pasteIntoFrr(rangeSnippet);
  // With neighbors of a range FRR runs BFD over one hop, ttl-security or not.
  const peers = announcerInput().peers.map((one) => ({
    ...one,
    bfd: { txIntervalMs: 100, rxIntervalMs: 100 },
  }));
  await client.put({ ...announcerInput(), peers });
  await until('the session is up', () => isUp('10.77.0.1'));
}, 60_000);

function announcerInput() {
  const state = parseDesiredState(desiredJson);
  const input = state.ok
    ? announcerDesired(
        state.value,
        vips.map((prefix) => ({ prefix })),
        noNextHops,
      )
    : undefined;
  if (input === undefined) throw new Error('parsed before');
  return input;
}
