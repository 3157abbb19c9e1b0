/**
 * Big datagrams and pings to a VIP, in fragments, by way of two balancers and a router that sends first fragments to
 * one of them and the others to the other, as one that spreads by ports does:
 *
 *   client 198.51.100.7 ── router 10.81.0.1 ── bridge ── lb1 .11, lb2 .12, backend .21
 */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ipIn, run, runIn } from './support/network-namespace.ts';
import { routerLab, until } from './support/router-lab.ts';

const lab = routerLab<'lb1' | 'lb2' | 'backend'>(`frag${process.pid}`, [
  { ipv4: '10.81.0', ipv6: 'fd81::', machines: { lb1: '11', lb2: '12', backend: '21' } },
]);
const { folder, nameOf, socket, start, status } = lab;
const vips = ['203.0.113.81', '2001:db8:81::80'] as const;
const root = join(import.meta.dirname, '../..');

const config = (fragments: string) => `version: 1
host: { interface: eth0, ${fragments} }
vips:
${vips
  .map(
    (vip) => `  - address: "${vip}"
    port: 90
    protocol: udp
    check: { type: none }
    backends: [{ address: "${vip.includes(':') ? 'fd81::21' : '10.81.0.21'}" }]
`,
  )
  .join('')}`;
const together = 'fragments: { hosts: [10.81.0.11, 10.81.0.12] }';

/** Answers a datagram with its own content, from the address that it came to. */
const server = `
for (const [type, address] of [['udp4', '${vips[0]}'], ['udp6', '${vips[1]}']]) {
  const socket = require('node:dgram').createSocket(type);
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  socket.bind(90, address);
}`;

/** Sends datagrams of 2 to 8 KB, each from a port of its own; tells how many came back as they were. */
const sender = `
const [, address, count] = process.argv;
let answered = 0, open = Number(count);
const done = () => { if (--open === 0) { process.stdout.write(String(answered)); process.exit(); } };
for (let n = 0; n < Number(count); n++) {
  const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const content = require('node:crypto').randomBytes(2000 + (n * 613) % 6000);
  const timer = setTimeout(done, 800);
  socket.on('message', (message) => { if (message.equals(content)) answered++; clearTimeout(timer); done(); });
  setTimeout(() => socket.send(content, 90, address), n * 5);
}`;

function build(): void {
  lab.build();
  const router = nameOf('router');
  for (const vip of vips) ipIn(nameOf('backend'), `address add ${vip} dev lo`);
  runIn(
    nameOf('backend'),
    'sysctl',
    '-qw',
    'net.ipv4.conf.all.arp_ignore=1',
    'net.ipv4.conf.all.arp_announce=2',
  );
  // Fragments with ports to one host, those without to the other.
  for (const [table, last] of [
    ['81', '11'],
    ['82', '12'],
  ]) {
    ipIn(router, `route add ${vips[0]} via 10.81.0.${last} table ${table}`);
    ipIn(router, `-6 route add ${vips[1]} via fd81::${last} table ${table}`);
  }
  for (const family of ['-4', '-6']) {
    ipIn(router, `${family} rule add fwmark 1 lookup 82 priority 10`);
    ipIn(router, `${family} rule add lookup 81 priority 20`);
  }
  runIn(router, 'nft', 'add table inet ports');
  runIn(router, 'nft', 'add chain inet ports c { type filter hook prerouting priority mangle; }');
  runIn(router, 'nft', `add rule inet ports c ip daddr ${vips[0]} ip frag-off & 0x1fff != 0 meta mark set 1`);
  runIn(router, 'nft', `add rule inet ports c ip6 daddr ${vips[1]} frag frag-off != 0 meta mark set 1`);
}

const ask = (command: string, ...args: readonly string[]) =>
  promisify(execFile)('nsenter', [`--net=/run/netns/${nameOf('client')}`, command, ...args]).then(
    ({ stdout }) => stdout,
    (error: { stdout?: string }) => error.stdout ?? '',
  );
const answered = async (vip: string, count = 30) =>
  Number(await ask(process.execPath, '-e', sender, vip, String(count)));
const drops = async () =>
  ((await status('lb1')).dataplane.dropReasons['drop_fragment'] ?? 0) +
  ((await status('lb2')).dataplane.dropReasons['drop_fragment'] ?? 0);

function apply(fragments: string): void {
  for (const host of ['lb1', 'lb2'] as const) {
    writeFileSync(join(folder, host, 'l4d.yaml'), config(fragments));
    const ctl = join(root, 'tools/l4ctl/start.mjs');
    run(
      process.execPath,
      ctl,
      '--socket',
      socket(host),
      '--force',
      'apply',
      '-f',
      join(folder, host, 'l4d.yaml'),
    );
  }
}

beforeAll(async () => {
  build();
  start('backend', process.execPath, '-e', server);
  for (const host of ['lb1', 'lb2'] as const) {
    mkdirSync(join(folder, host));
    writeFileSync(join(folder, host, 'l4d.yaml'), config(together));
    lab.startDaemon(host);
  }
  for (const host of ['lb1', 'lb2'] as const)
    await until(`${host} forwards and knows the other`, async () => {
      const {
        vips: views,
        host: { warnings },
      } = await status(host);
      const isUp = views.every(({ backends }) => backends.every(({ state }) => state === 'up'));
      return views.length === 2 && isUp && (warnings ?? []).every((line) => !line.includes('fragments'));
    });
}, 120_000);

afterAll(() => lab.remove());

it.each(vips)('%s: datagrams of 2 to 8 KB and big pings come through two hosts', async (vip) => {
  expect(await answered(vip)).toBeGreaterThanOrEqual(29);
  expect(await ask('ping', '-c', '5', '-i', '0.02', '-W', '2', '-s', '6000', vip)).toContain(' 5 received');
});

it('apart, the hosts drop what has no ports: the test does test', async () => {
  const before = await drops();
  apply('draining: false');
  await until('the list is gone', async () => (await answered(vips[0], 3)) === 0);
  expect(await drops()).toBeGreaterThan(before);
  // A host that is not in the list is told.
  apply('fragments: { hosts: [10.81.0.11, 10.81.0.99] }');
  await until('both say so', async () => {
    const one = (await status('lb1')).host.warnings?.join();
    const other = (await status('lb2')).host.warnings?.join();
    return (
      String(one).includes('10.81.0.99 does not answer') && String(other).includes('holds no address of eth0')
    );
  });
  apply(together);
  await until('together again', async () => (await answered(vips[0], 3)) === 3);
});
