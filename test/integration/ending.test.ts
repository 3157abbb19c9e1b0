/** How VIPs leave a host by intent: handed over, withdrawn, forwarded until quiet; with routers that are slow. */
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { runChecked } from '../../tools/lab/io/run-command.ts';
import { waitFor } from '../../tools/lab/io/wait-for.ts';
import { createLab } from '../../tools/lab/lab.ts';
import { twoTor } from '../../tools/lab/topologies/two-tor.ts';
import { forwardedByHost } from '../../tools/scenarios/counters.ts';
import {
  createFabric,
  declareVip,
  labVip,
  resetFabric,
  urlOf,
  waitForNextHops,
  waitUntilServed,
} from '../../tools/scenarios/fabric.ts';
import { watchRoute } from '../../tools/scenarios/route-watch.ts';
import { silentReport } from '../../tools/scenarios/scenario.ts';

const lab = createLab(twoTor, { id: `end-${process.pid}` });
const fabric = createFabric(lab);
const { product, traffic } = fabric;
const tors = ['tor1', 'tor2'];

beforeAll(async () => {
  await lab.up();
  await resetFabric(fabric);
  for (const host of ['lb1', 'lb2']) {
    await apply(host, ({ host: fields }) => {
      fields['withdraw'] = { gracefulShutdown: '700ms' };
    });
  }
}, 60_000);

afterAll(async () => {
  await zebras('SIGCONT');
  await lab.down();
});

/** A router whose zebra stands still hears of a withdraw and goes on sending. */
async function zebras(signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
  for (const { pid, name } of await lab.processes(...tors)) {
    if (name === 'zebra') process.kill(pid, signal);
  }
}

type Document = { host: Record<string, unknown>; [key: string]: unknown };

/** Changes a host's document as an operator does: export, edit, apply. */
async function apply(host: string, change: (document: Document) => void, ...options: string[]) {
  const document = (await product.l4ctl(host, ['export'])) as Document;
  change(document);
  return lab.exec(host, [l4ctl, ...options, 'apply', '-f', '-'], { input: stringify(document) });
}
const l4ctl = new URL('../../node_modules/.bin/l4ctl', import.meta.url).pathname;

const leavingOf = async (host: string, key: string) =>
  (await product.status(host)).leaving?.find((vip) => vip.key === key)?.ending;

const endingOf = async (host: string, name: string) =>
  (await product.status(host)).vips.find((vip) => vip.name === name)?.ending;

const sessionOf = async (router: string) => {
  const { peers } = (await lab.vtysh(router, 'show bgp ipv4 unicast summary json')) as {
    peers: Record<string, { state: string }>;
  };
  return peers['10.77.0.11']?.state;
};

/** The VIP web on both hosts, announced by both; its address. */
async function served(): Promise<string> {
  for (const host of ['lb1', 'lb2']) {
    const { vips } = await product.status(host);
    if (!vips.some(({ name }) => name === 'web')) {
      await declareVip(fabric, silentReport, { vip: 'web', hosts: [host] });
    }
  }
  await waitForNextHops(fabric, labVip(fabric, 'web').ipv4, ['lb1', 'lb2']);
  return labVip(fabric, 'web').ipv4;
}

/** What a router has of a prefix, with the communities of each path. */
async function pathsOf(router: string, prefix: string): Promise<{ from: string; community: string }[]> {
  // Of bgpd alone: vtysh asks all daemons otherwise, and zebra may stand.
  const where = ['--vty_socket', `${lab.folder(router)}/frr`, '-d', 'bgpd'];
  const command = `show bgp ipv4 unicast ${prefix} json`;
  const { stdout } = await lab.exec(router, ['vtysh', ...where, '-c', command]);
  const { paths = [] } = JSON.parse(stdout) as {
    paths?: { peer?: { peerId?: string }; community?: { string?: string } }[];
  };
  return paths.map(({ peer, community }) => ({
    from: peer?.peerId ?? '',
    community: community?.string ?? '',
  }));
}

