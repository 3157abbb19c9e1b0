/** BFD on one link beyond the common case: echo packets, floods, link-local neighbours, and what a router may ask for. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { type BfdPacket, encodePacket } from '@l4d/announcer/core/bfd/packet.ts';
import type { BfdSessionConfig } from '@l4d/announcer/core/bfd/session-config.ts';
import type { BfdReport, BfdRequest } from '@l4d/announcer/io/bfd/messages.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { onLines } from '@l4d/announcer/io/json-lines.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import {
  configureBird,
  frrConfigure,
  frrShow,
  namespaces,
  setUpNetwork,
  startAnnouncer,
  startFrr,
  tearDownNetwork,
} from './bfd-lab.ts';
import { until } from './bgp-until.ts';

const frr4 = '10.78.0.1';
const frr6 = 'fd78::1';
const bird = 'fd78:1::1';
const us = { [frr4]: '10.78.0.2', [frr6]: 'fd78::2' } as const;

let announcer: ReturnType<typeof startAnnouncer>;
let client: AnnouncerClient;
let successor: number | undefined;

function desired(intervalMs: number): DesiredInput {
  const bfd = { txIntervalMs: intervalMs, rxIntervalMs: intervalMs };
  const common = { as: 65000, connectRetryMs: 200 };
  return {
    owner: 'test',
    local: { as: 65001, routerId: '10.78.0.2', listen: true },
    peers: [
      { ...common, address: frr4, families: ['ipv4'], bfd: { ...bfd, echo: true } },
      { ...common, address: frr6, families: ['ipv4'], bfd: { ...bfd, echo: true } },
      { ...common, address: bird, families: ['ipv6'], bfd },
    ],
    prefixes: [],
  };
}

async function bfdOf(address: string) {
  const found = (await client.status()).peers.find((candidate) => candidate.address === address)?.bfd;
  if (found === undefined) throw new Error(`no BFD with ${address}`);
  return found;
}

const allUp = (intervalMs: number) =>
  until(`all up at ${intervalMs} ms`, async () =>
    (await client.status()).peers.every(
      ({ state, bfd }) =>
        state === 'Established' && bfd?.state === 'Up' && bfd.detectionTimeMs === 3 * intervalMs,
    ),
  );

beforeAll(async () => {
  setUpNetwork();
  startFrr(
    Object.values(us)
      .map(
        (address) => ` neighbor ${address} remote-as 65001
 neighbor ${address} timers connect 1
 neighbor ${address} bfd profile lb
`,
      )
      .join(''),
  );
  configureBird();
  announcer = startAnnouncer();
  client = announcerClient(announcer.socketPath);
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
  await client.put(desired(50));
  await allUp(50);
});

afterAll(() => {
  announcer?.process.kill('SIGKILL');
  if (successor !== undefined) process.kill(successor, 'SIGKILL');
  tearDownNetwork();
});

const counters = (address: keyof typeof us) =>
  frrShow(`show bfd peer ${us[address]} counters`) as Record<string, number>;

it('loops back the echo packets of FRR, over IPv4 and IPv6, and FRR notices when they stay away', async () => {
  frrConfigure('bfd', 'profile lb', 'echo-mode', 'echo transmit-interval 50', 'echo receive-interval 50');
  try {
    for (const address of [frr4, frr6] as const) {
      expect(frrShow(`show bfd peer ${us[address]}`)).toMatchObject({ 'remote-echo-receive-interval': 50 });
      await until(
        `echoes of ${address} come back`,
        () => (counters(address)['echo-packet-input'] ?? 0) >= 20,
      );
      const { 'echo-packet-input': back = 0, 'echo-packet-output': sent = 0 } = counters(address);
      expect(sent - back).toBeLessThanOrEqual(3);
      await until('we count them', async () => (await bfdOf(address)).echoesReturned >= 20);
      const { state, remoteEchoRxIntervalMs } = await bfdOf(address);
      expect({ state, remoteEchoRxIntervalMs }).toEqual({ state: 'Up', remoteEchoRxIntervalMs: 50 });
    }
    // Another process of BFD goes on with the same sockets: FRR misses no echo, and ours are counted on.
    const counted = await Promise.all([frr4, frr6].map(bfdOf));
    ({ pid: successor } = await client.handOver());
    await until('BFD is with a new process', async () => (await client.status()).bfdProcess?.handovers === 1);
    for (const [index, address] of [frr4, frr6].entries()) {
      const { echoesReturned: then, flaps, sourcePort } = counted[index] ?? {};
      await until(`echoes of ${address} come back by the new one`, async () => {
        const now = await bfdOf(address);
        expect(now).toMatchObject({ state: 'Up', flaps, sourcePort });
        return now.echoesReturned >= (then ?? 0) + 20;
      });
    }
    const before = await Promise.all([frr4, frr6].map(bfdOf));
    // Echo packets alone are lost, before packet sockets too (FRR has one for IPv4); control packets are not.
    runIn(
      namespaces.frr,
      'nft',
      'table netdev cut { chain in { type filter hook ingress device up0 priority 0; udp dport 3785 drop; }; }',
    );
    for (const [index, address] of [frr4, frr6].entries()) {
      await until(`FRR ends the session of ${address}`, async () => {
        const { flaps } = await bfdOf(address);
        return flaps > (before[index]?.flaps ?? 0);
      });
      await until(`BGP with ${address} has ended for it`, async () => {
        const { lastError } = (await client.status()).peers.find((one) => one.address === address) ?? {};
        return lastError?.text === 'Cease / BFD Down: neighbor signaled session down';
      });
    }
    await until('and says why', async () => (await bfdOf(frr4)).remoteDiagnostic === 'echo function failed');
  } finally {
    runIn(namespaces.frr, 'sh', '-c', 'nft delete table netdev cut || true');
    frrConfigure('bfd', 'profile lb', 'no echo-mode');
  }
  await allUp(50);
});

it('sends no echo packet back to a link-layer address of many', async () => {
  // The last of FRR's own: what is told is a quarter of a second old at most.
  let echoesReturned = -1;
  await until('FRR has stopped', async () => {
    const before = echoesReturned;
    await sleep(300);
    ({ echoesReturned } = await bfdOf(frr4));
    return echoesReturned === before;
  });
  const [, , mac = ''] = runIn(namespaces.announcer, 'ip', '-br', 'link', 'show', 'v0').split(/\s+/);
  const script = join(import.meta.dirname, 'bfd-echo-inject.ts');
  runIn(namespaces.frr, process.execPath, script, mac, frr4);
  await until('one goes back', async () => (await bfdOf(frr4)).echoesReturned > echoesReturned);
  await sleep(300);
  expect((await bfdOf(frr4)).echoesReturned).toBe(echoesReturned + 1);
});

it('asks for no echo packets without the option', async () => {
  const wanted = desired(50);
  const without = wanted.peers.map(({ bfd, ...rest }) => ({ ...rest, bfd: { ...bfd, echo: false } }));
  await client.put({ ...wanted, peers: without });
  await until(
    'FRR knows',
    () =>
      (frrShow(`show bfd peer ${us[frr4]}`) as Record<string, number>)['remote-echo-receive-interval'] === 0,
  );
  await client.put(wanted);
  await allUp(50);
});

it('a flood stays in the kernel, and no session is lost', async () => {
  const before = await Promise.all([frr4, frr6, bird].map(bfdOf));
  const flood = spawnIn(
    namespaces.frr,
    process.execPath,
    join(import.meta.dirname, 'bfd-flood.ts'),
    us[frr4],
    '50000',
    '2',
  );
  let sent = '';
  flood.stdout?.on('data', (chunk: Buffer) => {
    sent += chunk.toString();
  });
  await once(flood, 'exit');
  await sleep(300);
  const after = await Promise.all([frr4, frr6, bird].map(bfdOf));
  expect(after.map(({ state, flaps }) => ({ state, flaps }))).toEqual(
    before.map(({ flaps }) => ({ state: 'Up', flaps })),
  );
  const read = Object.values(after[0]?.dropped ?? {}).reduce((sum, count) => sum + count, 0);
  expect(Number(sent)).toBeGreaterThan(20_000);
  // The first of each kind are read and counted; then the socket's filter has them.
  expect(after[0]?.dropped).toMatchObject({
    'unknown-discriminator': expect.any(Number),
    'bad-version': expect.any(Number),
  });
  expect(read).toBeLessThan(10_000);
  expect(after[0]?.socket).toMatchObject({ flood: true });
  expect(after[0]?.socket?.droppedInKernel).toBeGreaterThan(Number(sent) - 10_000);
  expect(after[1]?.socket).toMatchObject({ flood: false });
  // Another process of BFD has the filter on the same socket, watches it, and counts on.
  const { bfdProcess } = await client.status();
  ({ pid: successor } = await client.handOver());
  await until(
    'BFD is with a new process',
    async () => (await client.status()).bfdProcess?.pid !== bfdProcess?.pid,
  );
  const taken = await bfdOf(frr4);
  expect(taken).toMatchObject({ state: 'Up', dropped: after[0]?.dropped });
  expect(taken.socket?.droppedInKernel).toBeGreaterThanOrEqual(after[0]?.socket?.droppedInKernel ?? 0);
  expect(taken.socket?.flood).toBe(true);
});

/** A BFD process without an announcer, spoken to as an announcer does. */
async function bareProcess(sessions: readonly BfdSessionConfig[]) {
  const path = join(announcer.runDir, `bare-${sessions[0]?.peer}.sock`);
  const main = join(import.meta.dirname, '../../announcer/src/io/bfd/bfd-process.ts');
  const child = spawnIn(namespaces.announcer, process.execPath, main, path);
  let latest: Extract<BfdReport, { kind: 'status' }>['sessions'] = {};
  await until('the process listens', () => existsSync(path));
  const socket = createConnection(path);
  await once(socket, 'connect');
  onLines(socket, (message) => {
    const report = message as BfdReport;
    if (report.kind === 'status') latest = report.sessions;
  });
  const configure = (wanted: readonly BfdSessionConfig[]) =>
    socket.write(`${JSON.stringify({ kind: 'configure', sessions: wanted } satisfies BfdRequest)}\n`);
  configure(sessions);
  return {
    session: (peer: string) => latest[peer],
    configure,
    stop() {
      socket.destroy();
      child.kill('SIGKILL');
    },
  };
}

