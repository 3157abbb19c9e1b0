/** Backends in tenants' networks, through the kernel's own VXLAN devices: on the backend itself, and behind a bridge. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { bulkBytes, bulkClient, bulkServer, until } from './support/bulk-traffic.ts';
import { ipIn, runIn } from './support/network-namespace.ts';
import { createTunnelLab, type TunnelLab, vips } from './support/tunnel-lab.ts';

let lab: TunnelLab;
let client: ReturnType<typeof bulkClient>;

/** The backend's machine ends both networks: it is in 42 itself, and bridges 43 to a machine of a tenant. */
const own = {
  vni: 42,
  address: { 4: '10.42.0.21', 6: 'fd42::21' },
  mac: { 6: '02:42:0a:2a:00:15' },
} as const;
const tenant = {
  vni: 43,
  address: { 4: '10.43.0.22', 6: 'fd43::22' },
  mac: { 4: '02:00:00:43:00:22', 6: '02:00:00:43:00:22' },
} as const;
const remotes = { 4: '10.80.2.21', 6: 'fd80:2::21' } as const;
const overhead = { 4: 50, 6: 70 } as const;

const ways = ([4, 6] as const).flatMap((inner) =>
  ([4, 6] as const).flatMap((outer) =>
    ([own, tenant] as const).map((network, place) => ({
      name: `ipv${inner} over IPv${outer} in ${network.vni}`,
      vip: inner === 4 ? vips.ipv4 : vips.ipv6,
      port: 80 + place + (outer === 6 ? 2 : 0),
      inner,
      outer,
      network,
    })),
  ),
);

type Way = (typeof ways)[number];
const datagramPort = (way: Way) => way.port + 10;

/** IPv4 goes by the MAC address that follows from the backend's; the machine has one, so IPv6 is told it. */
function macText({ network, inner }: Way): string {
  const macs: { readonly 4?: string; readonly 6?: string } = network.mac;
  const mac = macs[inner];
  return mac === undefined ? '' : `, mac: "${mac}"`;
}

const config = `version: 1
host:
  interface: eth0
  tunnel: { sourceIpv4: 10.99.0.0/16, sourceIpv6: "fd99::/96" }
vips:
${ways
  .flatMap((way) =>
    (['tcp', 'udp'] as const).map(
      (protocol) => `  - name: ${protocol}-${way.inner}-${way.outer}-${way.network.vni}
    address: "${way.vip}"
    port: ${protocol === 'tcp' ? way.port : datagramPort(way)}
    protocol: ${protocol}
    forward: vxlan
    check: { type: ${protocol === 'tcp' ? 'tcp, interval: 500ms, timeout: 400ms, rise: 1, fall: 2' : 'none'} }
    backends:
      - address: "${way.network.address[way.inner]}"
        vxlan: { vni: ${way.network.vni}, remote: "${remotes[way.outer]}"${macText(way)} }
`,
    ),
  )
  .join('')}`;

const backends = async () => (await lab.status()).vips.flatMap((vip) => vip.backends);
const allUp = async () => (await backends()).every(({ state }) => state === 'up');
const reasons = async () => (await lab.status()).dataplane.dropReasons;

const setup = (...more: readonly string[]) =>
  lab.onBackend(
    ...['setup', '--forward', 'vxlan', '--vni', '42', '--tenant-address', own.address[4]],
    ...['--interface', 'eth0', '--from', '10.99.0.0/16', '--from', 'fd99::/96'],
    ...Object.values(vips).flatMap((vip) => ['--vip', vip]),
    ...more,
  );

/** A bridge of the tenant's network, with a VXLAN port for each outer family, and the tenant's machine behind it. */
function buildTenant(): void {
  const { backend, tenant: machine } = lab.names;
  ipIn(backend, 'link add br43 type bridge');
  for (const [name, local] of [
    ['vx43', remotes[4]],
    ['vs43', remotes[6]],
  ] as const) {
    const checks = local.includes(':') ? ' udp6zerocsumrx' : '';
    ipIn(backend, `link add ${name} type vxlan id 43 local ${local} dstport 4789 nolearning${checks}`);
    ipIn(backend, `link set ${name} master br43 up`);
  }
  ipIn(backend, `link add to-tenant type veth peer name eth0 netns ${machine}`);
  ipIn(backend, 'link set to-tenant master br43 up');
  ipIn(backend, 'address add 10.43.0.1/24 dev br43');
  ipIn(backend, 'address add fd43::1/64 dev br43 nodad');
  ipIn(backend, 'link set br43 up');
  ipIn(machine, `link set eth0 address ${tenant.mac[4]} up`);
  ipIn(machine, `address add ${tenant.address[4]}/24 dev eth0`);
  ipIn(machine, `address add ${tenant.address[6]}/64 dev eth0 nodad`);
  ipIn(machine, 'route add default via 10.43.0.1');
  ipIn(machine, '-6 route add default via fd43::1');
  for (const vip of Object.values(vips))
    ipIn(
      machine,
      `address add ${vip}/${vip.includes(':') ? '128' : '32'} dev lo${vip.includes(':') ? ' nodad' : ''}`,
    );
  const forwarding = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'];
  runIn(
    backend,
    'sysctl',
    '-qw',
    ...forwarding,
    'net.ipv4.conf.all.rp_filter=0',
    'net.ipv4.conf.br43.rp_filter=0',
  );
  // The VIP is an address of the hypervisor too, as a backend of network 42: what the tenant sends from it is not odd.
  runIn(backend, 'sysctl', '-qw', 'net.ipv4.conf.br43.accept_local=1');
  runIn(machine, 'sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.eth0.rp_filter=0');
}

