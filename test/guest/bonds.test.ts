/**
 * Bonds of every mode that XDP knows, at one balancer: traffic comes by each and leaves by each.
 *
 *   client ─ router ┬ br0 ══ bond0 (active-backup)   lb
 *                   ├ br1 ══ bond1 (balance-xor)     lb
 *                   ├ br2 ══ bond2 (802.3ad)         lb      tenant: a backend in each of the three subnets
 *                   └─ backend                               backend: behind the router, by the kernel's ipip device
 */
import { findHostInterface } from '@l4d/l4d/io/host-interface.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bulkClient, bulkServer, until } from '../integration/support/bulk-traffic.ts';
import { enterNamespace, ipIn, runIn } from '../integration/support/network-namespace.ts';
import { createTunnelLab, type TunnelLab, vips } from '../integration/support/tunnel-lab.ts';
import { linkByBond, linkToBridge, partsOf, portsOf } from './support/bond.ts';

let lab: TunnelLab;
let client: ReturnType<typeof bulkClient>;

const bonds = [
  { device: 'bond0', mode: 'active-backup', bridge: 'br0', net: '90' },
  { device: 'bond1', mode: 'balance-xor', bridge: 'br1', net: '91' },
  { device: 'bond2', mode: '802.3ad', bridge: 'br2', net: '92' },
] as const;
const forwards = ['l2', 'ipip', 'nat'] as const;

const bytes = 400_000;

/** A VIP for each bond that its backend is behind and each mode of forwarding. */
const ways = bonds.flatMap((bond, place) =>
  forwards.map((forward, kind) => ({
    name: `${forward} by ${bond.device} (${bond.mode})`,
    bond,
    forward,
    vip: vips.ipv4,
    port: 80 + place * forwards.length + kind,
    backend: forward === 'l2' ? `10.${bond.net}.1.22` : `10.80.2.${bond.net}`,
  })),
);

const config = `version: 1
host:
  interface: bond0
  interfaces: [bond1, bond2]
  tunnel: { sourceIpv4: 10.99.0.0/16 }
vips:
${ways
  .map(
    ({ forward, port, backend }) => `  - name: port-${port}
    address: ${vips.ipv4}
    port: ${port}
    forward: ${forward}
    check: { type: tcp, interval: 3s, timeout: 2900ms, rise: 1, fall: 2 }
    backends: [{ address: ${backend} }]
`,
  )
  .join('')}`;

const backends = async () => (await lab.status()).vips.flatMap((vip) => vip.backends);
const reasons = async () => (await lab.status()).dataplane.dropReasons;

beforeAll(async () => {
  lab = createTunnelLab('bond');
  client = bulkClient(lab);
  const { lb, router, backend, tenant } = lab.names;
  ipIn(lb, 'link del eth0');
  for (const { device, mode, bridge, net } of bonds) {
    linkByBond({
      ...{ name: lb, device, mode, addresses: [`10.${net}.1.11/24`] },
      ...{ switchName: router, bridge, bridgeAddresses: [`10.${net}.1.1/24`] },
    });
    linkToBridge(tenant, `eth${net}`, [`10.${net}.1.22/24`], router, bridge);
    ipIn(backend, `address add 10.80.2.${net}/32 dev lo`);
    ipIn(router, `route add 10.80.2.${net} via 10.80.2.21`);
    ipIn(lb, `route add 10.80.2.${net} via 10.${net}.1.1`);
  }
  ipIn(lb, 'route add default via 10.90.1.1');
  ipIn(tenant, 'route add default via 10.90.1.1');
  for (const name of [tenant, backend]) {
    ipIn(name, `address add ${vips.ipv4}/32 dev lo`);
    const names = ['all.rp_filter=0', 'default.rp_filter=0', 'all.arp_ignore=1', 'all.arp_announce=2'];
    runIn(name, 'sysctl', '-qw', ...names.map((setting) => `net.ipv4.conf.${setting}`));
  }
  ipIn(backend, 'link set tunl0 up');
  runIn(backend, 'sysctl', '-qw', 'net.ipv4.conf.tunl0.rp_filter=0', 'net.ipv4.conf.eth0.rp_filter=0');
  for (const { net } of bonds) runIn(tenant, 'sysctl', '-qw', `net.ipv4.conf.eth${net}.rp_filter=0`);
  const ports = ways.map(({ port }) => port);
  for (const machine of ['tenant', 'backend'] as const)
    lab.start(machine, process.execPath, '-e', bulkServer(ports, []));
  comeBy(bonds[0]);
  await lab.startDaemon(config);
});

afterAll(() => lab?.remove());