const bare = (peer: string): BfdSessionConfig => ({
  peer,
  multihop: false,
  minTtl: 255,
  txIntervalMs: 50,
  rxIntervalMs: 50,
  multiplier: 3,
  echo: false,
  outliveMs: 0,
});

const linkLocal = (namespace: string, device: string) =>
  /inet6 (fe80::[0-9a-f:]+)/.exec(
    runIn(namespace, 'ip', '-6', 'address', 'show', 'dev', device, 'scope', 'link'),
  )?.[1] ?? '';

it('link-local neighbours, by their interface', async () => {
  await client.put({ ...desired(50), peers: [] });
  const ours = linkLocal(namespaces.announcer, 'v0');
  const theirs = linkLocal(namespaces.frr, 'up0');
  frrConfigure('bfd', `peer ${ours} interface up0`, 'profile lb', 'no shutdown');
  runIn(namespaces.frr, 'ip', 'address', 'add', 'fe80::99/64', 'dev', 'up0', 'nodad');
  const key = `${theirs}%v0`;
  await until('the port is free', () => !runIn(namespaces.announcer, 'ss', '-Huln').includes(':3784 '));
  // The same address by another interface is another neighbour, who is not there.
  const other = `${theirs}%v1`;
  const process = await bareProcess([bare(key), bare(other), bare('fe80::99%v0')]);
  try {
    await until('up', () => process.session(key)?.state === 'Up');
    expect(process.session(other)).toMatchObject({ state: 'Down', remoteDiscriminator: 0 });
    // A first packet has no discriminator yet: address and interface say whose it is.
    const first = encodePacket({
      diagnostic: 0,
      state: 'Down',
      poll: false,
      final: false,
      controlPlaneIndependent: false,
      demand: false,
      multiplier: 3,
      myDiscriminator: 99,
      yourDiscriminator: 0,
      desiredMinTx: 1_000_000,
      requiredMinRx: 1_000_000,
      requiredMinEchoRx: 0,
    });
    const script = `const s = require('node:dgram').createSocket('udp6');
      s.bind(51001, 'fe80::99%up0', () => { s.setTTL(255);
        s.send(Buffer.from('${Buffer.from(first).toString('hex')}', 'hex'), 3784, '${ours}%up0', () => s.close()); });`;
    await once(spawnIn(namespaces.frr, globalThis.process.execPath, '-e', script), 'exit');
    await until('heard', () => process.session('fe80::99%v0')?.remoteDiscriminator === 99);
  } finally {
    process.stop();
    frrConfigure('bfd', `no peer ${ours} interface up0`);
  }
});

