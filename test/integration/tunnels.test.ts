/** A backend in another subnet, behind a router, through IPIP and GUE: bulk both ways, checks, and what is too big. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bulkBytes, bulkClient, bulkServer, until } from './support/bulk-traffic.ts';
import { ipIn } from './support/network-namespace.ts';
import { createTunnelLab, type TunnelLab, vips } from './support/tunnel-lab.ts';

let lab: TunnelLab;
let client: ReturnType<typeof bulkClient>;

/** One VIP a way: family of the VIP, family of the backend, mode. */
const ways = [
  { name: 'ipip4', vip: vips.ipv4, port: 80, backend: '10.80.2.21', forward: 'ipip', overhead: 20 },
  { name: 'gue4', vip: vips.ipv4, port: 81, backend: '10.80.2.21', forward: 'gue', overhead: 28 },
  { name: 'ip4in6', vip: vips.ipv4, port: 82, backend: 'fd80:2::21', forward: 'ipip', overhead: 40 },
  { name: 'gue4in6', vip: vips.ipv4, port: 83, backend: 'fd80:2::21', forward: 'gue', overhead: 48 },
  { name: 'ip6ip6', vip: vips.ipv6, port: 80, backend: 'fd80:2::21', forward: 'ipip', overhead: 40 },
  { name: 'gue6', vip: vips.ipv6, port: 81, backend: 'fd80:2::21', forward: 'gue', overhead: 48 },
  { name: 'ip6in4', vip: vips.ipv6, port: 82, backend: '10.80.2.21', forward: 'ipip', overhead: 20 },
  { name: 'gue6in4', vip: vips.ipv6, port: 83, backend: '10.80.2.21', forward: 'gue', overhead: 28 },
] as const;

type Way = (typeof ways)[number];

/** The protocol's own VIP for datagrams is ten ports higher. */
const datagramPort = (way: Way) => way.port + 10;

function config(gueVariant: 0 | 1): string {
  const vip = (way: Way, protocol: 'tcp' | 'udp') => `  - name: ${way.name}-${protocol}
    address: "${way.vip}"
    port: ${protocol === 'tcp' ? way.port : datagramPort(way)}
    protocol: ${protocol}
    forward: ${way.forward}
    check: { type: ${protocol === 'tcp' ? 'tcp' : 'none'}${protocol === 'tcp' ? ', interval: 500ms, timeout: 400ms, rise: 1, fall: 2' : ''} }
    backends: [{ address: "${way.backend}" }]
`;
  return `version: 1
host:
  interface: eth0
  tunnel: { sourceIpv4: 10.99.0.0/16, sourceIpv6: "fd99::/96", gueVariant: ${gueVariant} }
vips:
${ways.map((way) => vip(way, 'tcp') + vip(way, 'udp')).join('')}`;
}

const reasons = async () => (await lab.status()).dataplane.dropReasons;
const states = async () =>
  (await lab.status()).vips.flatMap(({ backends }) => backends.map(({ state }) => state));
const setup = (...more: readonly string[]) =>
  lab.onBackend(
    ...['setup', '--forward', 'gue', '--interface', 'eth0', '--from', '10.99.0.0/16', '--from', 'fd99::/96'],
    ...Object.values(vips).flatMap((vip) => ['--vip', vip]),
    ...more,
  );

beforeAll(async () => {
  lab = createTunnelLab('dpt');
  client = bulkClient(lab);
  await lab.startDaemon(config(1));
  // Without a smaller segment size, so that clients must find out what comes through.
  setup('--mtu', '1600');
  lab.start('backend', process.execPath, '-e', bulkServer([80, 81, 82, 83], [90, 91, 92, 93]));
});

afterAll(() => lab?.remove());

it('checks backends through their tunnels, and finds them up', async () => {
  await until(lab, 'all backends are up', async () => (await states()).every((state) => state === 'up'));
});

it('tells clients what comes through, and bulk goes both ways in every pair of families', async () => {
  for (const way of ways) {
    client.forgetMtu(way.vip);
    const before = await reasons();
    expect(await client.upload(way), way.name).toBe(String(bulkBytes));
    expect(await client.download(way), way.name).toBe(String(bulkBytes));
    const after = await reasons();
    expect((after['tx_too_big'] ?? 0) - (before['tx_too_big'] ?? 0), way.name).toBeGreaterThan(0);
    expect(client.knownMtu(way.vip), way.name).toBe(1500 - way.overhead);
  }
});

it('takes datagrams up to the last byte that fits', async () => {
  await Promise.all(
    ([vips.ipv4, vips.ipv6] as const).map(async (vip) => {
      for (const way of ways.filter((one) => one.vip === vip)) {
        client.forgetMtu(vip);
        const most = 1500 - way.overhead - (vip === vips.ipv4 ? 28 : 48);
        expect(await client.datagram(way.vip, datagramPort(way), most - 1), way.name).toBe(String(most - 1));
        expect(await client.datagram(way.vip, datagramPort(way), most), way.name).toBe(String(most));
        expect(client.knownMtu(vip), way.name).toBe(1500);
        expect(await client.datagram(way.vip, datagramPort(way), most + 1), way.name).toBe('');
        expect(client.knownMtu(vip), way.name).toBe(1500 - way.overhead);
      }
    }),
  );
});

