/** A backend vanishes without a word: what becomes of its UDP and TCP flows is the VIP's choice. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionSummary } from '../lab/core/traffic-summary.ts';
import type { RunningTraffic } from '../lab/traffic.ts';
import {
  backends,
  type DeclaredVip,
  declareVip,
  l4dHosts,
  resetFabric,
  showTable,
  urlOf,
  waitForBackend,
  waitUntilServed,
} from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

const udpPort = 9053;
const connectionCount = 12;

const udpCheck = [
  ...[
    '--check',
    'udp',
    '--check-send',
    'health',
    '--check-expect',
    'ok',
    '--check-interval',
    '500ms',
    '--check-timeout',
    '400ms',
  ],
  ...['--check-rise', '2', '--check-fall', '2'],
];

export const backendDeath: Scenario = {
  name: 'backend-death',
  title: 'a backend dies silently: UDP moves at once, TCP is kept, re-picked or reset as declared',
  factCount: 7,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { lab, traffic } = fabric;
  const [firstHost = ''] = l4dHosts(fabric).map(({ name }) => name);
  const [, dead] = backends(fabric);
  if (dead === undefined) throw new Error('the topology has too few backends');

  await resetFabric(fabric);
  report.step('VIPs that keep, re-pick and reset the TCP flows of a dead backend, and one for UDP');
  const onDown = (what: string) => ['--on-backend-down', what];
  const keep = await declareVip(fabric, report, { vip: 'web', name: 'keep', options: onDown('keep') });
  const repick = await declareVip(fabric, report, {
    vip: 'web',
    name: 'repick',
    port: 8080,
    options: onDown('repick'),
  });
  const reset = await declareVip(fabric, report, { vip: 'app', name: 'reset', options: onDown('reset') });
  const vipOfUdp = await declareVip(fabric, report, {
    vip: 'app',
    name: 'udp',
    port: udpPort,
    protocol: 'udp',
    check: udpCheck,
    options: [],
  });
  const addresses = (name: string) => [
    vipOfUdp.address,
    ...backends(fabric)
      .filter((b) => b.name === name)
      .map(({ ipv4 }) => ipv4),
  ];
  const servers = await Promise.all(
    backends(fabric).map(({ name }) => traffic.startUdpServer(name, udpPort, addresses(name))),
  );
  try {
    const vips = [keep, repick, reset, vipOfUdp];
    for (const vip of vips) await waitUntilServed(fabric, vip);

    report.step(`${connectionCount} connections to each TCP VIP, 24 UDP flows`);
    const hold = (vip: DeclaredVip) =>
      traffic.hold({
        url: urlOf(vip.address, vip.port),
        connections: connectionCount,
        pauseMs: 50,
        durationMs: 60_000,
        giveUpMs: 40_000,
      });
    const held = { keep: await hold(keep), repick: await hold(repick), reset: await hold(reset) };
    const sourcePorts = Array.from({ length: 24 }, (_, index) => 20_000 + index);
    const flows = await traffic.datagrams({
      address: vipOfUdp.address,
      port: udpPort,
      sourcePorts,
      pauseMs: 50,
      timeoutMs: 200,
      durationMs: 60_000,
    });
    for (const connections of Object.values(held)) {
      await connections.until(
        'every connection is answered',
        (all) => all.length === connectionCount && all.every(({ pings }) => pings > 3),
        { timeoutMs: 8000 },
      );
    }
    await flows.until(
      'every UDP flow is answered',
      (all) => all.length === sourcePorts.length && all.every(({ answered }) => answered > 3),
      { timeoutMs: 8000 },
    );

    report.step(`${dead.name} is cut off: nothing answers any more, nothing says so`);
    const cutAt = Date.now();
    const flowsBefore = flows.summary({ untilMs: cutAt });
    const onDead = Object.fromEntries(
      Object.entries(held).map(([name, running]) => [name, portsOn(running, dead.name)]),
    );
    await lab.cutPort(dead.name);
    await Promise.all(vips.map((vip) => waitForBackend(fabric, vip.name, dead.ipv4, 'down')));
    const downAt = Date.now();
    report.show(`all checks have fallen after ${downAt - cutAt} ms`);
    await showTable(fabric, report, firstHost, ['backend', 'ls', 'udp']);
    await sleep(2500);

    // One pause and one timeout: the first request that was not under way when the check fell.
    const flowsAfter = flows.summary({ fromMs: downAt });
    const movedPorts = flowsBefore.filter(({ backends: names }) => names.at(-1) === dead.name);
    const moved = flowsAfter.filter(({ port }) => movedPorts.some((flow) => flow.port === port));
    const stayed = flows
      .summary({ fromMs: cutAt })
      .filter(({ port }) => !movedPorts.some((flow) => flow.port === port));
    prove(
      'UDP flows of the dead backend are re-picked as soon as its check has fallen',
      moved.length > 0 &&
        moved.every(
          ({ lost, answered, backends: names }) =>
            lost.length === 0 && answered > 0 && names[0] !== dead.name,
        ),
      `${moved.length} flows moved, ${sum(moved.map(({ answered }) => answered))} requests answered, ${sum(moved.map(({ lost }) => lost.length))} lost after the fall`,
    );
    prove(
      'UDP flows of the other backends stay where they are and lose nothing',
      stayed.length > 0 &&
        stayed.every(({ lost, backends: names }) => lost.length === 0 && names.length === 1),
      `${stayed.length} flows, ${sum(stayed.map(({ lost }) => lost.length))} requests lost`,
    );

    const endOf = (running: RunningTraffic<ConnectionSummary[]>, ports: readonly number[]) =>
      running.summary().filter(({ port }) => ports.includes(port));
    for (const [name, says] of [
      ['reset', 'reset: the client of a dead backend gets a RST quickly'],
      ['repick', 're-pick: the flow goes to another backend, whose RST ends it quickly'],
    ] as const) {
      const ports = onDead[name] ?? [];
      const ends = await held[name].until(
        `the connections of ${name} on ${dead.name} have ended`,
        (all) => all.filter(({ port }) => ports.includes(port)).every(({ broken }) => broken !== undefined),
        { timeoutMs: 5000 },
      );
      const own = ends.filter(({ port }) => ports.includes(port));
      const after = own.map(({ broken }) => (broken?.atMs ?? 0) - downAt);
      prove(
        says,
        own.length > 0 &&
          own.every(({ broken }) => broken?.failure === 'ECONNRESET') &&
          Math.max(...after) < 3000,
        `${own.length} connections reset, the last ${Math.max(...after)} ms after the check had fallen`,
      );
    }
    const waiting = endOf(held.keep, onDead['keep'] ?? []);
    prove(
      'keep: the connections of the dead backend are neither moved nor ended',
      waiting.length > 0 &&
        waiting.every(({ broken, lastPingAtMs }) => !broken && lastPingAtMs <= cutAt + 500),
      `${waiting.filter(({ broken }) => !broken).length} connections wait${endsOf(waiting, cutAt)}`,
    );

    report.step(`${dead.name} is back`);
    await lab.restorePort(dead.name);
    const restoredAt = Date.now();
    const resumed = await held.keep.until(
      'the kept connections go on',
      (all) => all.every(({ lastPingAtMs, broken }) => broken !== undefined || lastPingAtMs > restoredAt),
      { timeoutMs: 20_000 },
    );
    const own = resumed.filter(({ port }) => onDead['keep']?.includes(port));
    prove(
      'keep: they go on where they were when the backend is back',
      own.length > 0 && own.every(({ broken, backends: names }) => !broken && names.join() === dead.name),
      `${own.length} connections resumed on ${dead.name} after ${Date.now() - restoredAt} ms, pause ${Math.max(...own.map(({ largestGapMs }) => largestGapMs))} ms`,
    );
    const others = Object.entries(held).flatMap(([name, running]) =>
      running.summary().filter(({ port }) => !onDead[name]?.includes(port)),
    );
    prove(
      'TCP connections of the other backends notice nothing',
      others.length > 0 && others.every(({ broken, backends: names }) => !broken && names.length === 1),
      `${others.length} connections, ${others.filter(({ broken }) => broken).length} broken, longest pause ${Math.max(...others.map(({ largestGapMs }) => largestGapMs))} ms`,
    );
    await Promise.all([flows, held.keep, held.repick, held.reset].map((running) => running.stop()));
  } finally {
    await lab.restorePort(dead.name);
    await Promise.all(servers.map((server) => server.stop()));
  }
  return facts;
}

/** How and when connections have broken, for people; nothing when none has. */
function endsOf(connections: readonly ConnectionSummary[], sinceMs: number): string {
  const ends = connections.flatMap(({ port, broken }) =>
    broken === undefined ? [] : `${port} ${broken.failure} after ${broken.atMs - sinceMs} ms`,
  );
  return ends.length === 0 ? '' : `; broken: ${ends.join(', ')}`;
}

/** Source ports of the connections that a backend serves. */
function portsOn(running: RunningTraffic<ConnectionSummary[]>, backend: string): number[] {
  return running
    .summary()
    .filter(({ backends: names }) => names.at(-1) === backend)
    .map(({ port }) => port);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