beforeAll(async () => {
  lab = createTunnelLab('vxl');
  client = bulkClient(lab);
  await lab.startDaemon(config);
  setup('--mtu', '1600');
  buildTenant();
  for (const machine of ['backend', 'tenant'] as const)
    lab.start(machine, process.execPath, '-e', bulkServer([80, 81, 82, 83], [90, 91, 92, 93]));
});

afterAll(() => lab?.remove());

it('checks backends in their networks, and shows where they are', async () => {
  await until(lab, 'all backends are up', allUp);
  const [first] = await backends();
  expect(first).toMatchObject({
    forward: 'vxlan',
    vxlan: { vni: 42, remote: remotes[4], mac: '02:42:0a:2a:00:15' },
  });
});

it('tells clients what comes through, and bulk goes both ways in every pair of families', async () => {
  for (const way of ways) {
    client.forgetMtu(way.vip);
    const before = await reasons();
    expect(await client.upload(way), way.name).toBe(String(bulkBytes));
    expect(await client.download(way), way.name).toBe(String(bulkBytes));
    const after = await reasons();
    expect((after['tx_too_big'] ?? 0) - (before['tx_too_big'] ?? 0), way.name).toBeGreaterThan(0);
    expect(client.knownMtu(way.vip), way.name).toBe(1500 - overhead[way.outer]);
  }
});

it('takes datagrams up to the last byte that fits', async () => {
  await Promise.all(
    Object.values(vips).map(async (vip) => {
      for (const way of ways.filter((one) => one.vip === vip)) {
        client.forgetMtu(vip);
        const most = 1500 - overhead[way.outer] - (way.inner === 4 ? 28 : 48);
        const send = (bytes: number) => client.datagram(vip, datagramPort(way), bytes);
        expect(await send(most - 1), way.name).toBe(String(most - 1));
        expect(await send(most), way.name).toBe(String(most));
        expect(client.knownMtu(vip), way.name).toBe(1500);
        expect(await send(most + 1), way.name).toBe('');
        expect(client.knownMtu(vip), way.name).toBe(1500 - overhead[way.outer]);
      }
    }),
  );
});

it('a daemon that starts again takes what is there as it is', async () => {
  await lab.killDaemon();
  const [way] = ways;
  if (way === undefined) throw new Error('no way');
  expect(await client.upload(way)).toBe(String(bulkBytes));
  const before = lab.log().length;
  await lab.startDaemon(config);
  await until(lab, 'all backends are up', allUp);
  // Somebody else's hand in the kernel would be told as a warning, and every other write as made.
  expect(lab.log().slice(before)).not.toMatch(/somebody else changed|another layout|contradict/);
  for (const one of ways) expect(await client.upload(one, 100_000), one.name).toBe('100000');
});

it('with the segment size that setup gives, nothing is too big; what it made goes again', async () => {
  setup();
  for (const vip of Object.values(vips)) client.forgetMtu(vip);
  const before = await reasons();
  for (const way of ways.filter(({ network }) => network === own))
    expect(await client.upload(way), way.name).toBe(String(bulkBytes));
  expect((await reasons())['tx_too_big']).toBe(before['tx_too_big']);
  lab.onBackend('teardown', '--vni', '42', '--keep-unit', '--vip', vips.ipv4, '--vip', vips.ipv6);
  expect(ipIn(lab.names.backend, 'link show type vxlan')).not.toMatch(/l4dv/);
  const isOwn = ({ address }: { address: string }) => Object.values<string>(own.address).includes(address);
  await until(lab, 'checks fail in that network, and in no other', async () => {
    const seen = (await backends()).filter(({ reason }) => reason !== 'not checked');
    return seen.every((one) => one.state === (isOwn(one) ? 'down' : 'up'));
  });
});
