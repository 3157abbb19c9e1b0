import { InvariantError } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { pino } from 'pino';
import { beforeEach, expect, test } from 'vitest';
import type { BackendCondition } from '../core/backend-condition.ts';
import { countedState, countedVip } from '../core/counted-vips.fixture.ts';
import { vipKeyText } from '../core/desired/vip.ts';
import { type DesiredState, parseDesiredState } from '../core/desired-state.ts';
import { addVip, changeVip } from '../core/edit.ts';
import { usualSelection } from '../core/forwarding/backend-selection.ts';
import type { HeldVip, WantedVip } from '../core/forwarding/forwarding-plan.ts';
import { createFabric, type Fabric, type FabricParts } from './fabric.ts';

/** The order in which the reconciler moves the outside world, recorded by stand-ins for it. */

const up: BackendCondition = {
  forwarding: 'up',
  shown: 'up',
  reason: 'connected',
  healthy: true,
  settled: true,
};
const down: BackendCondition = {
  forwarding: 'down',
  shown: 'down',
  reason: 'refused',
  healthy: false,
  settled: true,
};

let clock = createManualClock();
let log: string[] = [];
const firstWorld = {
  announcerTakes: true,
  attached: true,
  shared: undefined as string | undefined,
  condition: up,
  failing: [] as string[],
  programFails: '',
  passes: 0,
  applied: 0,
  resolved: Promise.resolve(),
  packets: 0,
  otherPaths: [] as object[],
  stop: undefined as object | undefined,
  forced: false,
  /** While the proxy is told. */
  onHandoff: async (_ports: readonly number[]): Promise<void> => undefined,
};
let world = firstWorld;
let runtime = memoryRuntime();
let held = new Map<string, HeldVip & { address: IpAddress; port: number }>();
let invariants: InvariantError[] = [];
let fabric: Fabric;

beforeEach(() => {
  clock = createManualClock();
  log = [];
  held = new Map();
  invariants = [];
  world = { ...firstWorld };
  runtime = memoryRuntime();
  fabric = createFabric(standIns());
});

/** What is kept over a restart, without a file. */
function memoryRuntime() {
  const endings = new Map<string, unknown>();
  const announced = new Map<string, unknown>();
  const put = (map: Map<string, unknown>) => (key: string, value: unknown) =>
    value === undefined ? map.delete(key) : map.set(key, value);
  return {
    endings: () => endings,
    setEnding: put(endings),
    announced: () => announced,
    setAnnounced: put(announced),
    stop: () => world.stop,
    drainForced: () => world.forced,
  };
}

