/** A backend whose tunnels end in the kernel's own devices: ipip, sit, ip6tnl and fou, with nothing of ours on it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bulkClient, bulkServer, until } from '../integration/support/bulk-traffic.ts';
import { ipIn, runIn } from '../integration/support/network-namespace.ts';
import { createTunnelLab, type TunnelLab, vips } from '../integration/support/tunnel-lab.ts';

let lab: TunnelLab;
let client: ReturnType<typeof bulkClient>;

const bytes = 300_000;
const ends = { 4: '10.80.2.21', 6: 'fd80:2::21' } as const;

const ways = (['ipip', 'gue'] as const).flatMap((forward, kind) =>
  ([4, 6] as const).flatMap((inner) =>
    ([4, 6] as const).map((outer) => ({
      name: `${forward}: IPv${inner} in IPv${outer}`,
      forward,
      vip: inner === 4 ? vips.ipv4 : vips.ipv6,
      port: 80 + kind * 2 + (outer === 6 ? 1 : 0),
      backend: ends[outer],
      overhead: (outer === 4 ? 20 : 40) + (forward === 'gue' ? 8 : 0),
    })),
  ),
);

type Way = (typeof ways)[number];
const datagramPort = ({ port }: Way) => port + 10;

function config(gueVariant: 0 | 1): string {
  const vip = (way: Way, protocol: 'tcp' | 'udp') => `  - name: "${protocol}-${way.vip}-${way.port}"
    address: "${way.vip}"
    port: ${protocol === 'tcp' ? way.port : datagramPort(way)}
    protocol: ${protocol}
    forward: ${way.forward}
    check: ${protocol === 'tcp' ? '{ type: tcp, interval: 3s, timeout: 2900ms, rise: 1, fall: 2 }' : '{ type: none }'}
    backends: [{ address: "${way.backend}" }]
`;
  return `version: 1
host:
  interface: eth0
  tunnel: { sourceIpv4: 10.99.0.0/16, sourceIpv6: "fd99::/96", gueVariant: ${gueVariant} }
vips:
${ways.map((way) => vip(way, 'tcp') + vip(way, 'udp')).join('')}`;
}

const backends = async () => (await lab.status()).vips.flatMap((vip) => vip.backends);

beforeAll(async () => {
  lab = createTunnelLab('dev');
  client = bulkClient(lab);
  const { backend } = lab.names;
  ipIn(backend, `address add ${vips.ipv4} dev lo`);
  ipIn(backend, `address add ${vips.ipv6} dev lo nodad`);
  // One for all IPv4 senders each; the ready-made one of IPv6 takes IPv6 alone.
  ipIn(backend, 'link set tunl0 up');
  ipIn(backend, 'link set sit0 up');
  ipIn(backend, `link add any6 type ip6tnl mode any local ${ends[6]} remote ::`);
  ipIn(backend, 'link set any6 up');
  for (const family of ['-4', '-6']) ipIn(backend, `${family} fou add port 6080 gue`);
  const settings = ['all', 'tunl0', 'any6', 'eth0'].map((device) => `net.ipv4.conf.${device}.rp_filter=0`);
  runIn(backend, 'sysctl', '-qw', ...settings);
  lab.start('backend', process.execPath, '-e', bulkServer([80, 81, 82, 83], [90, 91, 92, 93]));
  await lab.startDaemon(config(1));
});

afterAll(() => lab?.remove());

it('checks backends by way of their devices', async () => {
  await until(lab, 'all backends are up', async () =>
    (await backends()).every(({ state }) => state === 'up'),
  );
});

it.each(ways)('$name: bulk both ways, and datagrams up to the last byte that fits', async (way) => {
  client.forgetMtu(way.vip);
  expect(await client.upload(way, bytes)).toBe(String(bytes));
  expect(await client.download(way, bytes)).toBe(String(bytes));
  expect(client.knownMtu(way.vip)).toBe(1500 - way.overhead);
  const most = 1500 - way.overhead - (way.vip === vips.ipv4 ? 28 : 48);
  expect(await client.datagram(way.vip, datagramPort(way), most)).toBe(String(most));
});

it.each(ways.filter(({ forward }) => forward === 'gue'))('$name: variant 0 too', async (way) => {
  if (way.port === 82 && way.vip === vips.ipv4) lab.apply(config(0));
  expect(await client.upload(way, bytes)).toBe(String(bytes));
  expect(await client.download(way, bytes)).toBe(String(bytes));
});
