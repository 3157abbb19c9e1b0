/** VRRP of the announcer: with keepalived in both roles and families, and among its own. */
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VrrpInput } from '@l4d/announcer/core/vrrp/config.ts';
import { shareOwner } from '@l4d/announcer/core/vrrp/share-owner.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ArpSightings } from '../../tools/lab/io/vrrp-arp-watch.ts';
import {
  bridgePortOf,
  cachedMac,
  type Host,
  interfaceMac,
  kill,
  type Machine,
  runOn,
  setPort,
  setUpNetwork,
  startHost,
  startKeepalived,
  startOn,
  tearDownNetwork,
  until,
  watchPings,
} from '../../tools/lab/io/vrrp-lab.ts';

type Group = VrrpInput['groups'][number];

const vip4 = '10.79.0.50';
const vip6 = 'fd79::50';
const families = ['ipv4', 'ipv6'] as const;

/** Answered by the kernel of the owner, under the interface's own MAC address, as keepalived does. */
const group = (changes: Partial<Group>): Group => ({
  id: 'web',
  interface: 'eth0',
  vrid: 51,
  addresses: [vip4, vip6],
  advertiseIntervalMs: 100,
  accept: true,
  checksum: 'rfc5798',
  ...changes,
});

const instances = (state: string, priority: number, more = '') => ({
  V4: ` state ${state}\n virtual_router_id 51\n priority ${priority}\n advert_int 0.1\n${more}\n virtual_ipaddress { ${vip4}/24 }`,
  V6: ` state ${state}\n virtual_router_id 51\n priority ${priority}\n advert_int 0.1\n native_ipv6\n${more}\n virtual_ipaddress { fe80::200:5eff:fe00:233/64\n ${vip6}/64 }`,
});

let hosts: Record<'a' | 'b' | 'c', Host>;

beforeAll(async () => {
  setUpNetwork();
  const [a, b, c] = await Promise.all([startHost('a'), startHost('b'), startHost('c')]);
  hosts = { a, b, c };
});

afterAll(tearDownNetwork);

const isState = (host: Host, state: string) =>
  until(`both families ${state}`, async () => {
    const { routers } = await host.status();
    return routers.length === 2 && routers.every((router) => router.state === state);
  });

const owns = (host: Host) =>
  until('owns', async () => {
    const { routers } = await host.status();
    return routers.length === 2 && routers.every(({ owning }) => owning);
  });

/** Watches the answers to ARP questions for the VIP until it is stopped. */
function watchArp(): { stop(): Promise<ArpSightings> } {
  const script = join(import.meta.dirname, '../../tools/lab/io/vrrp-arp-watch.ts');
  const child = startOn('other', process.execPath, script, vip4, '3');
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return {
    async stop() {
      child.stdin?.end();
      await once(child, 'close');
      return JSON.parse(output) as ArpSightings;
    },
  };
}