function standIns(): FabricParts {
  const forwarding = {
    identities: () => [...held.keys()],
    held: (key: string) => held.get(key),
    listenerOf: (key: string) => held.get(key),
    apply(wanted: WantedVip) {
      world.applied += 1;
      if (world.programFails === 'invariant') throw new InvariantError('broken');
      if (world.programFails !== '') throw new Error(world.programFails);
      const key = vipKeyText(wanted);
      if (!held.has(key)) log.push(`program ${key}`);
      const backends = wanted.backends.map((backend, index) => ({ ...backend, index }));
      held.set(key, { ...wanted, id: 1, usesNat: false, slots: new Uint32Array(0), backends });
      return 1;
    },
    verify: () => undefined,
    refresh() {},
    vipCounter: () => ({ packets: world.packets, bytes: 0, flows: 0 }),
    remove(key: string) {
      log.push(`end ${key}`);
      return held.delete(key);
    },
  };
  const parts = {
    clock,
    logger: pino({ level: 'silent' }),
    forwarding,
    handoff: {
      async sync(
        { vips: proxied }: { vips: readonly { vip: { port: number } }[] },
        ending: { port: number }[],
      ) {
        const ports = [...proxied.map(({ vip }) => vip.port), ...ending.map(({ port }) => port)];
        log.push(`listeners ${ports}`);
        await world.onHandoff(ports);
        return 0;
      },
      problem: () => undefined,
    },
    checker: { setGroup() {} },
    facts: {
      condition: (_vip: unknown, backend: { address: IpAddress }) =>
        world.failing.includes(formatIpAddress(backend.address)) ? down : world.condition,
      macOf: () => undefined,
      wayOf: () => ({ mac: undefined, egress: 0 }),
      healthTargets: () => [],
      changeRuntime() {},
      keepRuntimeOf() {},
      nextDrainEnd: () => undefined,
      drainingVips: () => [],
      changeBackends() {},
    },
    announcer: {
      async follow(desired: { prefixes: { prefix: string; localPref?: number }[] } | undefined) {
        world.passes += 1;
        const names = desired?.prefixes.map(
          ({ prefix, localPref }) => `${prefix}${localPref === 0 ? '!' : ''}`,
        );
        const line = `announce ${names ?? 'nothing'}`;
        if (line !== log.findLast((other) => other.startsWith('announce'))) log.push(line);
        return world.announcerTakes;
      },
      tellAgain() {},
    },
    attachmentProblem: () => (world.attached ? undefined : 'the XDP program is not attached'),
    readBackShared: () => world.shared,
    resolve() {},
    resolved: () => world.resolved,
    wallClock: () => clock.now(),
    runtime,
    setAggregateRoutes: async (prefixes: object[]) => {
      if (prefixes.length > 0) log.push(`refuse ${prefixes.length}`);
    },
    otherPaths: async () => world.otherPaths,
    nextHops: () => ({ ipv4: '10.0.0.11', ipv6: undefined }),
    onFailure() {},
    onInvariant: (error: InvariantError) => invariants.push(error),
  };
  return parts as unknown as FabricParts;
}

