/**
 * Backends that are spoken to from their clients' own addresses: one whose router is the balancer, and one that answers by
 * way of another router, which is found out and not used.
 *
 *   client 198.51.100.7, .8, 2001:db8:c::7 ─┐
 *   backend 10.80.2.21, fd80:2::21 ─────────┼─ router ── lb ── tenant 10.80.3.21, .50, fd80:3::21, its router is lb
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ipIn, runIn } from './support/network-namespace.ts';
import { createTunnelLab, linkMachines, type TunnelLab, vips } from './support/tunnel-lab.ts';

let lab: TunnelLab;
const folder = mkdtempSync(join(tmpdir(), 'dps-'));

const check = 'check: { type: tcp, interval: 300ms, timeout: 250ms, rise: 1, fall: 2 }';
const vip = (name: string, address: string, port: number, backends: readonly string[], more = '') => `
  - name: ${name}
    address: "${address}"
    port: ${port}
    policy: l7
    source: client
    ${check}
    backends: [${backends.map((backend) => `{ address: "${backend}", port: 8080 }`).join()}]
    ${more}`;
const host = 'version: 1\nhost: { interface: eth0, proxy: { workers: 2 } }\n';
const good = { 4: '10.80.3.21', 6: 'fd80:3::21' };
const astray = { 4: '10.80.2.21', 6: 'fd80:2::21' };
const config = `${host}vips:${[
  vip('web', vips.ipv4, 80, [good[4], astray[4]]),
  vip('web6', vips.ipv6, 80, [good[6], astray[6]]),
  vip('relay', vips.ipv4, 81, [good[4]], 'mode: tcp'),
  vip('relay6', vips.ipv6, 81, [good[6]], 'mode: tcp'),
].join('')}\n`;

/** nginx that answers with who has asked, and the number of the connection. */
function nginxConfig(): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/${kind};`)
    .join(' ');
  const path = join(folder, 'nginx.conf');
  writeFileSync(
    path,
    `daemon off; master_process off; error_log stderr; pid ${folder}/pid; events {}
http { access_log off; ${temporary} keepalive_timeout 60;
  server { listen 8080; listen [::]:8080; location / { return 200 "$remote_addr $connection $remote_port\\n"; } } }`,
  );
  return path;
}

/** What each request of one connection of a client was answered: its address as the backend sees it, and a connection's number. */
async function ask(from: string, to: string, port = 80, times = 1): Promise<(readonly [string, string])[]> {
  const url = `http://${to.includes(':') ? `[${to}]` : to}:${port}/`;
  const machine = from.startsWith('10.80.3.') ? 'tenant' : 'client';
  const urls = Array.from({ length: times }, () => url);
  const text = await lab.ask(machine, 'curl', '-sS', '-m', '5', '--interface', from, ...urls);
  return text
    .trim()
    .split('\n')
    .map((line) => line.split(' ') as [string, string])
    .map(([address, connection]) => [address, connection] as const);
}

const backend = async (name: string, address: string) =>
  (await lab.status()).vips.find((one) => one.name === name)?.backends.find((one) => one.address === address);

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > 15_000)
      throw new Error(
        `not in time: ${what}\n${JSON.stringify((await lab.status()).vips)}\n${lab.log().slice(-4000)}`,
      );
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** All that is in the kernel for it. */
function traces() {
  const { lb } = lab.names;
  const rules = ['-4', '-6'].map(
    (family) =>
      ipIn(lb, `${family} rule`)
        .split('\n')
        .filter((line) => line.includes('0x4d000000')).length,
  );
  const filters = ['eth0', 'eth1'].map((device) =>
    runIn(lb, 'tc', 'filter', 'show', 'dev', device, 'ingress').includes('source_return'),
  );
  const routes = ['-4', '-6'].map((family) =>
    ipIn(lb, `${family} route show table all`).includes('table 19533'),
  );
  return { rules, filters, routes };
}

beforeAll(async () => {
  lab = createTunnelLab('dps');
  linkMachines(
    { name: lab.names.lb, device: 'eth1', addresses: ['10.80.3.1/24', 'fd80:3::1/64'] },
    {
      name: lab.names.tenant,
      device: 'eth0',
      addresses: ['10.80.3.21/24', '10.80.3.50/24', 'fd80:3::21/64'],
    },
  );
  ipIn(lab.names.tenant, 'route add default via 10.80.3.1');
  ipIn(lab.names.tenant, '-6 route add default via fd80:3::1');
  ipIn(lab.names.client, 'address add 198.51.100.8/24 dev eth0');
  // As strict as hosts are, and with marks heeded as wg-quick has it.
  for (const name of ['rp_filter', 'src_valid_mark'])
    for (const device of ['all', 'eth0', 'eth1'])
      runIn(lab.names.lb, 'sysctl', '-qw', `net.ipv4.conf.${device}.${name}=1`);
  const path = nginxConfig();
  for (const machine of ['tenant', 'backend'] as const) lab.start(machine, 'nginx', '-c', path);
  await lab.startDaemon(config);
  await until('the proven backends are up, the others down', async () => {
    const seen = (await lab.status()).vips;
    // Nothing but BGP is missing: the proxy serves them too.
    const text = seen.map(({ verdict, backends }) =>
      [verdict.code, ...backends.map(({ state }) => state)].join(),
    );
    return text.join(' ') === 'no-bgp,up,down no-bgp,up,down no-bgp,up no-bgp,up';
  });
});