describe('with keepalived', () => {
  it('is Active before a backup of keepalived, which takes over when it leaves', async () => {
    const { a } = hosts;
    await a.put([group({ priority: 150 })]);
    await owns(a);
    const keepalived = startKeepalived(instances('BACKUP', 100));
    const pings = watchPings('client', vip4);
    await until('keepalived is a backup', () => families.length === 2 && keepalived.state('V6') === 'BACKUP');
    await sleep(600);
    expect(keepalived.state('V4')).toBe('BACKUP');
    expect(keepalived.log()).not.toMatch(/checksum|Invalid|invalid/);
    expect(cachedMac('client', vip4)).toBe(interfaceMac('a'));
    await a.put([group({ priority: 150, enabled: false })]);
    await until('keepalived is master of both', () =>
      ['V4', 'V6'].every((name) => keepalived.state(name) === 'MASTER'),
    );
    await until('the client has learned', () => cachedMac('client', vip4) === interfaceMac('keepalived'));
    // Back with the better priority: preempts, and keepalived yields to its first advertisement.
    await a.put([group({ priority: 150 })]);
    await owns(a);
    await until('keepalived has yielded', () =>
      ['V4', 'V6'].every((name) => keepalived.state(name) === 'BACKUP'),
    );
    await until('the client has learned', () => cachedMac('client', vip4) === interfaceMac('a'));
    await sleep(200);
    pings.stop();
    console.log(
      `left for keepalived and came back at 100 ms: largest gap of answers ${Math.round(pings.largestGapMs())} ms`,
    );
    expect(pings.answers()).toBeGreaterThan(20);
    for (const family of families) expect((await a.router(family)).dropped).toEqual({});
    await keepalived.stop('SIGTERM');
    await a.put([]);
  });

  it('is a backup of keepalived, and takes over when it leaves or is killed', async () => {
    const { a, b } = hosts;
    const first = startKeepalived(instances('MASTER', 200));
    await a.put([group({ priority: 100 })]);
    await isState(a, 'Backup');
    await until('hears keepalived', async () => (await a.router('ipv6')).activePriority === 200);
    expect(await a.router()).toMatchObject({ activeRouter: '10.79.0.9', dropped: {}, addressMismatches: 0 });
    const pings = watchPings('client', vip4);
    const left = Date.now();
    await first.stop('SIGTERM');
    await owns(a);
    for (const family of families) {
      const router = await a.router(family);
      expect(router.reason).toBe('the Active Router left');
      console.log(`${family}: Active ${router.since - left} ms after keepalived was told to stop`);
    }
    await until('answers', () => pings.lastAt() > Date.now() - 50);
    expect(cachedMac('client', vip4)).toBe(interfaceMac('a'));

    const second = startKeepalived(instances('MASTER', 200));
    await isState(a, 'Backup');
    await until('hears keepalived', async () => (await a.router('ipv6')).activePriority === 200);
    await sleep(300);
    const killed = Date.now();
    await second.stop('SIGKILL');
    await owns(a);
    const { activeDownMs, reason, since } = await a.router();
    console.log(
      `keepalived killed: Active after ${since - killed} ms; Active_Down_Interval ${activeDownMs} ms`,
    );
    expect(reason).toBe('silence of the Active Router');
    expect(since - killed).toBeLessThan(2000);
    pings.stop();
    runOn('keepalived', 'ip', 'address', 'del', `${vip4}/24`, 'dev', 'eth0');
    runOn('keepalived', 'ip', '-6', 'address', 'del', `${vip6}/64`, 'dev', 'eth0');
    runOn('keepalived', 'ip', '-6', 'address', 'del', 'fe80::200:5eff:fe00:233/64', 'dev', 'eth0');
    await Promise.all([a.put([]), b.put([])]);
  });
});

