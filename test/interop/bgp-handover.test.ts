/**
 * An announcer hands its sessions to a successor, and its process of BFD to a new one, while FRR (TCP MD5, BFD at
 * 3 x 50 ms, no graceful restart) and BIRD (BFD with meticulous SHA1, no graceful restart) look on: neither sees a
 * session or a route move.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import type { AnnouncerStatus } from '@l4d/announcer/core/api-status.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { connectChannel } from '@l4d/kit/ffi/descriptor-channel.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runIn, spawnIn } from '../../tools/lab/io/namespace-commands.ts';
import {
  birdShow,
  configureBird,
  frrConfigure,
  frrShow,
  inKernel,
  namespaces,
  setUpNetwork,
  startAnnouncer,
  startFrr,
  tearDownNetwork,
} from './bfd-lab.ts';
import { until } from './bgp-until.ts';

const route4 = '203.0.113.10';
const route6 = '2001:db8:113::10';
const frr = '10.78.0.1';
const bird = 'fd78:1::1';
const password = 'handed-over';
const prefixCount = 5000;
/** How long a handover waits for one of BFD; on a busy machine that may take longer. */
const bfdPatienceMs = 5000;

let announcer: ReturnType<typeof startAnnouncer>;
let client: AnnouncerClient;
let pid = 0;

const many = Array.from({ length: prefixCount }, (_, i) => ({ prefix: `11.0.${i >> 8}.${i & 255}/32` }));

const desired = (prefixes: DesiredInput['prefixes']): DesiredInput => ({
  owner: 'test',
  local: { as: 65001, routerId: '10.78.0.2', listen: true },
  peers: [
    {
      address: frr,
      as: 65000,
      password,
      connectRetryMs: 200,
      families: ['ipv4'],
      bfd: { txIntervalMs: 50, rxIntervalMs: 50 },
    },
    {
      address: bird,
      as: 65000,
      connectRetryMs: 200,
      families: ['ipv6'],
      bfd: {
        txIntervalMs: 50,
        rxIntervalMs: 50,
        auth: { type: 'meticulous-keyed-sha1', keyId: 3, key: password },
      },
    },
  ],
  prefixes,
});

/** A peer that is not there. */
const stranger: DesiredInput['peers'] = [{ address: '10.78.0.9', as: 65000, bfd: { txIntervalMs: 50 } }];

const base = [{ prefix: `${route4}/32` }, { prefix: `${route6}/128` }, ...many];

/** What the routers know of the sessions: equal before and after means that neither has moved. */
function sessions(): Record<string, unknown> {
  const neighbor = (frrShow('show bgp neighbors 10.78.0.2') as Record<string, Record<string, unknown>>)[
    '10.78.0.2'
  ];
  const counters = frrShow('show bfd peer 10.78.0.2 counters') as Record<string, unknown>;
  return {
    frr: neighbor?.['bgpState'],
    frrEstablished: neighbor?.['connectionsEstablished'],
    frrDropped: neighbor?.['connectionsDropped'],
    frrBfdDown: counters['session-down'],
    bird: /^lb .*$/m.exec(birdShow('show', 'protocols', 'lb'))?.[0],
    // Without the interval, in which polls are.
    birdBfd: /fd78:1::2 +\S+ +(\w+) +(\S+)/.exec(birdShow('show', 'bfd', 'sessions'))?.slice(1, 3),
  };
}

/** Every change of a kernel route of either router while `work` runs. */
async function routeEvents(work: () => Promise<void>): Promise<string[]> {
  const marks = ['192.0.2.98', '192.0.2.99'] as const;
  const watched = [namespaces.frr, namespaces.bird].map((namespace) => {
    const monitor = spawnIn(namespace, 'ip', 'monitor', 'route');
    const watch = { namespace, monitor, text: '' };
    monitor.stdout?.on('data', (chunk: Buffer) => {
      watch.text += chunk.toString();
    });
    return watch;
  });
  // Routes of nobody mark that the monitors listen, and later that they have told all.
  const mark = (route: string) =>
    until(`the monitors tell of ${route}`, () => {
      for (const { namespace, text } of watched) {
        if (text.includes(route)) continue;
        runIn(namespace, 'ip', 'route', 'add', 'blackhole', route);
        runIn(namespace, 'ip', 'route', 'del', 'blackhole', route);
      }
      return watched.every(({ text }) => text.includes(route));
    });
  try {
    await mark(marks[0]);
    await work();
    await mark(marks[1]);
  } finally {
    for (const { monitor } of watched) monitor.kill();
  }
  return (
    watched
      .flatMap(({ text }) => text.split('\n'))

      // What the kernel does of itself (a link-local address that is no longer tentative) is no route of ours.
      .filter((line) => line !== '' && !line.includes('proto kernel'))
      .filter((line) => !marks.some((route) => line.includes(route)))
  );
}