/** Lets the router send the VIP's packets over that bond. */
function comeBy({ net }: (typeof bonds)[number]): void {
  ipIn(lab.names.router, `route replace ${vips.ipv4} via 10.${net}.1.11`);
}

/** Frames that have come to the switch's two ports of a bond. */
function framesAt(bridge: string): number[] {
  return portsOf(bridge).map(
    (port) => JSON.parse(ipIn(lab.names.router, `-s -j link show ${port}`))[0].stats64.rx.packets as number,
  );
}

it('runs natively on each bond and its parts', async () => {
  const { host, dataplane } = await lab.status();
  expect(host.interfaces?.map(({ name }) => name)).toEqual(['bond1', 'bond2']);
  expect(JSON.stringify({ host, dataplane })).toContain('native');
  for (const { device } of bonds) {
    expect(ipIn(lab.names.lb, `link show ${device}`)).toMatch(/prog\/xdp/);
    expect(ipIn(lab.names.lb, `link show ${device}`)).not.toMatch(/xdpgeneric/);
  }
});

it('refuses a part of a bond', async () => {
  const back = enterNamespace(lab.names.lb);
  try {
    await expect(findHostInterface(partsOf('bond1')[1])).rejects.toThrow(
      /is a part of bond1 \(bond\).*name bond1/,
    );
  } finally {
    back();
  }
});

it('checks all backends, over each bond', async () => {
  await until(lab, 'all backends are up', async () =>
    (await backends()).every(({ state }) => state === 'up'),
  );
});

it.each(bonds)(
  'what comes by $device ($mode) goes to backends behind each bond, bulk both ways',
  async (by) => {
    comeBy(by);
    for (const way of ways) {
      const before = await reasons();
      expect(await client.upload(way, bytes), way.name).toBe(String(bytes));
      expect(await client.download(way, bytes), way.name).toBe(String(bytes));
      const after = await reasons();
      const more = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
      if (way.bond !== by) expect(more('note_other_interface'), way.name).toBeGreaterThan(100);
      else expect(more('note_other_interface'), way.name).toBeLessThan(way.forward === 'nat' ? 1e6 : 20);
    }
  },
);

it.each(bonds)('$device ($mode) sends by the parts that it should', async ({ bridge, mode, ...by }) => {
  comeBy({ bridge, mode, ...by } as (typeof bonds)[number]);
  const before = framesAt(bridge);
  await lab.ask('client', 'ping', '-q', '-i', '0.05', '-c', '20', vips.ipv4);
  const own = ways.filter(({ bond }) => bond.bridge === bridge);
  for (let turn = 0; turn < 4; turn++)
    await Promise.all(own.map(async (way) => await client.upload(way, 50_000)));
  const [one = 0, other = 0] = framesAt(bridge).map((count, place) => count - (before[place] ?? 0));
  if (mode === 'active-backup') expect(Math.min(one, other)).toBeLessThan(20);
  else expect(Math.min(one, other)).toBeGreaterThan(20);
  expect(Math.max(one, other)).toBeGreaterThan(100);
});

it.each(bonds)('$device ($mode) survives the loss of each of its parts', async (by) => {
  comeBy(by);
  const { router } = lab.names;
  const own = ways.filter(({ bond }) => bond === by);
  for (const port of portsOf(by.bridge)) {
    const transfers = own.map(async (way) => await client.upload(way, 4 * bytes));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    ipIn(router, `link set ${port} down`);
    expect(await Promise.all(transfers), port).toEqual(own.map(() => String(4 * bytes)));
    for (const way of own)
      expect(await client.download(way, bytes), `${way.name}, ${port}`).toBe(String(bytes));
    ipIn(router, `link set ${port} up`);
    await until(lab, `${by.device} is whole`, async () => {
      const parts = partsOf(by.device).map((part) => ipIn(lab.names.lb, `-d link show ${part}`));
      return parts.every((text) => text.includes('mii_status UP'));
    });
  }
});

it('a part that leaves and comes back gets the program', async () => {
  const { lb } = lab.names;
  const [part] = partsOf('bond1');
  ipIn(lb, `link set ${part} nomaster`);
  expect(ipIn(lb, `link show ${part}`)).not.toMatch(/prog\/xdp/);
  comeBy(bonds[1]);
  const own = ways.filter(({ bond }) => bond === bonds[1]);
  for (const way of own) expect(await client.upload(way, bytes), way.name).toBe(String(bytes));
  ipIn(lb, `link set ${part} down`);
  ipIn(lb, `link set ${part} master bond1`);
  for (const way of own) expect(await client.upload(way, bytes), way.name).toBe(String(bytes));
});
