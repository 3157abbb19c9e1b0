import { readdir, readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostsOf } from '../../tools/lab/core/topology.ts';
import { createLab } from '../../tools/lab/lab.ts';
import { twoTor } from '../../tools/lab/topologies/two-tor.ts';

const id = `labtest-${process.pid}`;
const lab = createLab(twoTor, { id });
const [client] = hostsOf(twoTor, 'client');
if (client === undefined) throw new Error('the topology has no client');
const clientHost = client;

/** What the machine has that carries the lab's name, or could have been left by it. */
async function traces(): Promise<string[]> {
  const list = async (folder: string) =>
    (await readdir(folder).catch(() => []))
      .filter((name) => name.includes(id))
      .map((name) => `${folder}/${name}`);
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name));
  const processes = await Promise.all(
    pids.map(async (pid) => {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      return line.includes(`/run/l4d-lab/${id}/`) && Number(pid) !== process.pid ? `process ${pid}` : '';
    }),
  );
  const folders = await Promise.all(['/run/netns', '/run/l4d-lab', '/sys/fs/bpf/l4d-lab', '/tmp'].map(list));
  return [...folders.flat(), ...processes.filter((line) => line !== '')];
}

/** Connects `times` times to a URL and gives the answers. */
async function ask(url: string, times: number, ...options: string[]): Promise<string[]> {
  // One curl is one run of connections: each URL on its own connection.
  const argv = ['curl', '-s', '-g', '--max-time', '3', '-H', 'Connection: close', ...options];
  const result = await lab.exec(clientHost.name, [...argv, ...new Array<string>(times).fill(url)]);
  return result.stdout.split('\n').filter((line) => line !== '');
}

/** Packets a host's interface has sent so far. */
async function sentPackets(host: string, device: string): Promise<number> {
  const { stdout } = await lab.exec(host, ['ip', '-s', '-j', 'link', 'show', 'dev', device]);
  const [link] = JSON.parse(stdout) as { stats64: { tx: { packets: number } } }[];
  return link?.stats64.tx.packets ?? 0;
}

async function eventually(check: () => Promise<boolean>, timeoutMs = 10_000): Promise<boolean> {
  const start = performance.now();
  while (performance.now() - start < timeoutMs) {
    if (await check()) return true;
    await sleep(50);
  }
  return false;
}

/** A BIRD on an l4d host that announces prefixes of both families over one session to each router. */
async function startBird(host: string): Promise<void> {
  const found = hostsOf(twoTor, 'l4d').find(({ name }) => name === host);
  const channel = (family: string, nextHop: string) =>
    `${family} { import all; export where source = RTS_STATIC; next hop address ${nextHop}; };`;
  const peers = hostsOf(twoTor, 'router').map(
    (router) => `protocol bgp ${router.name} {
      local ${found?.ipv4} as ${found?.as}; neighbor ${router.ipv4} as ${router.as}; hold time 3;
      connect delay time 1; error wait time 1,2;
      ${channel('ipv4', found?.ipv4 ?? '')} ${channel('ipv6', found?.ipv6 ?? '')} }`,
  );
  const config = `router id ${found?.ipv4};
    protocol device {}
    protocol static { ipv4; route 203.0.113.10/32 blackhole; }
    protocol static { ipv6; route 2001:db8:77::10/128 blackhole; }
    ${peers.join('\n')}\n`;
  const folder = lab.folder(host);
  await writeFile(`${folder}/bird.conf`, config);
  const argv = ['bird', '-c', `${folder}/bird.conf`, '-s', `${folder}/bird.ctl`, '-P', `${folder}/bird.pid`];
  const started = await lab.exec(host, argv);
  expect(started, 'starting BIRD').toMatchObject({ code: 0 });
}

const nextHopsOf = async (router: string, family: 'ipv4' | 'ipv6', destination: string) => {
  const routes = await lab.kernelRoutes(router, family);
  const found = routes.filter((route) => route.destination === destination && route.protocol === 'bgp');
  return found.flatMap((route) => route.nextHops.map((hop) => hop.gateway)).sort();
};