const status = (): Promise<AnnouncerStatus> => client.status();

async function settled(prefixes: number): Promise<void> {
  await until('FRR has all', () => {
    const summary = frrShow('show bgp ipv4 unicast summary') as {
      peers?: Record<string, { pfxRcd: number }>;
    };
    return summary.peers?.['10.78.0.2']?.pfxRcd === prefixes;
  });
  await until(
    'both kernels have them',
    () =>
      runIn(namespaces.frr, 'ip', '-4', 'route', 'show', 'proto', 'bgp').trim().split('\n').length ===
        prefixes && inKernel(namespaces.bird, route6),
  );
}

beforeAll(async () => {
  setUpNetwork();
  startFrr();
  configureBird(`authentication meticulous keyed sha1; password "${password}" { id 3; };`);
  announcer = startAnnouncer();
  client = announcerClient(announcer.socketPath);
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
  frrConfigure('router bgp 65000', `neighbor 10.78.0.2 password ${password}`);
  await client.put(desired(base));
  const isUp = async (which: number) => {
    const peer = (await status()).peers[which];
    return peer?.state === 'Established' && peer.bfd?.state === 'Up' && peer.bfd.txIntervalMs === 50;
  };
  await until('BGP and BFD with FRR are up', () => isUp(0));
  // So that there is an error, which is counted.
  const clear = `/v1/peers/${(await status()).peers[0]?.address}/clear`;
  await requestJson(announcer.socketPath, 'POST', clear, {}, 5000);
  for (const which of [0, 1]) await until('BFD and BGP are up', () => isUp(which));
  await settled(prefixCount + 1);
  ({ pid } = await status());
}, 60_000);

afterAll(() => {
  announcer?.process.kill('SIGKILL');
  if (pid > 0 && alive(pid)) process.kill(pid, 'SIGKILL');
  tearDownNetwork();
});

const bgpTotals = async () =>
  (await status()).peers.map(({ address, flaps, state, prefixesAdvertised }) => ({
    address,
    flaps,
    state,
    prefixesAdvertised,
  }));

it('three handovers in a row: no session and no route moves, and nothing is told again', async () => {
  const before = { sessions: sessions(), totals: await bgpTotals(), status: await status() };
  const updates = () =>
    (frrShow('show bgp neighbors 10.78.0.2') as Record<string, { messageStats: { updatesRecv: number } }>)[
      '10.78.0.2'
    ]?.messageStats.updatesRecv;
  const told = updates();
  const frozen: number[] = [];
  const bfdFrozen: number[] = [];
  let bfdPid = before.status.bfdProcess?.pid ?? 0;
  const events = await routeEvents(async () => {
    for (let turn = 1; turn <= 3; turn++) {
      const answer = await client.handOver();
      expect(answer.pid).not.toBe(pid);
      const previous = pid;
      pid = answer.pid;
      frozen.push(answer.frozenMs);
      expect(await status()).toMatchObject({ pid, handovers: turn, startedAt: before.status.startedAt });
      await until('the predecessor has ended', () => !alive(previous));
      await until('BFD is with a new process', async () => {
        const { bfdProcess } = await status();
        return bfdProcess?.handovers === turn && bfdProcess.pid !== bfdPid;
      });
      const { bfdProcess } = await status();
      await until('the predecessor of BFD has ended', () => !alive(bfdPid));
      bfdPid = bfdProcess?.pid ?? 0;
      bfdFrozen.push(bfdProcess?.frozenMs ?? Number.NaN);
    }
    // Longer than the hold time of nine seconds would show nothing that a detection time of 150 ms does not; the
    // successor's keepalives are seen by the next test's sessions, which are the same.
  });
  // The predecessor itself sees to it; more would have been no handover.
  expect(Math.max(...frozen)).toBeLessThanOrEqual(2000);
  // Half of what FRR and BIRD wait for, at which the predecessor would have gone on.
  expect(Math.max(...bfdFrozen)).toBeLessThanOrEqual(100);
  expect(events).toEqual([]);
  expect(sessions()).toEqual(before.sessions);
  expect(await bgpTotals()).toEqual(before.totals);
  expect(updates()).toBe(told);
  const after = await status();
  expect(after.peers.flatMap(({ errors = [] }) => errors)).not.toEqual([]);
  expect(after.revision).toBe(before.status.revision);
  for (const [index, peer] of after.peers.entries()) {
    expect(peer.sinceMs).toBeGreaterThan(before.status.peers[index]?.sinceMs ?? 0);
    expect(peer.messagesSent).toBeGreaterThan(before.status.peers[index]?.messagesSent ?? 0);
    expect(peer.errors).toEqual(before.status.peers[index]?.errors);
    const was = before.status.peers[index]?.bfd;
    for (const same of ['localDiscriminator', 'sourcePort', 'upSince', 'flaps', 'transitions'] as const)
      expect(peer.bfd?.[same], same).toBe(was?.[same]);
    expect(peer.bfd?.packetsSent).toBeGreaterThan(was?.packetsSent ?? 0);
    expect(peer.bfd?.packetsReceived).toBeGreaterThan(was?.packetsReceived ?? 0);
  }
});

