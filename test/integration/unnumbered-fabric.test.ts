/** A host whose routers know it by its link alone: unnumbered to one, by link-local addresses with the other. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { waitFor } from '../../tools/lab/io/wait-for.ts';
import { backends, labVip, nextHops, urlOf } from '../../tools/scenarios/fabric.ts';
import { fabricForTests } from './support/fabric.ts';

const fabric = fabricForTests('unn');
const { lab, product, traffic } = fabric;

interface Shown {
  readonly ifname: string;
  readonly addr_info: readonly { readonly local: string; readonly scope: string; readonly family: string }[];
}

/** Interface of a host in the fabric, and its link-local address there. */
async function placeOf(host: string, ipv4: string): Promise<{ device: string; linkLocal: string }> {
  const { stdout } = await lab.exec(host, ['ip', '-j', 'address']);
  const found = (JSON.parse(stdout) as Shown[]).find(({ addr_info: own }) =>
    own.some((one) => one.local === ipv4),
  );
  const linkLocal = found?.addr_info.find(
    ({ scope, family }) => scope === 'link' && family === 'inet6',
  )?.local;
  return { device: found?.ifname ?? '', linkLocal: linkLocal ?? '' };
}

it('VIPs are served over link-local sessions, and a password in a file stays in it', async () => {
  const [tor1, tor2] = [await placeOf('tor1', '10.77.0.1'), await placeOf('tor2', '10.77.0.2')];
  const lb = await placeOf('lb1', '10.77.0.11');
  const session = (router: string, name: string, ...lines: string[]) =>
    lab.exec(router, [
      ...['vtysh', '--vty_socket', join(lab.folder(router), 'frr'), '-c', 'configure terminal'],
      ...['-c', 'router bgp 65000'],
      ...lines.flatMap((line) => ['-c', line]),
      ...['-c', `neighbor ${name} timers connect 1`],
      ...['ipv4', 'ipv6'].flatMap((family) => [
        ...[
          '-c',
          `address-family ${family} unicast`,
          '-c',
          `neighbor ${name} activate`,
          '-c',
          'exit-address-family',
        ],
      ]),
    ]);
  const [first, second] = await Promise.all([
    session('tor1', tor1.device, `neighbor ${tor1.device} interface remote-as external`),
    session(
      'tor2',
      lb.linkLocal,
      `neighbor ${lb.linkLocal} remote-as external`,
      `neighbor ${lb.linkLocal} interface ${tor2.device}`,
      `neighbor ${lb.linkLocal} password on-the-link`,
      `neighbor ${lb.linkLocal} capability extended-nexthop`,
    ),
  ]);
  expect([first.code, first.stdout, second.code, second.stdout]).toEqual([0, '', 0, '']);

  const folder = lab.folder('lb1');
  const passwordFile = join(folder, 'tor2.key');
  await writeFile(passwordFile, 'on-the-link\n', { mode: 0o600 });
  const config = parse(await readFile(join(folder, 'l4d.yaml'), 'utf8')) as Record<string, unknown>;
  const web = labVip(fabric, 'web');
  const check = { type: 'http', path: '/health', interval: '500ms', rise: 1 };
  const vips = (['ipv4', 'ipv6'] as const).map((family) => ({
    name: `web-${family}`,
    address: web[family],
    port: web.port,
    check,
    backends: backends(fabric).map((backend) => ({ address: backend[family] })),
  }));
  const peers = [
    { interface: lb.device, as: 'external', connectRetry: '200ms' },
    { address: `${tor2.linkLocal}%${lb.device}`, as: 'external', passwordFile, connectRetry: '200ms' },
  ];
  const host = { ...(config['host'] as object), bgp: { as: 65011, routerId: '10.77.0.11', listen: true } };
  const file = join(folder, 'unnumbered.yaml');
  await writeFile(file, stringify({ ...config, host, peers, vips }));
  await product.startDaemon('lb1', { config: file, announced: true });

  for (const { address } of vips) {
    await waitFor(
      `both routers send ${address} to the link-local address of lb1`,
      () => Promise.all(['tor1', 'tor2'].map((router) => nextHops(fabric, router, address))),
      (seen) => seen.every((hops) => hops.join() === lb.linkLocal),
      { timeoutMs: 15_000 },
    );
    const asked = await traffic.ask({ url: urlOf(address, web.port), count: 100 });
    expect([asked.succeeded, asked.total]).toEqual([100, 100]);
  }
  // The daemon asks the announcer once a second: what it shows may be older than the routes.
  await waitFor(
    'the daemon has heard of both sessions',
    async () => (await product.status('lb1')).bgp.announcer?.peers ?? [],
    (seen) => seen.every(({ state }) => state === 'Established'),
    { timeoutMs: 10_000 },
  );
  expect((await product.status('lb1')).bgp.announcer?.peers).toMatchObject([
    { address: `${tor2.linkLocal}%${lb.device}`, as: 65000, state: 'Established' },
    { address: lb.device, neighbour: `${tor1.linkLocal}%${lb.device}`, as: 65000, state: 'Established' },
  ]);
  const summary = (await product.runL4ctl('lb1', ['bgp', 'summary'])).stdout;
  expect(summary).toMatch(new RegExp(`^${lb.device} +4 +65000 .* ${tor1.linkLocal}%${lb.device}$`, 'm'));

  const stored = join(lab.env('lb1').L4D_STATE_DIR, '.');
  const secret = await lab.exec('lb1', ['grep', '-rl', 'on-the-link', stored]);
  expect(secret.stdout).toBe('');
  const modes = await lab.exec('lb1', ['find', stored, '-perm', '/077', '-not', '-type', 'l']);
  expect(modes.stdout).toBe('');
});
