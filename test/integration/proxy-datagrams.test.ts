import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import type { ProxyDesiredInput } from '@l4d/kit/proxy-api.ts';
import { datagramSocket } from '@l4d/l7/io/datagrams/datagram-socket.ts';
import { nameOf } from '@l4d/l7/io/datagrams/end-name.ts';
import { openFlowTable } from '@l4d/l7/io/datagrams/flow-table.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  backend4,
  backend6,
  buildFabric,
  client4,
  denied4,
  type Fabric,
  type Running,
  until,
  vip4,
  vip6,
} from './proxy/fabric.ts';
import type { UdpClientResult } from './proxy/udp-load.ts';

/* UDP listeners of the proxy: the kernel gives datagrams to workers, and each client keeps its worker and backend. */

let fabric: Fabric;
let proxy: Running;

type Listener = ProxyDesiredInput['listeners'][number];
const udp = (name: string, port: number, parts: Partial<Listener> = {}): Listener => ({
  name,
  address: vip4,
  port,
  mode: 'udp',
  pools: [
    {
      name: 'default',
      backends: [
        { address: backend4, port: 9101 },
        { address: backend6, port: 9102 },
      ],
    },
  ],
  ...parts,
});
const onlyEcho = { pools: [{ name: 'default', backends: [{ address: backend4, port: 9101 }] }] };

const listeners: readonly Listener[] = [
  udp('echo', 5000),
  udp('echo6', 5000, { address: vip6 }),
  udp('denying', 5001, { access: { deny: [`${denied4}/32`] } }),
  // Nobody is at the first one's port.
  udp('dead', 5002, {
    pools: [
      {
        name: 'default',
        backends: [
          { address: backend4, port: 9999, weight: 100 },
          { address: backend4, port: 9101 },
        ],
      },
    ],
  }),
  udp('told', 5003, { ...onlyEcho, proxyProtocol: 'v2' }),
  udp('told-every', 5004, { ...onlyEcho, proxyProtocol: 'v2', udp: { proxyHeader: 'every' } }),
  udp('bounded', 5005, { ...onlyEcho, udp: { datagramsPerSecond: 3, maxSessionsPerClient: 1 } }),
  udp('once', 5006, { udp: { responses: 1 } }),
  udp('dns', 53, {
    pools: [{ name: 'default', backends: [{ address: backend4, port: 9153 }] }],
  }),
];

