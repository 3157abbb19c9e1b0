/** Schedulers, floods and QUIC with the real daemon and real connections, over a killed daemon too. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ethernet, etherType, ipv4, protocolNumber, tcp, tcpFlag } from '../../bpf/testing/packet.ts';
import { eventually } from './support/lone-host.ts';
import { createSchedulerLab, type SchedulerLab, vipAddress } from './support/scheduler-lab.ts';

let lab: SchedulerLab;
const names = ['b1', 'b2', 'b3'] as const;
const ports = { maglev: 80, turn: 81, load: 82, source: 83, stateless: 84 } as const;

/** Room for few flows, so that a flood could fill it. */
const capacity = '{ flows: 4096, embryonicFlows: 1024 }';

function config(members: number, slowStart = ''): string {
  const addresses = [21, 22, 23].slice(0, members).map((last) => `{ address: 10.89.0.${last} }`);
  const vip = (port: number, fields: string) => `  - name: v${port}
    address: ${vipAddress}
    port: ${port}
    ${fields}
    backends: [${addresses.join(', ')}]
`;
  const tcpCheck = 'check: { type: tcp, interval: 300ms, timeout: 300ms, rise: 1, fall: 2 }';
  return `version: 1
host: { interface: eth0, capacity: ${capacity} }
vips:
${vip(ports.maglev, tcpCheck)}${vip(ports.turn, `${tcpCheck}\n    scheduler: wrr`)}${vip(
  ports.load,
  `${tcpCheck}\n    scheduler: least-connections${slowStart}`,
)}${vip(ports.source, `${tcpCheck}\n    scheduler: source`)}${vip(ports.stateless, `${tcpCheck}\n    stateful: false`)}${vip(
  443,
  'protocol: udp\n    check: { type: none }\n    quic: { configId: 1, serverIdLength: 4 }',
)}`;
}

const tally = (answers: readonly string[]) =>
  names.map((name) => answers.filter((one) => one === name).length);

const states = async () => {
  const { vips } = await lab.status();
  return vips.flatMap(({ backends }) => backends.map(({ state }) => state));
};

const apply = async (text: string) => {
  lab.writeConfig(text);
  await lab.onHost('l4ctl', '--force', 'apply', '-f', lab.configPath);
};
const allUp = async (count: number) => {
  const isSo = (all: readonly string[]) => all.length === count && all.every((state) => state === 'up');
  const seen = await eventually(states, isSo, 15_000);
  expect(isSo(seen), `${seen}\n${lab.log()}`).toBe(true);
};
const backendsOf = async (port: number) =>
  (await lab.status()).vips.find((vip) => vip.port === port)?.backends ?? [];

beforeAll(async () => {
  lab = await createSchedulerLab('sch');
  lab.writeConfig(config(2));
  await lab.startDaemon();
  await allUp(12);
}, 60_000);

afterAll(() => lab?.remove());

it('no flood takes real flows out of the table', async () => {
  const real = await lab.open(ports.maglev, 30);
  const inTurn = await lab.open(ports.turn, 10);
  const frame = (port: number, flags: number, source = '198.51.100.7') => {
    const ends = { source, destination: vipAddress };
    const segment = tcp(ends, { sourcePort: 1, destinationPort: port, flags }, new Uint8Array(10));
    const head = { destination: lab.lbMac(), source: '02:00:00:00:00:fe', type: etherType.ipv4 };
    return ethernet(head, ipv4({ ...ends, protocol: protocolNumber.tcp }, segment));
  };
  for (const last of [7, 8, 9]) {
    await lab.flood(frame(ports.maglev, tcpFlag.ack, `198.51.100.${last}`), 50_000);
  }
  await lab.flood(frame(ports.turn, tcpFlag.syn), 50_000);
  const { dropReasons } = (await lab.status()).dataplane;
  expect(dropReasons['note_flow_limited']).toBeGreaterThan(50_000);
  expect(dropReasons['note_flow_embryonic']).toBeGreaterThan(2000);
  // The table changes: a flow that is not stored any more may move.
  await apply(config(3));
  await allUp(18);
  expect(await lab.ask(ports.maglev)).toEqual(real);
  expect(await lab.ask(ports.turn)).toEqual(inTurn);
  const census = await eventually(
    async () => (await lab.status()).dataplane.flowTable.census,
    (seen) => (seen?.ipv4.entries ?? 0) > 1000,
    15_000,
  );
  expect(census?.ipv4.entries).toBeLessThan(3500);
  expect(census?.evicted).toBeLessThan(1000);
}, 60_000);

it('gives connections to backends as each scheduler says', async () => {
  // Each CPU takes turns by itself.
  for (const count of tally((await lab.open(ports.turn, 30)).slice(10)))
    expect(count).toBeGreaterThanOrEqual(8);
  for (const count of tally(await lab.open(ports.load, 30))) expect(count).toBeGreaterThanOrEqual(5);
  expect(tally(await lab.open(ports.source, 8)).toSorted()).toEqual([0, 0, 8]);
  expect(tally(await lab.open(ports.stateless, 8)).reduce((sum, count) => sum + count)).toBe(8);
  const active = async () =>
    (await backendsOf(ports.load)).reduce((sum, { activeFlows = 0 }) => sum + activeFlows, 0);
  // Checks are flows that end; what they leave is corrected.
  const counted = await eventually(active, (count) => count === 30, 10_000);
  expect(counted).toBe(30);
  await lab.close(ports.load);
  expect(await eventually(active, (count) => count === 0, 10_000)).toBe(0);
}, 60_000);

it('finds QUIC servers by their connection id, from any address, and all this over a killed daemon and a detach', async () => {
  const shortHeader = (last: number) =>
    Uint8Array.from([0x40, 1 << 5, 10, 89, 0, last, 1, 2, 3, 4, ...new Uint8Array(24)]);
  const migrates = async () => {
    const sent = names.flatMap((_, n) =>
      ['10.89.0.1', '10.89.0.2'].map((source, m) => ({
        ...{ source, port: 5000 + 10 * n + m, payload: shortHeader(21 + n) },
      })),
    );
    expect(await lab.datagrams(sent)).toEqual(names.flatMap((name) => [name, name]));
  };
  await migrates();
  expect(await lab.onHost('l4ctl', 'vip', 'show', 'v443')).toMatch(/quic config 1.*server id 0a590015/s);
  await apply(config(3, '\n    slowStart: 120s'));
  await lab.onHost('l4ctl', 'backend', 'drain', 'v82', '10.89.0.23');
  await lab.onHost('l4ctl', 'backend', 'undrain', 'v82', '10.89.0.23');
  const tenths = async () => (await backendsOf(ports.load)).map(({ slowStartTenths }) => slowStartTenths);
  expect(await eventually(tenths, (all) => all[2] !== undefined)).toEqual([undefined, undefined, 1]);
  // What the daemon has found out is on disk within a moment.
  expect(
    await eventually(
      async () => Object.keys(lab.runtime().slowStarts).length,
      (kept) => kept > 0,
    ),
  ).toBe(1);
  const asked = async () => [await lab.ask(ports.maglev), await lab.ask(ports.turn)];
  const held = await asked();
  lab.daemon()?.kill('SIGKILL');
  expect(await asked()).toEqual(held);
  await lab.startDaemon();
  expect(await eventually(tenths, (all) => all[2] !== undefined)).toEqual([undefined, undefined, 1]);
  await migrates();
  await lab.onHost('l4d', 'detach', '--all');
  await lab.onHost('l4d', 'attach', '--all');
  await allUp(18);
  expect(await asked()).toEqual(held);
  await migrates();
}, 60_000);