it('removed under load with slow routers and a restart in the middle: nothing breaks', async () => {
  const vip = await declareVip(fabric, silentReport, { vip: 'web' });
  await waitUntilServed(fabric, vip);
  const url = urlOf(vip.address);
  const before = await forwardedByHost(fabric, ['lb1', 'lb2']);
  const download = await traffic.download({
    url: urlOf(vip.address, 80, `/slow/100m?rate=${2 * 1024 * 1024}`),
    durationMs: 60_000,
  });
  const held = await traffic.hold({ url, connections: 40, pauseMs: 50, durationMs: 60_000 });
  await held.until('all are answered', (all) => all.length === 40, { timeoutMs: 5000 });
  await sleep(300);
  // The host that carries the download is the one to leave.
  const after = await forwardedByHost(fabric, ['lb1', 'lb2']);
  const carried = after.map((count, index) => count - (before[index] ?? 0));
  const leaver = (carried[0] ?? 0) > (carried[1] ?? 0) ? 'lb1' : 'lb2';
  const stayer = leaver === 'lb1' ? 'lb2' : 'lb1';
  const leaverAddress = lab.topology.hosts.find(({ name }) => name === leaver)?.ipv4 ?? '';
  const key = `${vip.address}-80-tcp`;

  await zebras('SIGSTOP');
  await product.l4ctl(leaver, ['vip', 'rm', vip.name]);
  await waitFor(
    'routers see GRACEFUL_SHUTDOWN',
    () => Promise.all(tors.map((tor) => pathsOf(tor, `${vip.address}/32`))),
    (all) =>
      all.every((paths) =>
        paths.some(
          ({ from, community }) => from === leaverAddress && community.includes('graceful-shutdown'),
        ),
      ),
    { timeoutMs: 5000, everyMs: 50 },
  );
  expect(await leavingOf(leaver, key)).toMatchObject({ step: 'graceful-shutdown', cause: 'removed' });
  const seen = await waitFor(
    'withdrawn, and packets still come',
    () => leavingOf(leaver, key),
    (ending) => (ending?.packetsLastSecond ?? 0) > 0,
    { timeoutMs: 10_000, everyMs: 50 },
  );
  expect(seen?.text).toMatch(
    /^withdrawn, \d+ packets? in the last second, forwards until quiet or \d\d:\d\d:\d\d UTC$/,
  );
  const shown = await product.runL4ctl(leaver, ['vip', 'explain', vip.name]);
  expect(shown.stdout).toMatch(/forwards until quiet or/);
  for (const tor of tors) expect((await pathsOf(tor, `${vip.address}/32`)).length).toBe(1);

  await (await product.daemon(leaver))?.kill('SIGKILL');
  await product.startDaemon(leaver);
  const again = await waitFor(
    'the new daemon goes on',
    () => leavingOf(leaver, key),
    (ending) => ending?.step === 'withdrawn' && (ending.packetsLastSecond ?? 0) > 0,
    { timeoutMs: 5000, everyMs: 50 },
  );
  expect(Math.abs((again?.forwardsUntilMs ?? 0) - (seen?.forwardsUntilMs ?? 0))).toBeLessThan(1000);

  await zebras('SIGCONT');
  await waitFor(
    'forwarding has ended',
    () => leavingOf(leaver, key),
    (ending) => ending === undefined,
    { timeoutMs: 10_000, everyMs: 50 },
  );
  await waitForNextHops(fabric, vip.address, [stayer]);
  await sleep(500);
  const all = await held.stop();
  expect(all.filter(({ broken }) => broken !== undefined)).toEqual([]);
  expect(download.summary()?.end).toBeUndefined();
  expect(download.summary()?.largestGapMs).toBeLessThan(1500);
  await download.stop();
});

it('a planned stop: handed over, Cease with its text, nothing left; started again it announces', async () => {
  const web = await served();
  const held = await traffic.hold({ url: urlOf(web), connections: 40, pauseMs: 50, durationMs: 60_000 });
  await held.until('all are answered', (all) => all.length === 40, { timeoutMs: 5000 });
  const stopped = await product.runL4d('lb1', ['stop', '--text', 'disk swap in rack 4']);
  expect(stopped, stopped.stderr).toMatchObject({ code: 0 });
  expect(stopped.stdout).toMatch(/web: announced with GRACEFUL_SHUTDOWN/);
  expect(await product.daemon('lb1')).toBeUndefined();
  expect(await product.companions('lb1')).toEqual({});
  const reset = JSON.stringify(await lab.vtysh('tor1', 'show bgp neighbors 10.77.0.11 json'));
  expect(reset).toContain('Cease/Administrative Shutdown');
  expect(reset).toContain('disk swap in rack 4');
  const inKernel = await runChecked([
    'bpftool',
    ...['-j', 'map', 'dump', 'pinned', `${lab.env('lb1').L4D_BPF_DIR}/maps/vips4`],
  ]);
  expect(JSON.parse(inKernel)).toEqual([]);
  await waitForNextHops(fabric, web, ['lb2']);
  expect((await held.stop()).filter(({ broken }) => broken !== undefined)).toEqual([]);
  await product.startDaemon('lb1', { announced: true });
  await waitForNextHops(fabric, web, ['lb1', 'lb2']);
});