async function ask(
  port: number,
  text: string,
  { times = 1, address = vip4, from = '' } = {},
): Promise<unknown[]> {
  const command = [
    process.execPath,
    'test/integration/proxy/udp-ask.ts',
    address,
    String(port),
    String(times),
    text,
  ];
  if (from !== '') command.push(from);
  const { stdout } = await fabric.client(command);
  return stdout
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

async function load(clients: number, address = vip4): Promise<() => Promise<UdpClientResult[]>> {
  const command = [process.execPath, 'test/integration/proxy/udp-load.ts', address, '5000', String(clients)];
  const running = await fabric.startOnClient(command, 'loading');
  return async () => {
    const ended = once(running.process, 'exit');
    running.process.kill('SIGTERM');
    await ended;
    return JSON.parse(running.output().trim().split('\n').at(-1) ?? '') as UdpClientResult[];
  };
}

const listener = async (name: string) => {
  const found = (await fabric.proxy.status()).listeners.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no listener ${name}`);
  return found;
};
const eventually = (holds: () => Promise<boolean>, what: string) => until(holds, what, proxy.output, 40_000);
const pids = async () => (await fabric.workers()).map(({ pid }) => pid).sort();

beforeAll(async () => {
  fabric = buildFabric();
  fabric.loadLookup();
  [proxy] = await Promise.all([
    fabric.startProxy(),
    fabric.startUdpBackend(9101, 'a', backend4),
    fabric.startUdpBackend(9102, 'b', backend6),
    fabric.startDnsmasq(9153),
  ]);
  for (const { address, port } of listeners) fabric.listen(address, port, 'udp');
  await fabric.proxy.putDesired({ workers: 3, drainMs: 60_000, listeners: [...listeners] });
  await eventually(async () => (await fabric.workers()).length === 3, '3 workers');
});

afterAll(() => fabric?.stop());

test('a real resolver behind it answers a real client, over IPv4, and large answers over both families', async () => {
  const { stdout } = await fabric.client(['dig', '+short', '+tries=1', '+time=3', `@${vip4}`, 'www.example']);
  expect(stdout.toString().trim()).toBe('192.0.2.80');
  // An IPv4 client may have the IPv6 backend, and the other way round.
  for (const address of [vip4, vip6]) {
    const answers = (await Promise.all([1, 2, 3, 4].map(() => ask(5000, 'x', { address })))).flat();
    expect(new Set(answers.map((answer) => String(answer).slice(0, 1)))).toEqual(new Set(['a', 'b']));
    expect(await ask(5000, 'big 65507', { address })).toEqual(['65507 bytes']);
    // Runs of datagrams stay the datagrams that they were.
    expect(await ask(5000, 'many 40 1200', { address })).toEqual(
      Array.from({ length: 40 }, (_, i) => String(i % 10).repeat(1200)),
    );
  }
});

test('who may not come in is not answered; nobody at a port is passed over with the datagram that found out', async () => {
  const refused = await fabric.client([
    ...['dig', '+short', '+tries=1', '+time=1', '-b', denied4, '-p', '5001', `@${vip4}`, 'x'],
  ]);
  expect(refused.code).not.toBe(0);
  expect((await listener('denying')).denied).toBe(1);
  expect(String((await ask(5002, 'x'))[0])).toMatch(/^a \d+ x$/);
  const { datagrams, backends, unserved } = await listener('dead');
  expect(datagrams).toMatchObject({ received: 1, sent: 1, repicked: 1 });
  expect(backends.map(({ requests, errors }) => [requests, errors])).toEqual([
    [1, 1],
    [1, 0],
  ]);
  expect(unserved).toBe(0);
});

test('backends are told of the client: in the first datagram, or in every one', async () => {
  const address = Buffer.from(client4.split('.').map(Number)).toString('hex');
  const header = new RegExp(`^a 0d0a0d0a000d0a515549540a2112000c${address}cb00710a....(138b|138c) x$`);
  const [first, second] = await ask(5003, 'x', { times: 2 });
  expect(first).toMatch(header);
  expect(second).toMatch(/^a \d+ x$/);
  for (const answer of await ask(5004, 'x', { times: 2 })) expect(answer).toMatch(header);
});

test('bounds: datagrams a second, sessions of a client, answers of a session', async () => {
  const [answered] = await ask(5005, 'burst 20');
  expect(answered).toBeGreaterThanOrEqual(3);
  expect(answered).toBeLessThan(20);
  // The client's one session goes on in its worker: a second of the same address, and worker, is refused.
  await Promise.all(Array.from({ length: 5 }, () => ask(5005, 'y')));
  const bounded = await listener('bounded');
  expect(bounded.connections).toBeLessThanOrEqual(3);
  expect(bounded.datagrams?.dropped['rate']).toBeGreaterThanOrEqual(1);
  expect(bounded.datagrams?.dropped['client-limit']).toBeGreaterThanOrEqual(1);
  // Each question is a session, and finds the next backend.
  const turns = await ask(5006, 'x', { times: 4 });
  expect(turns.map((answer) => String(answer).slice(0, 1)).sort()).toEqual(['a', 'a', 'b', 'b']);
  expect(await listener('once')).toMatchObject({ connections: 4, activeConnections: 0 });
});

test('a killed worker: its clients go on with a new session, the others notice nothing', async () => {
  const end = await load(24);
  await sleep(400);
  const { workers } = await fabric.proxy.status();
  const struck = workers.toSorted((a, b) => b.activeConnections - a.activeConnections)[0];
  // The one that is to empty the queues of the dead: what waits there is older by then than what others have got.
  const caretaker = workers.find(({ pid }) => pid !== struck?.pid);
  process.kill(caretaker?.pid ?? 0, 'SIGSTOP');
  process.kill(struck?.pid ?? 0, 'SIGKILL');
  await sleep(200);
  process.kill(caretaker?.pid ?? 0, 'SIGCONT');
  await eventually(async () => {
    const now = await pids();
    return now.length === 3 && !now.includes(struck?.pid ?? 0);
  }, 'a successor');
  // The successor's buckets are its own again: nobody changes hands by that.
  await sleep(400);
  const clients = await end();
  const moved = clients.filter(({ peers }) => peers.length > 1);
  expect(moved.length).toBeGreaterThan(0);
  expect(moved.length).toBeLessThan(clients.length);
  for (const { peers } of moved) expect(peers.length).toBe(2);
  for (const { peers, sent, answered } of clients) if (peers.length === 1) expect(answered).toBe(sent);
});

test("a client's session is one worker's: who finds an older datagram of it in a queue does not begin another", () => {
  const pairs = [0, 1].map(() => [datagramSocket(4, 65_536), datagramSocket(6, 65_536)] as const);
  const [one, other] = pairs.map((pair) => openFlowTable(fabric.bpfDir, pair, createLogger('test')));
  expect([one?.look(), other?.look(), one?.look()]).toEqual([true, true, false]);
  const ends = [nameOf(ipAddress('192.0.2.1'), 4000), nameOf(ipAddress(vip4), 5000)] as const;
  expect([one?.claim(...ends), other?.claim(...ends)]).toEqual([true, false]);
  // Nor is it the other one's to forget.
  other?.forget(...ends);
  expect([other?.claim(...ends), one?.claim(...ends)]).toEqual([false, true]);
  one?.forget(...ends);
  expect([other?.claim(...ends), one?.claim(...ends)]).toEqual([true, false]);
  for (const fd of pairs[1] ?? []) closeFd(fd);
  // Of a worker that has died.
  expect(one?.claim(...ends)).toBe(true);
  one?.forget(...ends);
  for (const fd of pairs[0] ?? []) closeFd(fd);
});

test.each(['renewed', 'more and fewer of them'])(
  'workers %s: sessions stay where they are, no answer is lost',
  async (how) => {
    const end = await load(12, vip6);
    await sleep(300);
    const before = await pids();
    if (how === 'renewed') {
      await fabric.proxy.renew();
      await eventually(async () => (await pids()).every((pid) => !before.includes(pid)), 'other workers');
    } else {
      for (const workers of [4, 2]) {
        await fabric.proxy.putDesired({ workers, drainMs: 60_000, listeners: [...listeners] });
        await eventually(async () => (await fabric.workers()).length === workers, `${workers} workers`);
      }
    }
    await sleep(300);
    for (const { peers, sent, answered } of await end()) {
      expect(peers.length).toBe(1);
      expect(answered).toBe(sent);
    }
  },
);

test('a backend that is taken away: its sessions get another at once', async () => {
  const end = await load(8);
  await sleep(300);
  const changed = listeners.map((one) => (one.name === 'echo' ? { ...one, ...onlyEcho } : one));
  await fabric.proxy.putDesired({ workers: 2, drainMs: 60_000, listeners: changed });
  await sleep(300);
  for (const { peers } of await end()) expect(peers.at(-1)).toMatch(/^a /);
});