function state(...vips: object[]): DesiredState {
  const parsed = parseDesiredState({
    version: 1,
    host: { bgp: { as: 65001, routerId: '10.0.0.11' } },
    peers: [{ address: '10.0.0.254', as: 65000 }],
    vips: vips.map((vip) => ({ address: '203.0.113.1', backends: [{ address: '10.0.0.1' }], ...vip })),
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
}

const none = { all: false, vips: [] };
const web = { name: 'web', port: 80 };
const webKey = '203.0.113.1-80-tcp';
const proxied = { name: 'app', port: 8080, policy: 'l7', address: '203.0.113.2' };
const proxiedKey = '203.0.113.2-8080-tcp';
const seen = () => log.filter((line) => !line.startsWith('listeners') || line !== 'listeners ');

/** Lets the passes that are asked for happen; they wait for setImmediate. */
async function settle(milliseconds = 0): Promise<void> {
  await clock.advance(milliseconds);
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Until GRACEFUL_SHUTDOWN has stood long enough and the withdraw was told. */
const handOver = () => settle(2005);

/** Until a counter that rests has rested. */
const rest = () => settle(1210);

test('forwards before it announces; hands over, withdraws, and waits for the counter before forwarding ends', async () => {
  await fabric.setDesired(state(web), none);
  await fabric.setDesired(state(), none);
  expect(seen()).toEqual([`program ${webKey}`, 'announce 203.0.113.1/32', 'announce 203.0.113.1/32!']);
  await settle(1990);
  expect(seen().at(-1)).toBe('announce 203.0.113.1/32!');
  await settle(20);
  expect(seen().at(-1)).toBe('announce ');
  for (let i = 0; i < 25; i++) {
    world.packets += 10;
    await settle(200);
  }
  expect(held.has(webKey)).toBe(true);
  expect(fabric.leaving()).toMatchObject([{ key: webKey, name: 'web', ending: { step: 'withdrawn' } }]);
  await rest();
  expect(seen().at(-1)).toBe(`end ${webKey}`);
  expect(fabric.leaving()).toEqual([]);
});

test('without BGP there is no GRACEFUL_SHUTDOWN to wait for', async () => {
  const parsed = parseDesiredState({
    version: 1,
    host: { vrrp: { groups: [{ id: 'edge', vrid: 10 }] } },
    vips: [{ ...web, address: '203.0.113.1', vrrpGroup: 'edge', backends: [{ address: '10.0.0.1' }] }],
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const { value } = parsed;
  await fabric.setDesired(value, none);
  await fabric.setDesired({ ...value, host: { ...value.host, draining: true } }, none);
  expect(fabric.views()[0]?.ending?.step).toBe('withdrawn');
  expect(fabric.views()[0]?.ending?.text).not.toContain('GRACEFUL_SHUTDOWN');
});

test('a VIP that leaves and fails is withdrawn at once', async () => {
  const disabled = state({ ...web, enabled: false });
  await fabric.setDesired(state(web), none);
  await fabric.setDesired(disabled, none);
  expect(seen().at(-1)).toBe('announce 203.0.113.1/32!');
  world.condition = down;
  fabric.touch();
  await settle();
  expect(seen().at(-1)).toBe('announce ');
});

test('a drain that must not be the last waits for another path, or until it is forced', async () => {
  const guarded = (draining: boolean) => {
    const declared = state(web);
    const host = {
      ...declared.host,
      draining,
      guard: { ...declared.host.guard, lastAnnouncer: 'hold' as const },
    };
    return { ...declared, host };
  };
  await fabric.setDesired(guarded(false), none);
  await fabric.setDesired(guarded(true), none);
  await settle(20_000);
  expect(seen().at(-1)).toBe('announce 203.0.113.1/32!');
  world.otherPaths = [{ prefix: '203.0.113.1/32', peer: '10.0.0.254', asPath: [65002] }];
  await settle(1100);
  expect(seen().at(-1)).toBe('announce ');
  await fabric.setDesired(guarded(false), none);
  world.otherPaths = [];
  await fabric.setDesired(guarded(true), none);
  await settle(20_000);
  expect(seen().at(-1)).toBe('announce 203.0.113.1/32!');
  world.forced = true;
  fabric.touch();
  await settle();
  expect(seen().at(-1)).toBe('announce ');
});

test('a restart in the middle goes on where it was', async () => {
  await fabric.setDesired(state(web), none);
  await fabric.setDesired(state(), none);
  await settle(1000);
  fabric.stop();
  log = [];
  fabric = createFabric(standIns());
  await fabric.setDesired(state(), none);
  expect(seen()).toEqual(['announce 203.0.113.1/32!']);
  await settle(1010);
  expect(seen()).toEqual(['announce 203.0.113.1/32!', 'announce ']);
  await settle(200);
  world.packets += 1;
  fabric.stop();
  fabric = createFabric(standIns());
  await fabric.setDesired(state(), none);
  await settle(990);
  expect(held.has(webKey)).toBe(true);
  await rest();
  expect(held.has(webKey)).toBe(false);
});

test('what was removed while no daemon ran is handed over like what is removed before its eyes', async () => {
  await fabric.setDesired(state(web), none);
  fabric.stop();
  log = [];
  fabric = createFabric(standIns());
  await fabric.setDesired(state(), none);
  expect(seen()).toEqual(['announce 203.0.113.1/32!']);
});

test('a planned stop hands all over, and forwards until the end is asked for', async () => {
  await fabric.setDesired(state(web), none);
  world.stop = { text: 'x' };
  fabric.touchStop();
  await settle();
  expect(fabric.hasLeft()).toBe(false);
  expect(fabric.views()[0]).toMatchObject({ verdict: { code: 'stopping' } });
  await handOver();
  await rest();
  expect(fabric.hasLeft()).toBe(true);
  expect(held.has(webKey)).toBe(true);
  await fabric.endAll();
  expect(held.has(webKey)).toBe(false);
});

test('a covering prefix is announced while any VIP within it is, for those that it stands for', async () => {
  const inside = (enabled: boolean, summaryOnly: boolean) => {
    const declared = state(web, { name: 'other', port: 80, address: '203.0.113.2', enabled });
    const { bgp } = declared.host;
    if (bgp === undefined) throw new Error('no bgp');
    const prefix = { address: ipAddress('203.0.113.0'), length: 24 };
    return {
      ...declared,
      host: { ...declared.host, bgp: { ...bgp, aggregates: [{ prefix, summaryOnly }] } },
    };
  };
  await fabric.setDesired(inside(true, true), none);
  // Before routers send what no VIP takes, it must not go back to them.
  expect(log.indexOf('refuse 1')).toBeLessThan(log.indexOf('announce 203.0.113.0/24'));
  await fabric.setDesired(inside(false, true), none);
  await handOver();
  expect(seen().at(-1)).toBe('announce 203.0.113.0/24');
  await fabric.setDesired(inside(false, false), none);
  expect(seen().at(-1)).toBe('announce 203.0.113.0/24,203.0.113.1/32');
});

test('forwarding goes on while the announcer has not taken the withdraw', async () => {
  await fabric.setDesired(state(web), none);
  world.announcerTakes = false;
  await fabric.setDesired(state(), none);
  await settle(5000);
  await settle(5000);
  expect(held.has(webKey)).toBe(true);
  world.announcerTakes = true;
  await settle(1001);
  await rest();
  expect(held.has(webKey)).toBe(false);
});

test('a VIP new in the kernel is announced once its backends have answered, or have had their time', async () => {
  const unknown: BackendCondition = { ...down, shown: 'unknown', settled: false };
  world.condition = unknown;
  const settling = state({ ...web, check: { type: 'tcp', interval: '1s', timeout: '1s', fall: 3 } });
  await fabric.setDesired(settling, none);
  expect(fabric.views()[0]?.verdict.code).toBe('settling');
  world.condition = up;
  fabric.touch();
  await settle();
  expect(seen().at(-1)).toBe('announce 203.0.113.1/32');

  // Once announced it does not wait again; a new one that never answers waits for five seconds.
  world.condition = unknown;
  fabric.touch();
  await settle();
  expect(fabric.views()[0]?.verdict.code).toBe('too-few-healthy');
  await fabric.setDesired(
    state({ ...web, port: 81, check: { type: 'tcp', interval: '1s', timeout: '1s', fall: 3 } }),
    none,
  );
  await settle(4900);
  expect(fabric.views()[0]?.verdict.code).toBe('settling');
  await settle(200);
  expect(fabric.views()[0]?.verdict.code).toBe('too-few-healthy');
});

test('a VIP that the kernel holds from before does not wait', async () => {
  const kept = {
    policy: 'forward',
    onBackendDown: 'keep',
    idleTicks: 1,
    selection: usualSelection,
    usesNat: false,
    backends: [],
  } as const;
  held.set(webKey, {
    ...kept,
    id: 9,
    slots: new Uint32Array(0),
    address: ipAddress('203.0.113.1'),
    port: 80,
  });
  world.condition = { ...up, settled: false };
  await fabric.setDesired(state(web), none);
  expect(seen()).toEqual(['announce 203.0.113.1/32']);
});

test('announces nothing before the programs are attached', async () => {
  world.attached = false;
  await fabric.setDesired(state(web), none);
  expect(seen()).toEqual([`program ${webKey}`, 'announce ']);
  expect(fabric.views()[0]?.verdict).toMatchObject({ code: 'not-programmed' });
  world.attached = true;
  fabric.touch();
  await settle();
  expect(seen().at(-1)).toBe('announce 203.0.113.1/32');
});

test('a proxied VIP keeps its listener until its forwarding ends', async () => {
  await fabric.setDesired(state(proxied), none);
  expect(log.slice(0, 2)).toEqual(['listeners 8080', `program ${proxiedKey}`]);
  log = [];
  await fabric.setDesired(state(), none);
  await handOver();
  await rest();
  expect([...new Set(log)]).toEqual([
    'listeners 8080',
    'announce 203.0.113.2/32!',
    'announce ',
    `end ${proxiedKey}`,
    'listeners ',
  ]);
  expect(log.at(-1)).toBe('listeners ');
});

test('a detached VIP ends like a removed one, and comes back', async () => {
  const declared = state(web);
  await fabric.setDesired(declared, none);
  await fabric.setDesired(declared, { all: false, vips: [webKey] });
  expect(seen().at(-1)).toBe('announce ');
  await settle(1010);
  expect(held.has(webKey)).toBe(false);
  await fabric.setDesired(declared, none);
  expect(seen().slice(-2)).toEqual([`program ${webKey}`, 'announce 203.0.113.1/32']);
});

test('detached as a whole it withdraws everything and keeps the kernel up to date', async () => {
  await fabric.setDesired(state(web), none);
  await fabric.setDesired(state(web), { all: true, vips: [] });
  await settle(5000);
  expect(seen().at(-1)).toBe('announce ');
  expect(held.has(webKey)).toBe(true);
});

test('what an earlier run has left in the kernel ends after a withdraw', async () => {
  const leftover = {
    policy: 'forward',
    onBackendDown: 'keep',
    idleTicks: 1,
    selection: usualSelection,
    usesNat: false,
    backends: [],
  } as const;
  held.set(webKey, {
    ...leftover,
    id: 9,
    slots: new Uint32Array(0),
    address: ipAddress('203.0.113.1'),
    port: 80,
  });
  await fabric.setDesired(state(), none);
  expect(seen()).toEqual(['announce ']);
  await rest();
  expect(seen()).toEqual(['announce ', `end ${webKey}`]);
});

test('too few healthy backends withdraw a VIP, and its forwarding stays', async () => {
  await fabric.setDesired(state(web), none);
  world.condition = down;
  fabric.touch([webKey]);
  await settle(5000);
  expect(seen().at(-1)).toBe('announce ');
  expect(held.has(webKey)).toBe(true);
});

test('what cannot be programmed is tried again once a second, however often it is looked at', async () => {
  world.programFails = 'no room';
  await fabric.setDesired(state(web), none);
  expect(fabric.views()[0]?.verdict.reason).toMatch(/no room/);
  for (let i = 0; i < 20; i++) {
    fabric.touch();
    await settle(10);
  }
  const before = world.passes;
  for (let i = 0; i < 5; i++) await settle(1000);
  expect(world.passes - before).toBeLessThanOrEqual(5);
  world.programFails = '';
  await settle(1001);
  expect(seen().at(-1)).toBe('announce 203.0.113.1/32');
});

test('a broken invariant ends the work and is told', async () => {
  world.programFails = 'invariant';
  await fabric.setDesired(state(web), none);
  expect(invariants).toHaveLength(1);
  world.programFails = '';
  fabric.touch();
  await settle(5000);
  expect(held.size).toBe(0);
});

test('tells what it did when it is asked to look at everything', async () => {
  await fabric.setDesired(state(web), none);
  world.condition = down;
  expect(await fabric.reconcileAll()).toEqual([
    'forwarding of web: 1 writes',
    'verdict of web: too-few-healthy',
    `withdraw ${formatIpAddress(ipAddress('203.0.113.1'))}/32`,
  ]);
});

test('an announcer that answers again is told, and no VIP is programmed for it', async () => {
  world.announcerTakes = false;
  await fabric.setDesired(state(web, { ...web, name: 'two', address: '203.0.113.9' }), none);
  const { passes, applied } = world;
  world.announcerTakes = true;
  fabric.tellAnnouncer();
  await settle();
  expect(world.passes).toBe(passes + 1);
  expect(world.applied).toBe(applied);
});

test('a proxy that has changed concerns the VIPs that it serves, and no others', async () => {
  await fabric.setDesired(state(web, proxied), none);
  const { applied } = world;
  fabric.touchProxied();
  await settle();
  expect(world.applied).toBe(applied + 1);
});

test('the first pass waits for what the kernel knows of neighbours, a second at most', async () => {
  let tell = () => {};
  world.resolved = new Promise((resolve) => {
    tell = resolve;
  });
  const told = fabric.setDesired(state(web), none);
  await settle(500);
  expect(log).toEqual([]);
  tell();
  await told;
  expect(log).toContain(`program ${webKey}`);

  fabric = createFabric(standIns());
  log = [];
  held = new Map();
  world.resolved = new Promise(() => {});
  const late = fabric.setDesired(state(web), none);
  await settle(1001);
  await late;
  expect(log).toContain(`program ${webKey}`);
});

test('a change of one VIP looks at as many VIPs among ten as among two hundred', async () => {
  const looksAmong = async (count: number) => {
    fabric.stop();
    fabric = createFabric(standIns());
    const counted = countedState(count);
    await fabric.setDesired(counted.state, none);
    const more = addVip(counted.state, countedVip(5000));
    if (!more.ok) throw new Error(JSON.stringify(more.error));
    await fabric.setDesired(more.value, none);
    const other = changeVip(more.value, 'vip-3', { onBackendDown: 'repick' });
    if (!other.ok) throw new Error(JSON.stringify(other.error));
    const from = counted.looks();
    const passed = world.passes;
    await fabric.setDesired(other.value, none);
    expect(world.passes).toBe(passed + 1);
    return counted.looks() - from;
  };
  const few = await looksAmong(10);
  expect(few).toBeGreaterThan(0);
  expect(await looksAmong(200)).toBe(few);
});

test('what all VIPs share is read back before one is announced, and again until it is there', async () => {
  world.shared = 'the kernel does not hold the settings of NAT';
  await fabric.setDesired(state(web), none);
  expect(fabric.views()[0]?.verdict.code).toBe('not-programmed');
  expect(log).not.toContain('announce 203.0.113.1/32');
  world.shared = undefined;
  await settle(1100);
  expect(fabric.views()[0]?.verdict.code).toBe('announced');
  expect(log).toContain('announce 203.0.113.1/32');
});

test('what is declared in the middle of a pass is for the next one: a VIP is handed to the proxy that has its listener', async () => {
  await fabric.setDesired(state(web, proxied), none);
  const moved = state({ ...web, policy: 'l7' }, proxied);
  let declared: Promise<void> | undefined;
  const policies: unknown[] = [];
  world.onHandoff = async (ports) => {
    policies.push([held.get(webKey)?.policy, ports.includes(80)]);
    declared ??= fabric.setDesired(moved, none);
    await new Promise((resolve) => setImmediate(resolve));
  };
  await fabric.reconcileAll();
  await declared;
  expect(policies.slice(0, 2)).toEqual([
    ['forward', false],
    ['forward', true],
  ]);
  expect(held.get(webKey)?.policy).toBe('l7');
});

test('what is known of backends is told of the very ones, also of a declaration that is not in force yet', async () => {
  const declared = (...addresses: string[]) =>
    state({ ...web, backends: addresses.map((address) => ({ address })) });
  world.failing = ['10.0.0.2'];
  const three = declared('10.0.0.1', '10.0.0.2', '10.0.0.3');
  const two = declared('10.0.0.2', '10.0.0.3');
  const shown = ({ vips: [vip] }: DesiredState) =>
    vip === undefined ? undefined : fabric.view(vip)?.conditions.map((one) => one.shown);
  await fabric.setDesired(three, none);
  expect([shown(three), shown(two)]).toEqual([
    ['up', 'down', 'up'],
    ['down', 'up'],
  ]);
  await fabric.setDesired(two, none);
  expect([shown(three), shown(two)]).toEqual([
    ['up', 'down', 'up'],
    ['down', 'up'],
  ]);
});