describe('on its own', () => {
  it('drops what is wrong and says why; nobody moves for it', async () => {
    const { a } = hosts;
    await a.put([group({ priority: 100 })]);
    await owns(a);
    const { transitions, answersSent } = await a.router();
    startOn('client', process.execPath, join(import.meta.dirname, 'vrrp-inject.ts'), vip4);
    await until('all are counted', async () => (await a.status()).dropped['unknown-vrid'] === 1);
    expect(await a.router()).toMatchObject({
      state: 'Active',
      transitions,
      dropped: {
        'bad-checksum': 1,
        'wrong-ttl': 1,
        'bad-version': 1,
        'bad-type': 1,
        'bad-interval': 1,
        'bad-length': 1,
      },
    });
    // Questions with a priority alone are answered, those of another VLAN are not.
    const answers = (await a.router()).answersSent - answersSent;
    expect(answers).toBeGreaterThanOrEqual(20);
    expect(answers).toBeLessThan(60);
  });

  it('tells clients at once of an address that comes to a group it owns', async () => {
    const { a } = hosts;
    const added = '10.79.0.51';
    runOn('client', 'sysctl', '-qw', 'net.ipv4.neigh.eth0.locktime=0');
    // One round and no refresh: the rounds of the take-over must not do it.
    const quiet = group({ priority: 100, garp: { repeat: 1, refreshMs: 0 } });
    await a.put([]);
    await a.put([quiet]);
    await owns(a);
    const stale = ['lladdr', '02:00:00:00:00:51', 'dev', 'eth0', 'nud', 'stale'];
    runOn('client', 'ip', 'neighbour', 'replace', added, ...stale);
    await a.put([{ ...quiet, addresses: [vip4, vip6, added] }]);
    await until('the client has learned', () => cachedMac('client', added) === interfaceMac('a'));
    expect(await a.router()).toMatchObject({ state: 'Active', owning: true });
  });

  it('never has two owners: simultaneous start, preemption, churn, an owner that stood still', async () => {
    const { a, b, c } = hosts;
    await Promise.all([a.put([]), b.put([]), c.put([])]);
    const watch = watchArp();
    // The same priority everywhere: all three begin and end their silence at once.
    const fast = (changes: Partial<Group>) => [group({ advertiseIntervalMs: 30, ...changes })];
    await Promise.all([a.put(fast({})), b.put(fast({})), c.put(fast({}))]);
    const all = [a, b, c];
    const activeOnes = async () =>
      (await Promise.all(all.map((host) => host.router()))).filter(({ state }) => state === 'Active').length;
    await until('one is Active', async () => (await activeOnes()) === 1);
    // Preemption, by priorities that move.
    for (const [index, host] of all.entries()) {
      await host.put(fast({ priority: 150 + index * 10 }));
      await owns(host);
    }
    await c.put(fast({ priority: 50 }));
    await owns(b);
    // An owner that stands still, with nobody preempting: it must not speak when it wakes.
    await Promise.all([
      a.put(fast({ priority: 90, preempt: false })),
      c.put(fast({ priority: 50, preempt: false })),
    ]);
    await b.put(fast({ priority: 160, preempt: false }));
    await owns(b);
    const stopped = b.enginePid();
    kill(stopped, 'SIGSTOP');
    await owns(a);
    await sleep(200);
    const woken = Date.now();
    kill(stopped, 'SIGCONT');
    await isState(b, 'Backup');
    await sleep(300);
    const seen = await watch.stop();
    expect(seen.answers).toBeGreaterThan(100);
    expect(seen.doubles).toEqual([]);
    expect((await b.router()).reason).toMatch(/stood still|better router/);
    const stale = interfaceMac('b') ?? '';
    expect(seen.gratuitous[stale]?.filter((at) => at >= woken) ?? []).toEqual([]);
    expect(seen.owners.filter(({ atMs, mac }) => mac === stale && atMs >= woken)).toEqual([]);
    console.log(`${seen.questions} questions, ${seen.answers} answers, ${seen.owners.length} owners in turn`);
  });

  it('preempts after its delay, and is suffered with preempt off', async () => {
    const { a, b, c } = hosts;
    await Promise.all([b.put([]), c.put([]), a.put([group({ priority: 100 })])]);
    await owns(a);
    await b.put([group({ priority: 120, preemptDelayMs: 1000 })]);
    const asked = Date.now();
    await isState(b, 'Backup');
    await owns(b);
    const { since, reason } = await b.router();
    expect(reason).toBe('better than the Active Router');
    expect(since - asked).toBeGreaterThanOrEqual(1000);
    await b.put([]);
    await owns(a);
    await b.put([group({ priority: 120, preempt: false })]);
    await isState(b, 'Backup');
    await sleep(700);
    expect(await b.router()).toMatchObject({ state: 'Backup', activePriority: 100 });
  });

  it('moves nothing when the announcer is killed, and its successor finds the addresses where they are', async () => {
    const { a, b, c } = hosts;
    await Promise.all([b.put([]), c.put([]), a.put([group({ priority: 200 })])]);
    await owns(a);
    await b.put([group({ priority: 100 })]);
    await isState(b, 'Backup');
    const before = await a.router();
    a.process.kill('SIGKILL');
    await sleep(600);
    hosts.a = await startHost('a', a.runDir);
    await hosts.a.put([group({ priority: 200 })]);
    const { state, since, transitions } = await hosts.a.router();
    expect({ state, since, transitions }).toEqual({
      state: 'Active',
      since: before.since,
      transitions: before.transitions,
    });
    expect(await b.router()).toMatchObject({ state: 'Backup', activeRouter: '10.79.0.1' });
  });

  it.each([100, 10])('takes over from a killed owner at %i ms', async (advertiseIntervalMs) => {
    const { a, b, c } = hosts;
    await Promise.all([a, b, c].map((host) => host.put([])));
    await a.put([group({ advertiseIntervalMs, priority: 200 })]);
    await owns(a);
    await b.put([group({ advertiseIntervalMs, priority: 100 })]);
    await isState(b, 'Backup');
    const pings = watchPings('client', vip4, 5);
    await sleep(400);
    const { activeDownMs } = await b.router();
    const pid = a.enginePid();
    // As a host dies: its kernel, which still has the route, is not heard either.
    const killed = Date.now();
    setPort('a', 'down');
    kill(pid, 'SIGKILL');
    await owns(b);
    const { since, timerLatenessMs } = await b.router();
    expect(since - killed).toBeLessThan(activeDownMs + 1000);
    await until(
      'answers',
      () => cachedMac('client', vip4) === interfaceMac('b') || pings.lastAt() > Date.now() - 20,
    );
    await sleep(150);
    pings.stop();
    console.log(
      `${advertiseIntervalMs} ms: Active ${since - killed} ms after the kill, Active_Down_Interval ${activeDownMs} ms, ` +
        `timers at most ${timerLatenessMs} ms late, largest gap of answers ${Math.round(pings.largestGapMs())} ms`,
    );
    setPort('a', 'up');
    // The announcer has started another process, which has the better priority.
    await owns(a);
  });
});