it('a router that asks for Demand mode hears nothing while both are up, but the answer to its poll', async () => {
  const process = await bareProcess([bare(frr4)]);
  runIn(namespaces.frr, 'ip', 'address', 'add', '10.78.0.9/24', 'dev', 'up0');
  const peer = '10.78.0.9';
  process.configure([bare(peer)]);
  try {
    await until('it is there', () => process.session(peer) !== undefined);
    const say = async (packet: Partial<BfdPacket>) => {
      const hex = Buffer.from(
        encodePacket({
          diagnostic: 0,
          state: 'Down',
          poll: false,
          final: false,
          controlPlaneIndependent: true,
          demand: false,
          multiplier: 200,
          myDiscriminator: 77,
          yourDiscriminator: process.session(peer)?.localDiscriminator ?? 0,
          desiredMinTx: 50_000,
          requiredMinRx: 50_000,
          requiredMinEchoRx: 0,
          ...packet,
        }),
      ).toString('hex');
      const script = `const s = require('node:dgram').createSocket('udp4');
        s.bind(51000, '${peer}', () => { s.setTTL(255);
          s.send(Buffer.from('${hex}', 'hex'), 3784, '10.78.0.2', () => s.close()); });`;
      await once(spawnIn(namespaces.frr, globalThis.process.execPath, '-e', script), 'exit');
    };
    await say({ state: 'Init', yourDiscriminator: process.session(peer)?.localDiscriminator ?? 0 });
    await until('up', () => process.session(peer)?.state === 'Up');
    // Ends our poll sequence, and starts Demand mode.
    await say({ state: 'Up', final: true, demand: true });
    await until('demanded', () => process.session(peer)?.remoteDemand === true);
    expect(process.session(peer)).toMatchObject({ txIntervalMs: 0, remoteControlPlaneIndependent: true });
    const { packetsSent = 0 } = process.session(peer) ?? {};
    await sleep(700);
    expect(process.session(peer)?.packetsSent).toBe(packetsSent);
    await say({ state: 'Up', demand: true, poll: true });
    await until('the poll is answered', () => process.session(peer)?.packetsSent === packetsSent + 1);
    await say({ state: 'Up' });
    await until('no longer demanded', () => (process.session(peer)?.packetsSent ?? 0) > packetsSent + 3);
    expect(process.session(peer)?.state).toBe('Up');
  } finally {
    process.stop();
  }
});