it('tells backends what comes through to clients: ICMP errors about their answers go through the tunnels', async () => {
  ipIn(lab.names.router, 'link set to-client mtu 1300');
  try {
    // One a family: what the backend has learnt holds for the client's address.
    for (const way of ways.filter(({ name }) => name === 'ipip4' || name === 'gue6')) {
      const before = await reasons();
      expect(await client.download(way), way.name).toBe(String(bulkBytes));
      const told = (await reasons())['tx_icmp_error_tunnel'] ?? 0;
      expect(told - (before['tx_icmp_error_tunnel'] ?? 0), way.name).toBeGreaterThan(0);
    }
  } finally {
    ipIn(lab.names.router, 'link set to-client mtu 1500');
  }
});

it('with the segment size that setup gives, nothing is too big; variant 0 of GUE is taken too', async () => {
  setup();
  lab.apply(config(0));
  for (const vip of Object.values(vips)) client.forgetMtu(vip);
  const before = await reasons();
  for (const way of ways) expect(await client.upload(way), way.name).toBe(String(bulkBytes));
  expect((await reasons())['tx_too_big']).toBe(before['tx_too_big']);
});

it('follows the route to the backends, and says when there is none', async () => {
  const [reason] = (await lab.status()).vips.flatMap(({ backends }) => backends.map((one) => one.reason));
  ipIn(lab.names.lb, 'route del default');
  const reasonsNow = async () =>
    (await lab.status()).vips.flatMap(({ backends }) =>
      backends.flatMap((one) => (one.address === '10.80.2.21' && one.state === 'down' ? [one.reason] : [])),
    );
  const routed = ways.filter(({ backend }) => backend === '10.80.2.21').length * 2;
  await until(lab, 'no route', async () => {
    const seen = await reasonsNow();
    return seen.length === routed && seen.some((text) => text === 'no route leads to it (ENETUNREACH)');
  });
  expect(reason).not.toMatch(/no route/);
  // By another neighbour: the balancer's own second address of the router.
  ipIn(lab.names.router, 'address add 10.80.1.2/24 dev to-lb');
  ipIn(lab.names.lb, 'route add 10.80.2.0/24 via 10.80.1.2');
  ipIn(lab.names.lb, 'route add 198.51.100.0/24 via 10.80.1.1');
  await until(lab, 'up by the other next hop', async () => (await states()).every((state) => state === 'up'));
  expect(lab.log()).toMatch(/"neighbour":"10\.80\.1\.2"/);
  expect(await client.upload(ways[0])).toBe(String(bulkBytes));
});

it('finds out what a link between balancer and backend carries, and tells clients', async () => {
  const { router, lb } = lab.names;
  // What routers on the way report goes to the outer source.
  ipIn(router, 'route add 10.99.0.0/16 via 10.80.1.11');
  ipIn(router, '-6 route add fd99::/96 via fd80:1::11');
  const mtu = 1360;
  ipIn(router, `link set to-backend mtu ${mtu}`);
  // Variant 0 of GUE has a header of its own.
  const fits = (way: Way) => mtu - way.overhead - (way.forward === 'gue' ? 4 : 0);
  const before = await reasons();
  for (const name of ['ipip4', 'gue4in6', 'gue4', 'ip6ip6', 'gue6in4'] as const) {
    const way = ways.find((one) => one.name === name) ?? ways[0];
    client.forgetMtu(way.vip);
    expect(await client.upload(way), name).toBe(String(bulkBytes));
    expect(client.knownMtu(way.vip), name).toBe(fits(way));
    const most = fits(way) - (way.vip === vips.ipv4 ? 28 : 48);
    client.forgetMtu(way.vip);
    expect(await client.datagram(way.vip, datagramPort(way), most), name).toBe(String(most));
    expect(await client.datagram(way.vip, datagramPort(way), most + 1), name).toBe('');
    expect(client.knownMtu(way.vip), name).toBe(fits(way));
  }
  const after = await reasons();
  // The first packet to each end is told of by the router, the others at once.
  expect((after['tx_tunnel_error'] ?? 0) - (before['tx_tunnel_error'] ?? 0)).toBeGreaterThanOrEqual(2);
  expect((after['tx_too_big'] ?? 0) - (before['tx_too_big'] ?? 0)).toBeGreaterThan(0);
  const { paths = [], host } = await lab.status();
  expect(paths.map(({ destination, mtu: known }) => `${destination} ${known}`).sort()).toEqual([
    `10.80.2.21 ${mtu}`,
    `fd80:2::21 ${mtu}`,
  ]);
  expect(host.warnings?.join()).toContain(`the way to 10.80.2.21 carries ${mtu} bytes`);
  // What is not reached is counted by the end that it was sent to.
  ipIn(router, 'route replace unreachable 10.80.2.21/32');
  const refused = async () =>
    (await lab.status()).paths?.find(({ destination }) => destination === '10.80.2.21')?.errors.unreachable;
  await until(lab, 'the router reports that it has no way', async () => ((await refused()) ?? 0) > 0);
  await until(lab, 'the log tells of it', async () => lab.log().includes('a router reports on the way'));
  ipIn(router, 'route del unreachable 10.80.2.21/32');
  ipIn(router, 'link set to-backend mtu 1500');
  expect(ipIn(lb, 'route show 10.99.0.0/16')).toBe('');
});

it('a failed tunnel is a failed check, and what is taken away is gone', async () => {
  const counters = lab.onBackend('decap');
  expect(counters).toMatch(/pass_decapsulated {2}\d{4,}/);
  lab.onBackend('teardown', ...Object.values(vips).flatMap((vip) => ['--vip', vip]));
  expect(ipIn(lab.names.backend, 'address show dev lo')).not.toContain(vips.ipv4);
  expect(ipIn(lab.names.backend, 'rule show')).not.toContain('19533');
  await until(
    lab,
    'checks fail',
    async () => (await states()).filter((state) => state === 'down').length === ways.length,
  );
});
