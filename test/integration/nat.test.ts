/**
 * A backend that nothing was set up on, in another subnet behind a router, by NAT: bulk both ways, datagrams, checks, path
 * MTU on either side, ICMP errors, and a daemon that is killed and comes back.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ipIn, runIn } from './support/network-namespace.ts';
import { createTunnelLab, type TunnelLab, vips } from './support/tunnel-lab.ts';

let lab: TunnelLab;

const ways = [
  { name: 'v4', vip: vips.ipv4, backend: '10.80.2.21', host: '10.80.1.11' },
  { name: 'v6', vip: vips.ipv6, backend: 'fd80:2::21', host: 'fd80:1::11' },
] as const;

type Way = (typeof ways)[number];

const config = (more = '') => `version: 1
host:
  interface: eth0
${more}vips:
${ways
  .map(
    ({ name, vip, backend }) => `  - name: ${name}-tcp
    address: "${vip}"
    port: 80
    forward: nat
    check: { type: tcp, interval: 500ms, timeout: 400ms, rise: 1, fall: 2 }
    backends: [{ address: "${backend}", port: 8080 }]
  - name: ${name}-udp
    address: "${vip}"
    port: 90
    protocol: udp
    forward: nat
    check: { type: none }
    backends: [{ address: "${backend}", port: 9090 }]
  - name: ${name}-idle
    address: "${vip}"
    port: 92
    forward: nat
    idleTimeout: 2s
    check: { type: none }
    backends: [{ address: "${backend}", port: 8092 }]
  - name: ${name}-closed
    address: "${vip}"
    port: 91
    protocol: udp
    forward: nat
    check: { type: none }
    backends: [{ address: "${backend}", port: 9091 }]
`,
  )
  .join('')}`;

/** Counts what is posted and sends as much as is asked for, tells who asked, echoes lines; answers datagrams with their length and source. */
const server = `
const http = require('node:http'), dgram = require('node:dgram'), net = require('node:net');
http.createServer((request, answer) => {
  let bytes = 0;
  request.on('data', (chunk) => { bytes += chunk.length; });
  request.on('end', () => answer.end(request.method === 'POST' ? String(bytes)
    : request.url === '/who' ? request.socket.remoteAddress.replace('::ffff:', '') : Buffer.alloc(Number(request.url.slice(1)), 7)));
}).listen(8080, '::').keepAliveTimeout = 120_000;
for (const type of ['udp4', 'udp6']) {
  const socket = dgram.createSocket({ type, ipv6Only: type === 'udp6' });
  socket.on('message', (message, from) => socket.send(message.length + ' ' + from.address, from.port, from.address));
  socket.bind(9090);
}
`;

/** A client that asks again and again by one connection, when it is told to on stdin. */
const talker = `
const [, address] = process.argv;
const http = require('node:http');
const agent = new http.Agent({ keepAlive: true, keepAliveMsecs: 60_000, maxSockets: 1 });
let sockets = 0;
process.stdin.on('data', () => {
  const request = http.get({ host: address, port: 80, path: '/who', agent }, (answer) => {
    let text = '';
    answer.on('data', (chunk) => { text += chunk; });
    answer.on('error', () => undefined);
    answer.on('end', () => process.stdout.write(sockets + ' ' + text + '\\n'));
  });
  request.on('socket', (socket) => { if (!socket.seen) { socket.seen = true; sockets += 1; } });
  request.on('error', (error) => process.stdout.write(error.code + '\\n'));
});
`;

/** Answers one line and rests; tells what becomes of its connections. */
const restingServer = `
require('node:net').createServer((one) => {
  one.on('data', () => one.write('well'));
  one.on('error', (error) => process.stdout.write(error.code + ' '));
  one.on('end', () => process.stdout.write('end '));
}).listen(8092, '::');
`;

/** Says one line, hears one, and rests; tells what becomes of its connection. */
const restingClient = `
const one = require('node:net').connect(92, process.argv[1], () => one.write('how'));
one.on('data', (text) => process.stdout.write(text + ' '));
one.on('error', (error) => process.stdout.write(error.code));
one.on('end', () => process.stdout.write('end'));
`;