it('the successor announces and withdraws, also what was on its way when it took over', async () => {
  const before = sessions();
  const more = Array.from({ length: 3000 }, (_, i) => ({ prefix: `12.0.${i >> 8}.${i & 255}/32` }));
  const { revision } = await client.patch({ add: more });
  const answer = await client.handOver();
  pid = answer.pid;
  expect(await status()).toMatchObject({ revision });
  await settled(prefixCount + 3001);
  await client.patch({ remove: more.map(({ prefix }) => prefix), ifRevision: revision });
  await settled(prefixCount + 1);
  expect(sessions()).toEqual(before);
});

/** When sessions were frozen for `take`, of the machine's monotonic clock. */
const frozenAt: number[] = [];

/** What a successor does that has all, with the means to say it. */
type Taken = (say: (message: object) => void, close: () => void) => void;

const isGone: Taken = (_, close) => close();
const saysNothing: Taken = () => {};

/** Asks for the sessions as a successor would, and does `then` once it has all; settles with what it was told. */
const take = (of: string, formats: readonly number[], then: Taken = isGone, successor = process.pid) =>
  new Promise<string>((resolve) => {
    const said: string[] = [];
    const path = announcer.socketPath.replace('announcer.sock', `${of}-handover.sock`);
    const channel = connectChannel(path, {
      onMessage(text, descriptors) {
        const message = JSON.parse(text) as { kind: string; reason?: string; frozenAtMs?: number };
        said.push(message.reason?.startsWith('another') ? 'busy' : message.kind);
        if (message.frozenAtMs !== undefined) frozenAt.push(message.frozenAtMs);
        for (const descriptor of descriptors) closeFd(descriptor);
        if (message.kind === 'descriptors') then(say, close);
      },
      onClosed: () => resolve(said.join(' ')),
    });
    const say = (message: object) => channel.send(JSON.stringify(message));
    const close = () => {
      channel.close();
      resolve(said.join(' '));
    };
    say({ kind: 'hello', formats, pid: successor, version: '99' });
  });