describe('the lab', () => {
  beforeAll(async () => {
    expect(await traces()).toEqual([]);
    await lab.up();
  });
  afterAll(() => lab.down());

  it('lets the client reach every backend over both families and both routers', async () => {
    const before = await Promise.all(['eth0', 'eth1'].map((device) => sentPackets(clientHost.name, device)));
    for (const backend of hostsOf(twoTor, 'backend')) {
      expect(new Set(await ask(`http://${backend.ipv4}/`, 12))).toEqual(
        new Set([`${backend.name} 198.51.100.7`]),
      );
      expect(new Set(await ask(`http://[${backend.ipv6}]:8080/`, 12))).toEqual(
        new Set([`${backend.name} 2001:db8:c::7`]),
      );
    }
    const after = await Promise.all(['eth0', 'eth1'].map((device) => sentPackets(clientHost.name, device)));
    for (const [index, count] of after.entries()) expect(count - (before[index] ?? 0)).toBeGreaterThan(50);
  });

  it('lets backends answer through both routers', async () => {
    for (const family of ['ipv4', 'ipv6'] as const) {
      const route = (await lab.kernelRoutes('b1', family)).find(
        ({ destination }) => destination === 'default',
      );
      const wanted = hostsOf(twoTor, 'router').map((router) => router[family]);
      expect(route?.nextHops.map(({ gateway }) => gateway)).toEqual(wanted);
    }
    const before = await Promise.all(['tor1', 'tor2'].map((router) => sentPackets(router, 'eth1')));
    await ask('http://10.77.0.21/', 24);
    const after = await Promise.all(['tor1', 'tor2'].map((router) => sentPackets(router, 'eth1')));
    for (const [index, count] of after.entries()) expect(count - (before[index] ?? 0)).toBeGreaterThan(10);
  });

  it('lets the client use any address of its ranges', async () => {
    expect(await ask('http://10.77.0.22/', 1, '--interface', '198.51.100.99')).toEqual(['b2 198.51.100.99']);
    expect(await ask('http://[fd77::22]/', 1, '--interface', '2001:db8:c::99')).toEqual([
      'b2 2001:db8:c::99',
    ]);
  });

  it('serves downloads of a size and at a rate', async () => {
    const argv = ['curl', '-s', '-o', '/dev/null', '-w', '%{size_download} %{time_total}'];
    const big = await lab.exec(clientHost.name, [...argv, 'http://10.77.0.21/big/10m']);
    expect(big.stdout.split(' ')[0]).toBe('10485760');
    const slow = await lab.exec(clientHost.name, [...argv, 'http://10.77.0.21/slow/1m?rate=256k']);
    const [bytes, seconds] = slow.stdout.split(' ').map(Number);
    expect(bytes).toBe(1_048_576);
    // nginx counts by whole seconds of the clock: the first and the last may be short.
    expect(seconds).toBeGreaterThan(1.9);
    const held = await lab.exec(clientHost.name, [...argv, '--max-time', '2', 'http://10.77.0.21/slow']);
    expect(held.code).toBe(28);
  });

  it('has routers that spread what two speakers announce, and take it back within the hold time', async () => {
    await startBird('lb1');
    await startBird('lb2');
    // BIRD tells its link-local address as well, and FRR prefers that: IPv6 next hops are counted.
    const spread = async (...wanted: string[]) => {
      for (const router of ['tor1', 'tor2']) {
        const ipv4 = await nextHopsOf(router, 'ipv4', '203.0.113.10');
        const ipv6 = await nextHopsOf(router, 'ipv6', '2001:db8:77::10');
        if (ipv4.join() !== wanted.join() || new Set(ipv6).size !== wanted.length) return false;
      }
      return true;
    };
    expect(await eventually(() => spread('10.77.0.11', '10.77.0.12'))).toBe(true);
    await lab.cutPort('lb2');
    expect(await eventually(() => spread('10.77.0.11'), 5000)).toBe(true);
    await lab.restorePort('lb2');
    expect(await eventually(() => spread('10.77.0.11', '10.77.0.12'), 15_000)).toBe(true);
    const summary = await lab.vtysh('tor1', 'show bgp ipv4 unicast summary json');
    expect(summary).toMatchObject({ peers: { '10.77.0.12': { state: 'Established', pfxRcd: 1 } } });
  });

  it('cuts a host off without taking its carrier', async () => {
    const carrier = async () => (await lab.exec('lb1', ['ip', '-j', 'link', 'show', 'dev', 'eth0'])).stdout;
    const ping = async () => (await lab.exec('lb1', ['ping', '-c', '1', '-W', '1', '10.77.0.1'])).code;
    expect(await ping()).toBe(0);
    await lab.cutPort('lb1');
    try {
      expect(JSON.parse(await carrier())).toMatchObject([{ operstate: 'UP' }]);
      expect(await carrier()).toContain('LOWER_UP');
      expect(await ping()).not.toBe(0);
    } finally {
      await lab.restorePort('lb1');
    }
    expect(await ping()).toBe(0);
  });

  it('stops, kills and starts servers and moves VIPs', async () => {
    for (const end of [lab.stopServer, lab.killServer]) {
      await end('b3');
      expect(await lab.processes('b3')).toEqual([]);
      expect(await ask('http://10.77.0.23/', 1)).toEqual([]);
      await lab.startServer('b3');
      await lab.startServer('b3');
      expect(await ask('http://10.77.0.23/', 1)).toEqual(['b3 198.51.100.7']);
    }
    const addresses = async () =>
      (await lab.exec('b3', ['ip', '-br', 'address', 'show', 'dev', 'lo'])).stdout;
    await lab.addVip('b3', '203.0.113.99');
    await lab.addVip('b3', '2001:db8:77::99');
    expect(await addresses()).toMatch(/203\.0\.113\.99\/32.*2001:db8:77::99\/128/);
    await lab.removeVip('b3', '203.0.113.99');
    await lab.removeVip('b3', '2001:db8:77::99');
    expect(await addresses()).not.toContain('99');
  });

  it('says whom it knows when asked for another', async () => {
    await expect(lab.exec('lb9', ['true'])).rejects.toThrow(
      /no host "lb9".* client, tor1, tor2, lb1, lb2, b1, b2, b3/,
    );
    await expect(lab.killServer('lb1')).rejects.toThrow(/lb1 is a l4d; wanted is one of b1, b2, b3/);
  });

  it('runs beside another lab, refuses to be built twice, and leaves nothing when it goes', async () => {
    await expect(lab.up()).rejects.toThrow(/is up already/);
    const other = createLab(twoTor, { id: `${id}-b` });
    try {
      await other.up();
      await other.killServer('b1');
      expect(await ask('http://10.77.0.21/', 1)).toEqual(['b1 198.51.100.7']);
      await other.down();
      expect(await ask('http://10.77.0.21/', 1)).toEqual(['b1 198.51.100.7']);
    } finally {
      await other.down();
    }

    lab.spawn('lb1', ['sh', '-c', 'trap "" TERM; sleep 1000; sleep 1000'], { stdio: 'ignore' });
    await writeFile(`${lab.env('lb1').L4D_RUN_DIR}/left`, 'something');
    await lab.down();
    await lab.down();
    expect(await traces()).toEqual([]);

    await lab.up();
    expect(await ask('http://10.77.0.21/', 1)).toEqual(['b1 198.51.100.7']);
  });

  it('is built again over what a crashed run has left', async () => {
    // As after a crash half-way: the record says that the lab is not ready.
    const record = { topology: twoTor.name, namespaces: [`${id}-lb1`], ready: false, startedAt: '' };
    await writeFile(`/run/l4d-lab/${id}/lab.json`, JSON.stringify(record));
    await lab.up();
    expect(await ask('http://10.77.0.22/', 1)).toEqual(['b2 198.51.100.7']);
    await lab.down();
    expect(await traces()).toEqual([]);
  });
});