const sender = `
const [, address, port, size] = process.argv;
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
socket.on('message', (message) => { process.stdout.write(String(message)); process.exit(); });
socket.on('error', (error) => { process.stdout.write(error.code); process.exit(); });
socket.connect(Number(port), address, () => {
  const send = () => socket.send(Buffer.alloc(Number(size)), (error) => { if (error) { process.stdout.write(error.code); process.exit(); } });
  send();
  setTimeout(send, 150);
});
setTimeout(() => process.exit(), 2000);
`;

const bulk = 8_000_000;
const url = (way: Way, path = '') => `http://${way.vip.includes(':') ? `[${way.vip}]` : way.vip}:80/${path}`;
const upload = (way: Way) =>
  lab.ask('client', 'sh', '-c', `head -c ${bulk} /dev/zero | curl -s -m 10 --data-binary @- '${url(way)}'`);
const download = (way: Way) =>
  lab.ask(
    'client',
    'curl',
    '-s',
    '-m',
    '10',
    '-o',
    '/dev/null',
    '-w',
    '%{size_download}',
    url(way, `${bulk}`),
  );
const datagram = (way: Way, port: number, size = 20) =>
  lab.ask('client', process.execPath, '-e', sender, way.vip, String(port), String(size));
const reasons = async () => (await lab.status()).dataplane.dropReasons;
const clientMtu = (vip: string) =>
  Number(/mtu (\d+)/.exec(ipIn(lab.names.client, `route get ${vip}`))?.[1] ?? 1500);

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > 15_000) {
      const { vips: seen, host } = await lab.status();
      throw new Error(`not in time: ${what}\n${JSON.stringify({ seen, host })}\n${lab.log().slice(-4000)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const allUp = async () =>
  (await lab.status()).vips.every(({ backends }) => backends.every(({ state }) => state === 'up'));

beforeAll(async () => {
  lab = createTunnelLab('dpn');
  lab.start('backend', process.execPath, '-e', server);
  await lab.startDaemon(config());
});

afterAll(() => lab?.remove());

it('asks the backends at their own addresses and ports, and finds them up', async () => {
  await until('all backends are up', allUp);
  expect(ipIn(lab.names.backend, 'address show dev lo')).not.toContain(vips.ipv4);
});

it('carries bulk both ways and datagrams, from its own address, and answers pings', async () => {
  for (const way of ways) {
    expect(await lab.ask('client', 'curl', '-s', '-m', '5', url(way, 'who')), way.name).toBe(way.host);
    expect(await upload(way), way.name).toBe(String(bulk));
    expect(await download(way), way.name).toBe(String(bulk));
    expect(await datagram(way, 90), way.name).toBe(`20 ${way.host}`);
    expect(await lab.ask('client', 'ping', '-c', '1', '-W', '2', way.vip), way.name).toContain('1 received');
  }
  const { nat } = await lab.status();
  expect(nat?.sources.map(({ address, ports }) => [address, ports])).toEqual(
    ways.map(({ host }) => [host, 22_528]),
  );
});

const rested = { client: ['', ''], backend: '' };

it('begins connections that will rest for too long', async () => {
  const backend = lab.start('backend', process.execPath, '-e', restingServer);
  backend.stdout?.on('data', (text: Buffer) => {
    rested.backend += text.toString();
  });
  await until('it listens', async () => (await lab.ask('backend', 'ss', '-tln')).includes(':8092'));
  for (const [n, way] of ways.entries()) {
    const client = lab.start('client', process.execPath, '-e', restingClient, way.vip);
    client.stdout?.on('data', (text: Buffer) => {
      rested.client[n] += text.toString();
    });
    await until('an answer', () => rested.client[n] === 'well ');
  }
});

it('tells the client that nobody listens there, as of what it has sent', async () => {
  const before = (await reasons()).tx_nat_return_error ?? 0;
  for (const way of ways) expect(await datagram(way, 91), way.name).toBe('ECONNREFUSED');
  expect((await reasons()).tx_nat_return_error ?? 0).toBeGreaterThan(before);
});

it('tells both sides what comes through on the way to the other', async () => {
  const before = await reasons();
  for (const [port, of] of [
    ['to-backend', 'client'],
    ['to-client', 'backend'],
  ] as const) {
    ipIn(lab.names.router, `link set ${port} mtu 1300`);
    // What the client has learnt on the way there would be its segment size on the way back.
    for (const family of ['-4', '-6']) ipIn(lab.names.client, `${family} route flush cache`);
    for (const way of ways) {
      expect(await (of === 'client' ? upload(way) : download(way)), `${port} ${way.name}`).toBe(String(bulk));
      if (of === 'client') expect(clientMtu(way.vip), way.name).toBe(1300);
    }
    ipIn(lab.names.router, `link set ${port} mtu 1500`);
  }
  const after = await reasons();
  for (const reason of ['tx_nat_error', 'tx_nat_return_error'])
    expect((after[reason] ?? 0) - (before[reason] ?? 0), reason).toBeGreaterThanOrEqual(2);
});

it('tells both ends of a connection that was idle for too long', async () => {
  await until('both ends know', () => {
    const [one, other] = rested.client;
    return one === 'well ECONNRESET' && other === one && rested.backend === 'ECONNRESET ECONNRESET ';
  });
  expect((await lab.status()).nat?.idleResets).toBe(4);
  // By themselves: nothing of theirs came that could have been answered.
  expect((await reasons()).tx_nat_reset ?? 0).toBe(0);
});

it('leaves what listens on a port of NAT to the stack', async () => {
  lab.start(
    'lb',
    process.execPath,
    '-e',
    "require('node:net').createServer((one) => one.end('here')).listen(20000, '::')",
  );
  const dial = (host: string) =>
    `require('node:net').connect(20000, '${host}').on('data', (text) => process.stdout.write(text)).on('error', () => {})`;
  for (const { host } of ways) {
    await until(
      `a listener at ${host}`,
      async () => (await lab.ask('backend', process.execPath, '-e', dial(host))) === 'here',
    );
    expect(await lab.ask('client', process.execPath, '-e', dial(host))).toBe('here');
  }
});

it('connections outlive the daemon, and the next one knows them', async () => {
  const talks = ways.map((way) => {
    const child = lab.start('client', process.execPath, '-e', talker, way.vip);
    child.stdin?.on('error', () => undefined);
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    return { way, ask: () => child.stdin?.write('x'), text: () => text };
  });
  const all = async (turn: number) => {
    for (const { ask } of talks) ask();
    for (const { way, text } of talks) {
      await until(`answer ${turn} of ${way.name}`, () => text().split('\n').length > turn);
      expect(text(), way.name).toBe(`1 ${way.host}\n`.repeat(turn));
    }
  };
  await all(1);
  await lab.killDaemon();
  await all(2);
  await lab.startDaemon(config());
  await all(3);
  await until('all backends are up again', allUp);
  await until('the connections are counted', async () => {
    const { nat } = await lab.status();
    return nat?.sources.every(({ connections }) => connections > 0) === true && nat.phases.established >= 2;
  });
  // Out of the packet path and back: the connections are where they were.
  lab.onBalancer('detach', '--all');
  lab.onBalancer('attach', '--all');
  await until('attached', async () => (await lab.status()).host.xdpMode !== 'none');
  await all(4);
});

it('serves from declared addresses that no interface has, and refuses ports of programs of the host', async () => {
  runIn(lab.names.lb, 'sysctl', '-qw', 'net.ipv4.ip_local_port_range=32768 60999');
  lab.apply(config('  nat: { sourceIpv4: 10.80.1.64/30, ports: 12000-12999 }\n'));
  const [way] = ways;
  const who = new Set<string>();
  await until('all four addresses are used', async () => {
    who.add(await lab.ask('client', 'curl', '-s', '-m', '5', url(way, 'who')));
    return who.size >= 4;
  });
  expect([...who].sort()).toEqual([64, 65, 66, 67].map((last) => `10.80.1.${last}`));
  expect(() => lab.apply(config('  nat: { ports: 32000-33000 }\n'))).toThrow(
    /host\.nat\.ports.*32000-33000 overlaps the ports that the kernel gives to programs of this host, 32768-60999/s,
  );
});