it('a successor that dies, or is of another format, leaves the predecessor as it was', async () => {
  const before = sessions();
  const answers: string[] = [];
  /** As often as it takes, while others are at it: what the last handover of the announcer has begun is under way. */
  const takeBfd = async (formats: readonly number[], then?: Taken) => {
    await until('nobody else takes BFD', async () => {
      const said = await take('bfd', formats, then).catch(() => '');
      if (said !== '' && said !== 'busy') answers.push(said);
      return said !== '' && said !== 'busy';
    });
  };
  const events = await routeEvents(async () => {
    for (let turn = 0; turn < 2; turn++) ({ pid } = await client.handOver());
    // A peer with BFD comes and goes meanwhile.
    for (const more of [stranger, [], stranger, []]) {
      const { peers, ...rest } = desired(base);
      await Promise.all([takeBfd([1], saysNothing), client.put({ ...rest, peers: [...peers, ...more] })]);
    }
    answers.push(await take('announcer', [1]));
    await until('it answers again', () => status().then((now) => now.pid === pid));
    answers.push(await take('announcer', [99]));
    await takeBfd([1]);
    await takeBfd([99]);
    // Both are asked for as long as a detection time lasts.
    await until('it goes on', async () => (await status()).peers.every(({ bfd }) => bfd?.state === 'Up'));
  });
  const gone = 'state descriptors';
  expect(answers).toEqual([...Array(4).fill(`${gone} abort`), gone, 'refused', gone, 'refused']);
  // Silent for 50 ms each time, and between two of them as long as it takes to make that good.
  for (let turn = 1; turn < 4; turn++)
    expect((frozenAt[turn] ?? 0) - (frozenAt[turn - 1] ?? 0)).toBeGreaterThan(140);
  // Each has had BFD handed over before it was asked for the sessions itself, or was patient for as long as it is.
  const steps = announcer
    .log()
    .split('\n')
    .filter((line) => / (handed over|taken over|are with a new process|all goes on as it was)"/.test(line))
    .map((line) => JSON.parse(line) as { time: string; msg: string });
  const hasty = steps.filter(({ msg, time }, index) => {
    const previous = steps[index - 1];
    if (!msg.endsWith('handed over') || !(previous?.msg.endsWith('taken over') ?? false)) return false;
    return Date.parse(time) - Date.parse(previous?.time ?? '') < bfdPatienceMs;
  });
  expect(hasty).toEqual([]);
  expect(events).toEqual([]);
  await client.patch({ add: [{ prefix: '203.0.113.77/32' }] });
  await until('announced', () => inKernel(namespaces.frr, '203.0.113.77'));
  await client.patch({ remove: ['203.0.113.77/32'] });
  await until('withdrawn', () => !inKernel(namespaces.frr, '203.0.113.77'));
  expect(sessions()).toEqual(before);
  expect((await status()).handovers).toBe(6);
});

it('killed after it took over, the successor takes the routes with it as promised', async () => {
  // While BFD is frozen, for a successor that then dies: the sessions of BFD end with the announcer all the same.
  const { bfdProcess } = await status();
  await until('BFD is frozen', async () => {
    const said = await take('bfd', [1], (_, close) => {
      process.kill(pid, 'SIGKILL');
      setTimeout(close, 20);
    });
    return said.startsWith('state');
  });
  await until('BFD has ended', () => !alive(bfdProcess?.pid ?? 0));
  await until('routes gone', () => !inKernel(namespaces.frr, route4) && !inKernel(namespaces.bird, route6));
  await anotherOne();
  expect(await status()).toMatchObject({ handovers: 0, peers: [] });
});

/** Starts an announcer in the place of one that has ended. */
async function anotherOne(): Promise<void> {
  announcer = startAnnouncer(announcer.runDir);
  await once(announcer.process, 'spawn');
  await until('another one answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
  ({ pid } = await status());
}

it('the time in which nobody gives a sign of life goes on over a handover', async () => {
  await client.put({ ...desired(base), peers: [], deadManMs: 2000 });
  await sleep(1000);
  ({ pid } = await client.handOver());
  const at = (what: string) => {
    const line = announcer
      .log()
      .split('\n')
      .find((one) => one.includes(what));
    return line === undefined ? undefined : Date.parse((JSON.parse(line) as { time: string }).time);
  };
  await until('everything is withdrawn', () => at('no sign of life') !== undefined);
  // Begun anew it would be two seconds.
  expect(Number(at('no sign of life')) - Number(at('the sessions are taken over'))).toBeLessThan(1900);
  expect(await status()).toMatchObject({ pid, deadMan: true });
});

it('SIGTERM during a handover is for whoever has the sessions after it', async () => {
  // Nobody takes them: it ends itself.
  await take('announcer', [1], (_, close) => {
    process.kill(pid, 'SIGTERM');
    setTimeout(close, 100);
  });
  await until('it has ended', () => !alive(pid));
  expect(announcer.log()).toMatch(/no handover: all goes on here.*\n.*stopping: peers are told/);
  await anotherOne();
  const heir = spawn('sleep', ['60']);
  const ended = once(heir, 'exit');
  await take(
    'announcer',
    [1],
    (say) => {
      process.kill(pid, 'SIGTERM');
      say({ kind: 'held' });
    },
    heir.pid,
  );
  expect(await ended).toEqual([null, 'SIGTERM']);
});

/** A process that nobody has asked for its end yet is none any more. */
function alive(process_: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${process_}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
