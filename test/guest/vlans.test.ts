/**
 * Tagged traffic, single and double, between the kernel's own VLAN devices at router and backend: the balancer sends on what
 * it gets with the tags that it has, and answers with them.
 *
 *   client ─ router ─ br0 ┬ eth0 lb
 *                         └ eth0 tenant      VLAN 42, and 42 within 100 (802.1ad), are devices of router and tenant
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bulkClient, bulkServer, until } from '../integration/support/bulk-traffic.ts';
import { ipIn, runIn } from '../integration/support/network-namespace.ts';
import { createTunnelLab, type TunnelLab, vips } from '../integration/support/tunnel-lab.ts';
import { linkToBridge } from './support/bond.ts';

let lab: TunnelLab;
let client: ReturnType<typeof bulkClient>;

const bytes = 400_000;
const vlans = [
  { name: 'untagged', device: '', net: '94' },
  { name: 'VLAN 42', device: '.42', net: '95' },
  { name: 'VLAN 42 within 100', device: '.100.42', net: '96' },
] as const;
const ways = [
  { name: 'l2', vip: vips.ipv4, port: 80, family: 4 },
  { name: 'l2, IPv6', vip: vips.ipv6, port: 80, family: 6 },
] as const;

const config = `version: 1
host:
  interface: eth0
vips:
  - name: four
    address: ${vips.ipv4}
    port: 80
    check: { type: tcp, interval: 3s, timeout: 2900ms, rise: 1, fall: 2 }
    backends: [{ address: 10.94.1.22 }]
  - name: six
    address: "${vips.ipv6}"
    port: 80
    check: { type: tcp, interval: 3s, timeout: 2900ms, rise: 1, fall: 2 }
    backends: [{ address: "fd94:1::22" }]
`;

function tag(name: string, device: string): void {
  ipIn(name, `link add link ${device} name ${device}.42 type vlan id 42`);
  ipIn(name, `link add link ${device} name ${device}.100 type vlan proto 802.1ad id 100`);
  ipIn(name, `link add link ${device}.100 name ${device}.100.42 type vlan id 42`);
  // A device has room for one tag beside its MTU.
  ipIn(name, `link set ${device}.100.42 mtu 1496`);
  for (const suffix of ['.42', '.100', '.100.42']) ipIn(name, `link set ${device}${suffix} up`);
}

beforeAll(async () => {
  lab = createTunnelLab('vlan');
  client = bulkClient(lab);
  const { lb, router, tenant } = lab.names;
  ipIn(lb, 'link del eth0');
  ipIn(router, 'link add br0 type bridge');
  ipIn(router, 'link set br0 up');
  linkToBridge(lb, 'eth0', ['10.94.1.11/24', 'fd94:1::11/64'], router, 'br0');
  linkToBridge(tenant, 'eth0', [], router, 'br0');
  tag(router, 'br0');
  tag(tenant, 'eth0');
  for (const { device, net } of vlans) {
    for (const [name, on, own] of [
      [router, `br0${device}`, '1'],
      [tenant, `eth0${device}`, '22'],
    ] as const) {
      ipIn(name, `address add 10.${net}.1.${own}/24 dev ${on}`);
      ipIn(name, `address add fd${net}:1::${own}/64 dev ${on} nodad`);
    }
  }
  ipIn(lb, 'route add default via 10.94.1.1');
  ipIn(lb, '-6 route add default via fd94:1::1');
  for (const vip of Object.values(vips))
    ipIn(tenant, `address add ${vip} dev lo${vip.includes(':') ? ' nodad' : ''}`);
  const settings = ['all', 'eth0', 'eth0/42', 'eth0/100/42'].map(
    (device) => `net.ipv4.conf.${device}.rp_filter=0`,
  );
  runIn(
    tenant,
    'sysctl',
    '-qw',
    ...settings,
    'net.ipv4.conf.all.arp_ignore=1',
    'net.ipv4.conf.all.arp_announce=2',
  );
  come(vlans[0]);
  lab.start('tenant', process.execPath, '-e', bulkServer([80], []));
  await lab.startDaemon(config);
});

afterAll(() => lab?.remove());

/** Both ways by that VLAN: the router's packets for the VIPs, and the backend's answers. */
function come({ device, net }: (typeof vlans)[number]): void {
  const { lb, router, tenant } = lab.names;
  const mac = JSON.parse(ipIn(lb, '-j link show eth0'))[0].address as string;
  for (const [flag, vip, gateway, host] of [
    ['-4', vips.ipv4, `10.${net}.1.1`, `10.${net}.1.11`],
    ['-6', vips.ipv6, `fd${net}:1::1`, `fd${net}:1::11`],
  ] as const) {
    ipIn(router, `neigh replace ${host} lladdr ${mac} dev br0${device}`);
    ipIn(router, `${flag} route replace ${vip} via ${host} dev br0${device}`);
    ipIn(tenant, `${flag} route replace default via ${gateway} dev eth0${device}`);
  }
}

it('finds its backends', async () => {
  await until(lab, 'all backends are up', async () =>
    (await lab.status()).vips.flatMap((vip) => vip.backends).every(({ state }) => state === 'up'),
  );
});

it.each(vlans)('$name: bulk both ways, echo requests, and nothing by another VLAN', async (vlan) => {
  come(vlan);
  const framesOf = () =>
    vlans.map(
      ({ device }) =>
        JSON.parse(ipIn(lab.names.tenant, `-s -j link show eth0${device}`))[0].stats64.rx.packets as number,
    );
  for (const way of ways) {
    const before = framesOf();
    expect(await client.upload(way, bytes), way.name).toBe(String(bytes));
    expect(await client.download(way, bytes), way.name).toBe(String(bytes));
    const more = framesOf().map((count, place) => count - (before[place] ?? 0));
    for (const [place, one] of vlans.entries()) {
      // The device below counts what it hands to those above it.
      if (one === vlan) expect(more[place], way.name).toBeGreaterThan(200);
      else if (place > 0) expect(more[place], `${way.name} by ${one.name}`).toBeLessThan(20);
    }
  }
  for (const vip of Object.values(vips))
    expect(await lab.ask('client', 'ping', '-q', '-i', '0.2', '-c', '5', vip), vip).toMatch(
      / 0% packet loss/,
    );
});