it('a covering prefix stands for its VIPs; a bound that is reached is told, and nothing breaks', async () => {
  const web = await served();
  const covering = '203.0.113.0/24';
  const applied = await apply('lb2', ({ host }) => {
    const aggregates = [{ prefix: covering, summaryOnly: true, announce: { med: 7 } }];
    host['bgp'] = { ...(host['bgp'] as object), aggregates };
    host['withdraw'] = { gracefulShutdown: '0s' };
  });
  expect(applied, applied.stderr).toMatchObject({ code: 0 });
  await apply('lb1', ({ host }) => {
    host['withdraw'] = { gracefulShutdown: '0s', atMost: '1500ms' };
  });
  await waitForNextHops(fabric, web, ['lb1']);
  await waitForNextHops(fabric, covering, ['lb2']);
  expect(JSON.stringify(await lab.vtysh('tor1', `show bgp ipv4 unicast ${covering} json`))).toMatch(
    /"metric":7/,
  );
  const explained = await product.runL4ctl('lb2', ['vip', 'explain', 'web']);
  expect(explained.stdout).toMatch(/is announced.*by 203\.0\.113\.0\/24/);

  // What no VIP takes comes to its end here: it does not go back to the router.
  await lab.exec('lb2', ['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  const ping = await lab.exec('client', ['ping', '-c', '1', '-W', '2', '203.0.113.99']);
  await lab.exec('lb2', ['sysctl', '-qw', 'net.ipv4.ip_forward=0']);
  expect(ping.stdout).toMatch(/From 10\.77\.0\.12 .*Unreachable/);

  const held = await traffic.hold({ url: urlOf(web), connections: 20, pauseMs: 50, durationMs: 60_000 });
  await held.until('all are answered', (all) => all.length === 20, { timeoutMs: 5000 });
  await zebras('SIGSTOP');
  await product.l4ctl('lb1', ['vip', 'disable', 'web']);
  const over = await waitFor(
    'lb1 has waited for its time',
    () => endingOf('lb1', 'web'),
    (ending) => ending?.step === 'over',
    { timeoutMs: 10_000, everyMs: 50 },
  );
  await zebras('SIGCONT');
  expect(over).toMatchObject({ endedBy: 'bound' });
  expect(over?.text).toBe('withdrawn, packets still came after 1500ms, forwards what may still arrive');
  await waitForNextHops(fabric, web, []);
  const since = Date.now();
  await held.until(
    'all are answered over the covering prefix',
    (all) => all.every(({ lastPingAtMs }) => lastPingAtMs > since),
    { timeoutMs: 5000 },
  );
  expect((await held.stop()).filter(({ broken }) => broken !== undefined)).toEqual([]);

  await product.l4ctl('lb2', ['vip', 'disable', 'web']);
  await waitForNextHops(fabric, covering, []);
  await apply('lb2', ({ host }) => {
    host['bgp'] = { ...(host['bgp'] as object), aggregates: [] };
  });
  for (const host of ['lb1', 'lb2']) await product.l4ctl(host, ['vip', 'enable', 'web']);
  await waitForNextHops(fabric, web, ['lb1', 'lb2']);
  const { stdout } = await lab.exec('lb2', ['ip', 'route', 'show', 'type', 'unreachable']);
  expect(stdout).toBe('');
});

it('all processes of a host killed and started again under continuity: no route moves', async () => {
  const web = await served();
  await apply('lb1', (document) => {
    document['peers'] = (document['peers'] as object[]).map((peer) => ({ ...peer, promise: 'continuity' }));
  });
  // A VIP of the proxy is not served before the proxy is back: the first state told is not the whole.
  const app = await declareVip(fabric, silentReport, {
    vip: 'app',
    hosts: ['lb1'],
    options: ['--policy', 'l7'],
  });
  await waitForNextHops(fabric, web, ['lb1', 'lb2']);
  await waitForNextHops(fabric, app.address, ['lb1']);
  const watches = tors.flatMap((tor) =>
    [web, app.address].map((address) => watchRoute(fabric, tor, address)),
  );
  await sleep(300);
  for (const { pid, name } of await lab.processes('lb1')) {
    if (['l4d', 'announcer', 'l7', 'bfd'].includes(name) || name.startsWith('worker-process'))
      process.kill(pid, 'SIGKILL');
  }
  await waitFor(
    'routers have lost the session',
    () => Promise.all(tors.map((tor) => sessionOf(tor))),
    (states) => states.every((state) => state !== 'Established'),
    { timeoutMs: 5000, everyMs: 50 },
  );
  const started = product.startDaemon('lb1', { timeoutMs: 20_000 });
  // The proxy comes late: the sessions are there before it.
  const proxy = await waitFor(
    'the proxy is started',
    async () => (await lab.processes('lb1')).find(({ name }) => name === 'l7')?.pid,
    (pid) => pid !== undefined,
    { timeoutMs: 10_000, everyMs: 5 },
  );
  process.kill(proxy ?? 0, 'SIGSTOP');
  await started;
  await waitFor(
    'the sessions are back, without End-of-RIB',
    () => Promise.all(tors.map((tor) => sessionOf(tor))),
    (states) => states.every((state) => state === 'Established'),
    { timeoutMs: 10_000, everyMs: 50 },
  );
  await sleep(1000);
  const verdicts = (await product.status('lb1')).vips.map(({ name, verdict }) => `${name} ${verdict.code}`);
  expect(verdicts).toEqual(['web announced', 'app proxy-down']);
  process.kill(proxy ?? 0, 'SIGCONT');
  await waitFor(
    'End-of-RIB has come',
    () => Promise.all(tors.map((tor) => lab.vtysh(tor, 'show bgp neighbors 10.77.0.11 json'))),
    (all) => all.every((one) => /"endOfRibRecv":true/.test(JSON.stringify(one))),
    { timeoutMs: 20_000, everyMs: 100 },
  );
  await sleep(500);
  for (const watch of watches) watch.stop();
  expect(watches.flatMap((watch) => watch.changes())).toEqual([]);
});

async function guardHolds(): Promise<void> {
  const web = await served();
  const addresses = ['10.77.0.1', '10.77.0.2'];
  await product.l4ctl('lb2', ['peer', 'rm', addresses[0] ?? '']);
  const refused = await product.runL4ctl('lb2', ['peer', 'rm', addresses[1] ?? '']);
  expect(refused.code).toBe(78);
  expect(refused.stderr).toMatch(/removes the last BGP peer: none of the 1 VIP here.*--force/);
  await product.l4ctl('lb2', ['undo']);
  await waitForNextHops(fabric, web, ['lb1', 'lb2']);

  // A file with it is left, and the daemon goes on with what is stored.
  await (await product.daemon('lb2'))?.kill('SIGTERM');
  const file = `${lab.folder('lb2')}/no-peers.yaml`;
  await writeFile(file, 'version: 1\nhost: { interface: eth0, bgp: { as: 65012, routerId: 10.77.0.12 } }\n');
  await product.startDaemon('lb2', { config: file, announced: true });
  expect((await product.status('lb2')).host.warnings?.join()).toMatch(
    /no-peers\.yaml was not taken.*--force/,
  );
  await waitForNextHops(fabric, web, ['lb1', 'lb2']);

  // lb2 announces it too: routers show its path once ours asks to be left, and the drain goes on.
  await apply('lb1', ({ host }) => {
    host['guard'] = { lastAnnouncer: 'hold' };
    host['withdraw'] = { gracefulShutdown: '300ms' };
  });
  await product.l4ctl('lb1', ['host', 'drain']);
  await waitForNextHops(fabric, web, ['lb2']);
  await product.l4ctl('lb1', ['host', 'undrain']);
  await waitForNextHops(fabric, web, ['lb1', 'lb2']);
  // Now nobody else does: it stays, until it is forced.
  await product.l4ctl('lb2', ['vip', 'disable', 'web']);
  await waitForNextHops(fabric, web, ['lb1']);
  await product.l4ctl('lb1', ['host', 'drain']);
  await sleep(2000);
  expect(await endingOf('lb1', 'web')).toMatchObject({ step: 'graceful-shutdown' });
  await waitForNextHops(fabric, web, ['lb1']);
  await product.l4ctl('lb1', ['--force', 'host', 'drain']);
  await waitForNextHops(fabric, web, []);
  await product.l4ctl('lb1', ['host', 'undrain']);
  await product.l4ctl('lb2', ['vip', 'enable', 'web']);
}

// Its rules are unit tests; against real routers it takes its time: `npm run soak -- endings`.
if (process.env['L4D_TEST_LONG'] !== undefined) {
  it(
    'the guard: the last peer goes by force alone; a drain that must not be the last waits for another host',
    guardHolds,
  );
}