describe('share', () => {
  const vrids = [61, 62, 63];
  const shared = (vrid: number): Group[] => [
    group({ vrid, useVmac: true, accept: false, checksum: 'rfc9568', priority: 200, share: { vrids } }),
  ];
  const macOf = (client: string, family: '01' | '02') =>
    `00:00:5e:00:${family}:${shareOwner(ipAddress(client), vrids).toString(16)}`;

  it('gives each client the virtual MAC address that it hashes to, and moves that address alone', async () => {
    const { a, b, c } = hosts;
    await Promise.all([a.put([]), b.put([]), c.put([])]);
    await Promise.all([a.put(shared(61)), b.put(shared(62)), c.put(shared(63))]);
    const machines: readonly Machine[] = ['a', 'b', 'c'];
    for (const [index, machine] of machines.entries()) {
      await until(`${machine} has its own`, async () => {
        const { routers } = await hosts[machine as 'a'].status();
        const owned = routers.filter(({ owning }) => owning).map(({ vrid }) => vrid);
        return owned.length === 2 && owned.every((vrid) => vrid === vrids[index]);
      });
    }
    const ask = (client: Machine, address: string) => {
      runOn(client, 'ip', 'neighbour', 'flush', 'dev', 'eth0');
      try {
        runOn(client, 'ping', '-c1', '-W0.2', address);
      } catch {
        // Nothing forwards here: only who answers counts.
      }
      return cachedMac(client, address);
    };
    const clients: readonly (readonly [Machine, string])[] = [
      ['client', '10.79.0.100'],
      ['other', '10.79.0.101'],
      ['keepalived', '10.79.0.9'],
    ];
    for (const [machine, address] of clients) expect(ask(machine, vip4)).toBe(macOf(address, '01'));
    expect(vrids.map((vrid) => `00:00:5e:00:02:${vrid.toString(16)}`)).toContain(ask('client', vip6));
    const mac = ask('client', vip4) ?? '';
    const index = vrids.findIndex((vrid) => mac.endsWith(vrid.toString(16)));
    const owner = machines[index] as 'a' | 'b' | 'c';
    expect(bridgePortOf(mac)).toBe(owner);
    const killed = performance.now();
    hosts[owner].process.kill('SIGKILL');
    kill(hosts[owner].enginePid(), 'SIGKILL');
    await until('another has the MAC address', () => bridgePortOf(mac) !== owner);
    console.log(
      `share at 100 ms: the switch has the MAC address elsewhere ${Math.round(performance.now() - killed)} ms after the kill`,
    );
    // The next host of the ring is its heir, and no client has to learn anything.
    expect(bridgePortOf(mac)).toBe(machines[(index + 1) % 3]);
    expect(cachedMac('client', vip4)).toBe(mac);
    expect(ask('client', vip4)).toBe(mac);
  });
});