afterAll(async () => {
  await lab?.remove();
  rmSync(folder, { recursive: true, force: true });
});

it('shows backends their clients, in both families and modes', async () => {
  for (const port of [80, 81]) {
    expect((await ask('198.51.100.7', vips.ipv4, port))[0]?.[0]).toBe('198.51.100.7');
    expect((await ask('2001:db8:c::7', vips.ipv6, port))[0]?.[0]).toBe('2001:db8:c::7');
  }
});

it('uses no backend whose answers go another way, and says so', async () => {
  expect((await backend('web', good[4]))?.reason).toBe('connected, return path proven');
  for (const [name, address, probe] of [
    ['web', astray[4], '192.0.0.8'],
    ['web6', astray[6], '100::8'],
  ] as const)
    expect((await backend(name, address))?.reason).toBe(
      `return path to ${probe}: connect: no answer within 250ms: its route back is not by way of this host`,
    );
  const seen = await Promise.all(Array.from({ length: 6 }, () => ask('198.51.100.7', vips.ipv4)));
  expect(seen.map(([one]) => one?.[0])).toEqual(Array.from({ length: 6 }, () => '198.51.100.7'));
});

it('keeps a connection for one client', async () => {
  const [mine, others] = [
    await ask('198.51.100.7', vips.ipv4, 80, 3),
    await ask('198.51.100.8', vips.ipv4, 80, 3),
  ];
  expect(new Set(mine.map(([address]) => address))).toEqual(new Set(['198.51.100.7']));
  expect(new Set(others.map(([address]) => address))).toEqual(new Set(['198.51.100.8']));
  // Three requests of a client go over one connection, and no other client's go over it.
  expect([
    new Set(mine.map(([, one]) => one)).size,
    new Set([...mine, ...others].map(([, one]) => one)).size,
  ]).toEqual([1, 2]);
});

it('refuses a client of the subnet of the backend, which would answer it directly, and counts it', async () => {
  expect((await ask('10.80.3.50', vips.ipv4))[0]?.[0]).toBe('502');
  const counted = async () => (await lab.status()).vips.find(({ name }) => name === 'web')?.sourceRefused;
  await until('it is counted', async () => (await counted())?.['subnet'] === 1);
});

it('has what it needs on the interface of the proven backend and of the other', () => {
  expect(traces()).toEqual({ rules: [2, 2], filters: [true, true], routes: [true, true] });
});

it('finds out that the route of a backend has changed, and that it is back', async () => {
  ipIn(lab.names.tenant, 'route replace default via 10.80.3.77');
  await until('the backend is found out, and its VIP not to be announced', async () => {
    const web = (await lab.status()).vips.find(({ name }) => name === 'web');
    const states = web?.backends.map(({ state }) => state).join();
    return web?.verdict.code === 'too-few-healthy' && states === 'down,down';
  });
  expect((await backend('web', good[4]))?.reason).toContain('its route back is not by way of this host');
  ipIn(lab.names.tenant, 'route replace default via 10.80.3.1');
  await until('the backend is back', async () => (await backend('web', good[4]))?.state === 'up');
});

it('goes on without the daemon, and the next one adopts what is there', async () => {
  await lab.killDaemon();
  expect((await ask('198.51.100.7', vips.ipv4))[0]?.[0]).toBe('198.51.100.7');
  await lab.startDaemon(config);
  await until('the backend is up', async () => (await backend('web', good[4]))?.state === 'up');
  expect((await ask('2001:db8:c::7', vips.ipv6))[0]?.[0]).toBe('2001:db8:c::7');
  expect(traces()).toEqual({ rules: [2, 2], filters: [true, true], routes: [true, true] });
});

it('leaves nothing behind when no VIP needs it, after open connections have had their time; what was proven stays up', async () => {
  const open = lab.start('client', 'bash', '-c', `exec 3<>/dev/tcp/${vips.ipv4}/81; cat <&3 & cat >&3`);
  let got = '';
  open.stdout?.on('data', (piece: Buffer) => {
    got += piece.toString();
  });
  const answers = async (count: number) => {
    open.stdin?.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await until(`answer ${count}`, () => got.split('198.51.100.').length === count + 1);
  };
  await answers(1);
  const without = config.replaceAll('source: client', '');
  lab.apply(without.replace('workers: 2', 'workers: 2, drainAtMost: 1h'));
  expect((await backend('web', good[4]))?.state).toBe('up');
  await answers(2);
  open.kill();
  lab.apply(without.replace('workers: 2', 'workers: 2, drainAtMost: 0s'));
  const none = { rules: [0, 0], filters: [false, false], routes: [false, false] };
  await until('all of it is gone', () => JSON.stringify(traces()) === JSON.stringify(none));
});
