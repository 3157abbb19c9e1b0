/**
 * A balancer between two networks: clients come by eth0 (and later eth2), backends are behind eth1.
 *
 *   client ─── router ─── eth0 lb eth1 ─── backend
 *                 ├────── eth2 lb             │
 *                 └───────────────────────────┘  answers
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bulkBytes, bulkClient, bulkServer, until } from './support/bulk-traffic.ts';
import { ipIn, runIn } from './support/network-namespace.ts';
import { createTunnelLab, linkMachines, type TunnelLab, vips } from './support/tunnel-lab.ts';

let lab: TunnelLab;
let client: ReturnType<typeof bulkClient>;

const inside = { 4: '10.81.2.21', 6: 'fd81:2::21' } as const;
const overhead = {
  l2: { 4: 0, 6: 0 },
  ipip: { 4: 20, 6: 40 },
  gue: { 4: 28, 6: 48 },
  vxlan: { 4: 50, 6: 70 },
} as const;
const ways = (['l2', 'ipip', 'gue', 'vxlan'] as const).flatMap((forward, place) =>
  ([4, 6] as const).map((family) => ({
    name: `${forward} ${family}`,
    forward,
    family,
    vip: family === 4 ? vips.ipv4 : vips.ipv6,
    port: 80 + place,
  })),
);

type Way = (typeof ways)[number];

function config(interfaces: readonly string[] = []): string {
  const backendOf = ({ forward, family }: Way) =>
    forward === 'vxlan'
      ? `{ address: "${family === 4 ? '10.42.0.21' : 'fd42::21'}", vxlan: { vni: 42, remote: "${inside[family]}", mac: "02:42:0a:2a:00:15" } }`
      : `{ address: "${inside[family]}" }`;
  return `version: 1
host:
  interface: eth0
  interfaces: [${interfaces.join(', ')}]
vips:
${ways
  .map(
    (way) => `  - name: ${way.forward}-${way.family}
    address: "${way.vip}"
    port: ${way.port}
    forward: ${way.forward}
    check: { type: tcp, interval: 500ms, timeout: 400ms, rise: 1, fall: 2 }
    backends: [${backendOf(way)}]
`,
  )
  .join('')}`;
}

const status = async () => await lab.status();
const backends = async () => (await status()).vips.flatMap((vip) => vip.backends);
const allAre = (state: string) => async () => (await backends()).every((one) => one.state === state);
const reasons = async () => (await status()).dataplane.dropReasons;

function attachDecap(): void {
  lab.onBackend(
    ...['decap', 'attach', '--interface', 'in0', '--from', '10.81.2.11/32', '--from', 'fd81:2::11/128'],
    ...Object.values(vips).flatMap((vip) => ['--vip', vip]),
  );
}

beforeAll(async () => {
  lab = createTunnelLab('two');
  client = bulkClient(lab);
  const { lb, backend, router } = lab.names;
  linkMachines(
    { name: lb, device: 'eth1', addresses: ['10.81.2.11/24', 'fd81:2::11/64'] },
    { name: backend, device: 'in0', addresses: [`${inside[4]}/24`, `${inside[6]}/64`] },
  );
  linkMachines(
    { name: lb, device: 'eth2', addresses: ['10.80.4.11/24', 'fd80:4::11/64'] },
    { name: router, device: 'to-lb2', addresses: ['10.80.4.1/24', 'fd80:4::1/64'] },
  );
  for (const family of ['4', '6']) {
    const vip = family === '4' ? vips.ipv4 : vips.ipv6;
    const checks = family === '6' ? ' udp6zerocsumrx' : '';
    ipIn(backend, `address add ${vip} dev lo${family === '6' ? ' nodad' : ''}`);
    ipIn(
      backend,
      `link add vx${family} address 02:42:0a:2a:00:15 type vxlan id 42 local ${inside[family === '4' ? 4 : 6]} dstport 4789 nolearning${checks}`,
    );
    ipIn(backend, `link set vx${family} up`);
  }
  runIn(
    backend,
    ...['sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.all.arp_ignore=1'],
    ...['net.ipv4.conf.all.arp_announce=2', 'net.ipv4.conf.in0.rp_filter=0', 'net.ipv4.conf.vx4.rp_filter=0'],
    'net.ipv4.conf.vx6.rp_filter=0',
  );
  // The program of the tunnels' end stands in for the one that the port had to have.
  ipIn(backend, 'link set dev in0 xdpdrv off');
  attachDecap();
  await lab.startDaemon(config());
  lab.start('backend', process.execPath, '-e', bulkServer([80, 81, 82, 83], [90]));
});

afterAll(() => lab?.remove());

it('checks backends behind the other interface, in every mode, and says by which', async () => {
  await until(lab, 'all backends are up', allAre('up'));
  expect((await backends()).map((backend) => backend.interface)).toEqual(ways.map(() => 'eth1'));
});

it('forwards to them in every mode, bulk both ways', async () => {
  for (const way of ways) {
    client.forgetMtu(way.vip);
    const before = await reasons();
    expect(await client.upload(way), way.name).toBe(String(bulkBytes));
    expect(await client.download(way), way.name).toBe(String(bulkBytes));
    const after = await reasons();
    const more = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
    expect(more('note_other_interface'), way.name).toBeGreaterThan(1000);
    expect(more(way.forward === 'l2' ? 'tx_forward' : 'tx_tunnel'), way.name).toBeGreaterThan(1000);
    expect(client.knownMtu(way.vip), way.name).toBe(1500 - overhead[way.forward][way.family]);
  }
});

it('answers what the other interface is too small for', async () => {
  const { lb, backend } = lab.names;
  for (const [name, device] of [
    [lb, 'eth1'],
    [backend, 'in0'],
  ] as const)
    ipIn(name, `link set ${device} mtu 1400`);
  try {
    for (const way of ways) {
      const fits = 1400 - overhead[way.forward][way.family];
      await until(lab, 'the size is known', async () => {
        client.forgetMtu(way.vip);
        await client.upload(way, 20_000);
        return client.knownMtu(way.vip) === fits;
      });
      expect(await client.upload(way), way.name).toBe(String(bulkBytes));
    }
  } finally {
    for (const [name, device] of [
      [lb, 'eth1'],
      [backend, 'in0'],
    ] as const)
      ipIn(name, `link set ${device} mtu 1500`);
    for (const vip of Object.values(vips)) client.forgetMtu(vip);
  }
});

it('serves another interface and leaves it again, and loses no packet of the first', async () => {
  const [way] = ways;
  if (way === undefined) throw new Error('no way');
  // Echo requests are answered by the program itself: one that is lost met no program.
  const pings = lab.ask('client', 'ping', '-q', '-i', '0.002', '-c', '800', vips.ipv4);
  lab.apply(config(['eth2']));
  expect((await status()).host.interfaces).toMatchObject([{ name: 'eth2' }]);
  ipIn(lab.names.router, `route replace ${vips.ipv4} via 10.80.4.11`);
  const before = ipIn(lab.names.lb, '-s -j link show eth2');
  expect(await client.upload(way)).toBe(String(bulkBytes));
  expect(await client.download(way)).toBe(String(bulkBytes));
  const packetsOf = (json: string) => JSON.parse(json)[0].stats64.rx.packets as number;
  const came = packetsOf(ipIn(lab.names.lb, '-s -j link show eth2')) - packetsOf(before);
  expect(came).toBeGreaterThan(1000);
  expect(await pings).toMatch(/ 0% packet loss/);
  ipIn(lab.names.router, `route replace ${vips.ipv4} via 10.80.1.11`);
  const more = lab.ask('client', 'ping', '-q', '-i', '0.002', '-c', '500', vips.ipv4);
  lab.apply(config());
  expect((await status()).host.interfaces).toBeUndefined();
  expect(ipIn(lab.names.lb, 'link show eth2')).not.toMatch(/prog\/xdp/);
  expect(await more).toMatch(/ 0% packet loss/);
});

it('takes backends out while their interface sends nothing that is redirected, which checks do not see', async () => {
  const { backend } = lab.names;
  lab.onBackend('decap', 'detach');
  await until(lab, 'all backends are down', allAre('down'));
  expect((await backends())[0]?.reason).toMatch(/leads over eth1, which sends nothing that XDP redirects/);
  attachDecap();
  await until(lab, 'all backends are up', allAre('up'));
  expect(ipIn(backend, 'link show in0')).toMatch(/prog\/xdp/);
});

it('takes backends out while their interface is down, also one that is made anew, and back', async () => {
  const { lb, backend } = lab.names;
  ipIn(lb, 'link set eth1 down');
  await until(lab, 'all backends are down', allAre('down'));
  ipIn(lb, 'link set eth1 up');
  ipIn(lb, 'address replace fd81:2::11/64 dev eth1 nodad');
  await until(lab, 'all backends are up', allAre('up'));
  ipIn(lb, 'link del eth1');
  await until(lab, 'all backends are down', allAre('down'));
  linkMachines(
    { name: lb, device: 'eth1', addresses: ['10.81.2.11/24', 'fd81:2::11/64'] },
    { name: backend, device: 'in0', addresses: [`${inside[4]}/24`, `${inside[6]}/64`] },
  );
  runIn(backend, 'sysctl', '-qw', 'net.ipv4.conf.in0.rp_filter=0');
  const isTunnelled = ({ forward = 'l2' }) => forward === 'ipip' || forward === 'gue';
  await until(lab, 'those without the program at the end are up', async () =>
    (await backends()).every((one) => one.state === (isTunnelled(one) ? 'down' : 'up')),
  );
  for (const way of ways.filter((one) => !isTunnelled(one)))
    expect(await client.upload(way), way.name).toBe(String(bulkBytes));
});

it('a daemon that starts again keeps the numbers of its interfaces; detach ends all of it', async () => {
  lab.apply(config(['eth2']));
  await lab.killDaemon();
  for (const way of ways.filter(({ forward }) => forward === 'l2'))
    expect(await client.upload(way), way.name).toBe(String(bulkBytes));
  await lab.startDaemon(config(['eth2']));
  expect((await status()).host.interfaces).toMatchObject([{ name: 'eth2' }]);
  await until(lab, 'a backend is up', async () => (await backends())[0]?.state === 'up');
  const said = lab.onBalancer('detach', '--all');
  expect(said.match(/XDP program detached/g)).toHaveLength(2);
  for (const name of ['eth0', 'eth2'])
    expect(ipIn(lab.names.lb, `link show ${name}`)).not.toMatch(/prog\/xdp/);
  lab.onBalancer('attach', '--all');
  for (const name of ['eth0', 'eth2']) expect(ipIn(lab.names.lb, `link show ${name}`)).toMatch(/prog\/xdp/);
});
