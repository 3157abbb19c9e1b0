import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { version } from '@l4d/kit/version.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import type { MemoryPort } from '@l4d/l4d/io/api/memory-port.ts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { proxyText } from './proxy-commands.ts';
import { statusText } from './status-command.ts';
import { type Captured, captureL4ctl } from './testing/captured.ts';
import { type ServedPort, servePort } from './testing/served-port.ts';
import { backendTable } from './vip-view.ts';

let folder: string;
let port: MemoryPort;
let api: ServedPort;

beforeEach(async () => {
  api = await servePort();
  ({ folder, port } = api);
});
afterEach(() => api.close());

/** Runs a command line against the server of this test; words are split at spaces. */
const l4ctl = (line: string, stdin = '', runDir = folder): Promise<Captured> =>
  captureL4ctl(line, runDir, {
    stdin: async () => stdin,
    now: () => 1_700_000_000_000 + 3_723_000,
  });

const addWeb = () => l4ctl('vip add 203.0.113.10:80 -b 10.0.0.21 -b 10.0.0.22=3 --name web');

test('a VIP is added with everything that the command line can say', async () => {
  const line =
    'vip add [2001:db8::10]:53/udp -b fd00::21 -b fd00::22=7 --name dns --check udp:5353 --check-interval 1s' +
    ' --check-send 0x0001 --check-expect ok' +
    ' --on-backend-down repick --min-healthy 50% --idle-timeout 30s --expected-backends 20 --disabled';
  expect(await l4ctl(line)).toEqual({ code: 0, out: 'vip dns added (revision 1)\n', err: '' });
  expect(port.desired().state.vips[0]).toMatchObject({
    name: 'dns',
    port: 53,
    protocol: 'udp',
    enabled: false,
    check: { type: 'udp', port: 5353, interval: 1000, send: '0x0001', expect: 'ok' },
    onBackendDown: 'repick',
    minHealthy: { kind: 'share', percent: 50 },
    idleTimeout: 30_000,
    tableSize: 2003,
    backends: [{ weight: 1 }, { weight: 7 }],
  });
});

test('where a backend of VXLAN is stands behind its address, whichever command adds it', async () => {
  const line =
    'vip add 203.0.113.14:80 --name tenant --forward vxlan -b 10.42.0.21=3,vni=42,remote=192.0.2.21' +
    ' -b 10.42.0.22,vni=42,remote=2001:db8:b::22,mac=52:54:00:12:34:56 -b 10.0.0.9,forward=ipip';
  expect(await l4ctl(line)).toMatchObject({ code: 0, err: '' });
  const added = await l4ctl('backend add tenant 10.42.0.23,vni=42 --remote 192.0.2.23');
  expect(added).toMatchObject({ code: 0, err: '' });
  const backends = (
    JSON.parse((await l4ctl('-o json vip show tenant')).out) as {
      vip: { backends: Record<string, unknown>[] };
    }
  ).vip.backends;
  expect(backends.map(({ vxlan, forward, weight }) => ({ vxlan, forward, weight }))).toEqual([
    { vxlan: { vni: 42, remote: '192.0.2.21' }, weight: 3 },
    { vxlan: { vni: 42, remote: '2001:db8:b::22', mac: '52:54:00:12:34:56' }, weight: 1 },
    { forward: 'ipip', weight: 1 },
    { vxlan: { vni: 42, remote: '192.0.2.23' }, weight: 1 },
  ]);
  for (const wrong of ['10.42.0.24,vxi=42', '10.42.0.24,vni', '10.42.0.24,toString=1', ',vni=42'])
    expect(await l4ctl(`backend add tenant ${wrong}`)).toMatchObject({ code: 2, out: '' });
  expect((await l4ctl('backend add tenant 10.42.0.24,vxi=42')).err).toContain(
    'FIELD one of forward, vni, remote, mac; not "vxi=42"',
  );
  const far = await l4ctl('backend add tenant 10.42.0.24,vni=16777216,remote=192.0.2.24');
  expect(far).toMatchObject({ code: 78, err: expect.stringContaining('vxlan.vni') });
});

test('a change says what is to be weighed of what it changes, also one that is undone', async () => {
  await addWeb();
  const silent = /^! VIP "dns": its UDP check expects no answer.*\nvip dns added \(revision 2\)\n$/;
  const { out } = await l4ctl('vip add 203.0.113.11:53/udp -b 10.0.0.21 --name dns --check udp');
  expect(out).toMatch(silent);
  expect((await l4ctl('vip set web minHealthy=2')).out).toBe('vip web changed (revision 3)\n');
  const resized = await l4ctl('vip set web tableSize=65537');
  expect(resized.out).toMatch(/^! VIP "web": the table goes from \d+ to 65537 slots.*\nvip web changed/);
  expect((await l4ctl('undo')).out).toMatch(
    /^~ vip web: .*\n! VIP "web": the table goes from 65537 to \d+ slots.*\nundone/,
  );
});

test('a forward proxy has destinations and no backends', async () => {
  const line =
    'vip add 203.0.113.23:3128 --policy l7 --mode connect --name out --destination *.example:80,8000-8999' +
    ' --destination 198.51.100.0/24 --destination [2001:db8::/32]:443 --destination 2001:db8:1::1 --destination any:22';
  expect(await l4ctl(line)).toMatchObject({ code: 0, err: '' });
  expect(port.desired().state.vips[0]).toMatchObject({
    mode: 'connect',
    backends: [],
    destinations: [
      {
        hosts: ['*.example'],
        ports: [
          [80, 80],
          [8000, 8999],
        ],
      },
      { prefixes: [{ length: 24 }] },
      { prefixes: [{ length: 32 }], ports: [[443, 443]] },
      { prefixes: [{ length: 128 }] },
      { ports: [[22, 22]] },
    ],
  });
  const { out } = await l4ctl('vip show out');
  expect(out).toMatch(/ {2}mode connect\n/);
  expect(out).toMatch(
    / {2}destination \*\.example {2}ports 80 8000-8999\n.* {2}destination any {2}ports 22\n/s,
  );
  expect(out).not.toMatch(/check|BACKEND/);
  const wrong = await l4ctl('vip add 203.0.113.24:80 --policy l7 --destination any');
  expect(wrong).toMatchObject({ code: expect.any(Number) });
  expect(wrong.err).toMatch(/destinations.*is for modes connect and socks/s);
});

test('what has no option of its own is set by its name in the configuration', async () => {
  const quic = 'vip add 203.0.113.13:443/udp -b 10.0.0.21 -b 10.0.0.22 --name h3 --set quic.configId=3';
  expect(await l4ctl(`${quic} --set quic.serverIdLength=2`)).toMatchObject({ code: 0, err: '' });
  expect(port.desired().state.vips[0]?.quic).toEqual({ configId: 3, serverIdLength: 2 });
});

test('a field within a mapping is changed, and what is beside it stays', async () => {
  await addWeb();
  await l4ctl('vip set web check.type=http check.path=/health');
  expect(await l4ctl('vip set web check.interval=1s check.path=null')).toMatchObject({ code: 0, err: '' });
  expect(port.desired().state.vips[0]?.check).toMatchObject({ type: 'http', path: '/', interval: 1000 });
  expect(await l4ctl('host set capacity.flows=65536 flowInserts=1000 interfaces=["eth2"]')).toMatchObject({
    code: 0,
    err: '',
  });
  expect(port.desired().state.host).toMatchObject({
    capacity: { flows: 65_536, natFlows: 131_072 },
    flowInserts: 1000,
    interfaces: ['eth2'],
  });
  const { code, err } = await l4ctl('host set capacity.flow=3');
  expect({ code, err }).toMatchObject({ code: 78, err: expect.stringContaining('did you mean "flows"?') });
});

test('the way of forwarding is shown, of a backend where it is another', async () => {
  await l4ctl('vip add 203.0.113.15:80 -b 10.0.0.21:8080 --forward nat --name nat');
  expect((await l4ctl('vip show nat')).out).toContain('  forward nat  scheduler maglev\n');
  const backend = { address: '10.0.0.21', weight: 1, state: 'up', reason: 'connected' } as const;
  const table = backendTable(
    [
      { ...backend, forward: 'l2' },
      { ...backend, address: '10.0.0.22', forward: 'gue' },
    ],
    '',
    'l2',
  );
  expect(table).toMatch(/-> 10\.0\.0\.21 +1/);
  expect(table).toContain('-> 10.0.0.22 (gue)');
});

test('an l7 VIP with pools, routes and access', async () => {
  const line =
    'vip add 203.0.113.11:80 --policy l7 -b 10.0.0.21:8080 -b [fd00::31]:8081=2@api --route /api=api' +
    ' --route a.example=default --allow 10.0.0.0/8 --deny 10.1.0.0/16 --check http:8080/health --check-status 200 --relay kernel';
  expect(await l4ctl(line)).toMatchObject({
    code: 0,
    out: 'vip 203.0.113.11-80-tcp added (revision 1)\n',
    err: '',
  });
  expect(port.desired().state.vips[0]).toMatchObject({
    policy: 'l7',
    relay: 'kernel',
    check: { type: 'http', port: 8080, path: '/health', expectStatus: [{ from: 200, to: 200 }] },
    backends: [{ port: 8080 }, { port: 8081, weight: 2, pool: 'api' }],
    routes: [
      { pathPrefix: '/api', pool: 'api' },
      { host: 'a.example', pool: 'default' },
    ],
    access: { allow: [{ length: 8 }], deny: [{ length: 16 }] },
  });
});

test('vip ls, show, explain', async () => {
  await addWeb();
  await l4ctl('backend drain web 10.0.0.22');
  expect((await l4ctl('vip ls')).out).toBe(
    'NAME  ADDRESS:PORT     PROTO  POLICY   STATE       UP  FLOWS  PACKETS  BYTES\n' +
      'web   203.0.113.10:80  tcp    forward  announced  1/2     40     3000   192K\n',
  );
  const shown = (await l4ctl('vip show web')).out;
  expect(shown).toContain('web  tcp 203.0.113.10:80  forward  announced\n');
  expect(shown).toContain('check tcp interval=2s timeout=5s rise=2 fall=3');
  expect(shown).toMatch(/-> 10\.0\.0\.22 +3 +drained +20 +1500 +96000 +- +drained by the operator/);
  await l4ctl('vip disable web');
  expect((await l4ctl('vip explain web')).out).toBe(
    'web is NOT announced: the VIP is disabled [disabled]\n' +
      '  backend 10.0.0.21 is up: passed 2 checks\n' +
      '  backend 10.0.0.22 is drained: drained by the operator\n',
  );
  expect((await l4ctl('vip enable web')).out).toBe('vip web enabled (revision 4)\n');
  expect((await l4ctl('vip rm web')).out).toBe('vip web removed (revision 5)\n');
  expect((await l4ctl('vip ls')).out).toMatch(/^no VIPs/);
});

test('policies by source: add, show, and explain for one client', async () => {
  const added = await l4ctl(
    'vip add 203.0.113.10:80 -b 10.0.0.21 --name web --class 198.51.100.0/24=l7 --class 198.51.100.66/32=drop',
  );
  expect(added.out).toBe('vip web added (revision 1)\n');
  expect((await l4ctl('vip show web')).out).toContain(
    '  clients of 198.51.100.0/24 -> l7\n  clients of 198.51.100.66/32 -> drop\n  other clients -> forward\n',
  );
  expect((await l4ctl('vip explain web --client 198.51.100.66')).out).toContain(
    '  client 198.51.100.66: drop, by 198.51.100.66/32 of its classes; its packets are dropped, and counted as drop_source\n',
  );
  expect((await l4ctl('vip explain web --client 192.0.2.1')).out).toContain(
    "  client 192.0.2.1: forward, the VIP's own policy; its packets go to a backend\n",
  );
  expect(JSON.parse((await l4ctl('vip explain web --client 198.51.100.7 -o json')).out)).toMatchObject({
    client: { address: '198.51.100.7', policy: 'l7', prefix: '198.51.100.0/24' },
  });
  expect((await l4ctl('vip explain web --client nobody')).code).toBe(2);
  expect((await l4ctl('vip set web classes=null')).code).toBe(0);
  expect((await l4ctl('vip show web')).out).not.toContain('clients');
});

test('vip set changes fields by their names; null is the default', async () => {
  await addWeb();
  expect((await l4ctl('vip set web minHealthy=2 idleTimeout=30s check={"type":"none"}')).out).toBe(
    'vip web changed (revision 2)\n',
  );
  expect(port.desired().state.vips[0]).toMatchObject({
    minHealthy: { kind: 'count', count: 2 },
    idleTimeout: 30_000,
    check: { type: 'none' },
  });
  await l4ctl('vip set web idleTimeout=null');
  expect(port.desired().state.vips[0]?.idleTimeout).not.toBe(30_000);
  expect((await l4ctl('vip set web minHealthy=many')).code).toBe(78);
  expect((await l4ctl('vip set web nonsense')).code).toBe(2);
  expect((await l4ctl('vip set nobody enabled=false')).code).toBe(1);
});

test('-o json prints what the API answered, before or after the command', async () => {
  await addWeb();
  const { body } = await requestJson(join(folder, 'l4d.sock'), 'GET', '/v1/vips');
  expect(JSON.parse((await l4ctl('vip ls -o json')).out)).toEqual(body);
  expect(JSON.parse((await l4ctl('-o json vip ls')).out)).toEqual(body);
  expect(JSON.parse((await l4ctl('vip disable web -o json')).out)).toEqual({ revision: 2 });
  for (const line of [
    'status',
    'bgp summary',
    'bgp bfd',
    'peer ls',
    'backend ls web',
    'vip show web',
    'host show',
    'export',
  ]) {
    expect(JSON.parse((await l4ctl(`${line} -o json`)).out)).toBeTypeOf('object');
  }
});

test('backends: add, weight, drain, undrain, ls, rm', async () => {
  await addWeb();
  expect((await l4ctl('backend add web 10.0.0.23=5')).out).toBe(
    'backend 10.0.0.23 added to web (revision 2)\n',
  );
  expect((await l4ctl('backend weight web 10.0.0.23 9')).out).toBe(
    'backend 10.0.0.23 of web has weight 9 (revision 3)\n',
  );
  await l4ctl('backend drain web 10.0.0.23 --timeout 5m');
  expect(port.desired().state.vips[0]?.backends[2]).toMatchObject({
    weight: 9,
    drain: true,
    drainTimeout: 300_000,
  });
  expect((await l4ctl('backend ls web')).out).toMatch(/-> 10\.0\.0\.23 +9 +drained/);
  await l4ctl('backend undrain web 10.0.0.23');
  expect(port.desired().state.vips[0]?.backends[2]?.drain).toBe(false);
  expect((await l4ctl('backend rm web 10.0.0.23')).code).toBe(0);
  expect(port.desired().state.vips[0]?.backends).toHaveLength(2);
});

test('the host, its peers and their sessions', async () => {
  expect((await l4ctl('peer add 10.0.0.1 --as 65000')).err).toMatch(/^l4ctl: peers: .*host\.bgp/);
  expect((await l4ctl('host set --as 65001 --router-id 10.0.0.11')).code).toBe(0);
  expect((await l4ctl('host set --listen')).code).toBe(0);
  expect(port.desired().state.host.bgp).toMatchObject({ as: 65001, listen: true });
  expect((await l4ctl('host set')).code).toBe(2);
  expect((await l4ctl('peer add 10.0.0.1 --as 65000 --hold-time 30s --family ipv4')).out).toBe(
    'peer 10.0.0.1 added (revision 3)\n',
  );
  expect((await l4ctl('peer ls')).out).toMatch(/10\.0\.0\.1 +65000 +179 +both +30s +ipv4\n/);
  expect((await l4ctl('peer add eth0.100 --as external --password-file /etc/l4d/eth0.key')).out).toBe(
    'peer eth0.100 added (revision 4)\n',
  );
  expect((await l4ctl('peer add fe80::1%eth1 --as internal')).code).toBe(0);
  expect((await l4ctl('peer add 10.0.0.300 --as 65000')).err).toMatch(
    /^l4ctl: address: "10\.0\.0\.300" is not/,
  );
  expect((await l4ctl('peer ls')).out).toMatch(/eth0\.100 +external +179 [\s\S]*fe80::1%eth1 +internal +179/);
  expect((await l4ctl('peer rm eth0.100')).out).toBe('peer eth0.100 removed (revision 6)\n');
  expect((await l4ctl('peer rm FE80:0::1%eth1')).code).toBe(0);
  expect((await l4ctl('bgp summary')).out).toBe('BGP is off: host.bgp is not declared\n');
  const peer = {
    as: 65000,
    messagesReceived: 120,
    messagesSent: 118,
    prefixesReceived: 2,
    prefixesAdvertised: 5,
    flaps: 1,
  };
  const lastError = {
    atMs: 0,
    direction: 'received',
    code: 6,
    subcode: 2,
    text: 'Cease: administrative shutdown',
  };
  port.bgpStatus = {
    state: 'running',
    announcer: {
      pid: 7,
      startedAt: 0,
      revision: 3,
      local: { as: 65001, routerId: '10.0.0.11' },
      peers: [
        { ...peer, address: '10.0.0.1', state: 'Established', sinceMs: 3_723_000 },
        { ...peer, address: '10.0.0.2', state: 'Active', sinceMs: 90_000_000, lastError },
      ],
      prefixes: [{ prefix: '203.0.113.10/32', advertisedTo: ['10.0.0.1'] }],
    },
  };
  expect((await l4ctl('bgp summary')).out).toBe(
    `BGP router identifier 10.0.0.11, local AS number 65001
BGP table version 3

Neighbor  V     AS  MsgRcvd  MsgSent  TblVer  InQ  OutQ   Up/Down  State/PfxRcd  PfxSnt  Desc
10.0.0.1  4  65000      120      118       3    0     0  01:02:03             2       5  N/A
10.0.0.2  4  65000      120      118       0    0     0     1d01h        Active       0  N/A
10.0.0.2: last error (received): Cease: administrative shutdown

Total number of neighbors 2, prefixes 1
`,
  );
  expect((await l4ctl('bgp bfd')).out).toBe('no peer has BFD (declare it: peers[].bfd)\n');
  const bfd = {
    state: 'Down',
    diagnostic: 'control detection time expired',
    remoteState: 'Down',
    localDiscriminator: 1,
    remoteDiscriminator: 0,
    txIntervalMs: 1000,
    rxIntervalMs: 0,
    detectionTimeMs: 0,
    transitions: 4,
    packetsSent: 20,
    packetsReceived: 9,
    dropped: { 'wrong-ttl': 2 },
  };
  const { announcer } = port.bgpStatus;
  if (announcer === undefined) throw new Error('set above');
  const [first, ...rest] = announcer.peers;
  if (first === undefined) throw new Error('set above');
  port.bgpStatus = { state: 'running', announcer: { ...announcer, peers: [{ ...first, bfd }, ...rest] } };
  expect((await l4ctl('bgp bfd')).out).toBe(
    `Neighbor  State    Tx  Rx  Detect  Changes  Sent  Rcvd  Dropped
10.0.0.1  Down   1000   0       0        4    20     9        2
10.0.0.1: control detection time expired, the neighbor is Down
10.0.0.1: dropped wrong-ttl 2
`,
  );
  expect((await l4ctl('peer rm 10.0.0.1')).code).toBe(0);
});

test('status shows the fabric, and what is wrong with it', async () => {
  await addWeb();
  await l4ctl('host drain');
  expect((await l4ctl('status')).out).toBe(
    `l4d 0.0.0-test, pid 4242, up 01:02:03, revision 2
host       auto, XDP native, draining
vips       0 of 1 announced
bgp        off: host.bgp is not declared
dataplane  l4d_xdp
flows      12 of 65536, at most 1092 new a second
drops      drop_no_backend 3
! vip web is not announced: the host is draining
`,
  );
  await l4ctl('host undrain');
  expect((await l4ctl('status')).out).toContain('1 of 1 announced');
});

/** The status of the memory port's first VIP, changed. */
async function statusOfWeb(change: Partial<FabricStatus['vips'][number]>): Promise<string> {
  await addWeb();
  const status = await port.status();
  return statusText({ ...status, vips: status.vips.map((vip) => ({ ...vip, ...change })) }, 0);
}

test('status counts a VIP as announced while GRACEFUL_SHUTDOWN stands', async () => {
  const text = 'announced with GRACEFUL_SHUTDOWN until 01:56:07 UTC';
  const told = await statusOfWeb({
    announced: true,
    verdict: { code: 'host-draining', reason: `the host is draining; ${text}` },
    ending: { cause: 'host-draining', step: 'graceful-shutdown', sinceMs: 0, text },
  });
  expect(told).toContain('1 of 1 announced');
  expect(told).toContain(`! vip web is leaving: ${text}\n`);
  expect(told).not.toContain('not announced');
});

test('status tells every interface that is served', async () => {
  const status = await port.status();
  const interfaces = [{ name: 'eth2', xdpMode: 'native' }] as const;
  const host = { ...status.host, interface: 'eth0', xdpMode: 'generic', interfaces } as const;
  expect(statusText({ ...status, host }, 0)).toContain('host       eth0, XDP generic, eth2 native\n');
});

test('status tells connections that no worker of the proxy took', async () => {
  const status = await port.status();
  const told = (lookups: Record<string, number>) =>
    statusText({ ...status, dataplane: { ...status.dataplane, lookups } }, 0);
  expect(told({ assigned: 0, no_proxy: 0, not_ours: 99 })).not.toContain('l7 conns');
  expect(told({ assigned: 12, no_proxy: 3, assign_refused: 1, other_port: 2 })).toContain(
    'l7 conns   12 to workers, 4 refused as no worker lived, 2 refused at other ports\n',
  );
});

test('proxy tells by VIP what was denied and what was not served', () => {
  const counted = {
    activeConnections: 1,
    connections: 20,
    denied: 2,
    requests: 0,
    retries: 3,
    retriesRefused: 1,
    unserved: 7,
    kernelRelays: 3,
    kernelRelaysRefused: 2,
    kernelRelaysOverLimit: 1,
  };
  const listener = {
    name: 'mail',
    address: '203.0.113.1',
    port: 25,
    ...counted,
    responses: {},
    backends: [],
  };
  const text = proxyText({
    ...{ pid: 1, startedAt: '', revision: 1, registered: true, workers: [], wantedWorkers: 1, deaths: 0 },
    ...{ unknownConnections: 5, listeners: [listener] },
  });
  expect(text).toContain('5 connections for no VIP of the proxy were reset\n');
  expect(text).toMatch(/VIP +OPEN +CONNECTIONS +REQUESTS +DENIED +UNSERVED\nmail +1 +20 +0 +2 +7\n/);
});

test('a standby is nothing to act on', async () => {
  const reason = 'enough backends are healthy, but 10.79.0.1 is Active with priority 150, ours is 130';
  const told = await statusOfWeb({ announced: false, verdict: { code: 'standby', reason } });
  expect(told).toContain('0 of 1 announced, 1 standby');
  expect(told).not.toContain('! ');
});

const document = `version: 1
vips:
  - name: web
    address: 203.0.113.10
    port: 80
    backends: [{ address: 10.0.0.21 }, { address: 10.0.0.22, weight: 3 }]
`;

test('diff, apply, export and undo', async () => {
  const file = join(folder, 'l4d.yaml');
  await writeFile(file, document);
  const changes = '+ vip web\n+ backend 10.0.0.21 of web\n+ backend 10.0.0.22 of web\n';
  expect((await l4ctl(`diff -f ${file}`)).out).toBe(changes);
  expect(port.desired().revision).toBe(0);
  expect((await l4ctl(`apply -f ${file}`)).out).toBe(`${changes}applied (revision 1)\n`);
  const exported = (await l4ctl('export')).out;
  expect((await l4ctl('diff -f -', exported)).out).toBe('no changes\n');
  expect((await l4ctl('apply -f -', document.replace('weight: 3', 'weight: 4'))).out).toBe(
    '~ backend 10.0.0.22 of web: weight: 3 -> 4\napplied (revision 2)\n',
  );
  expect((await l4ctl('undo')).out).toBe(
    '~ backend 10.0.0.22 of web: weight: 4 -> 3\nundone: a change (revision 3)\n',
  );
  expect(port.desired().state.vips[0]?.backends[1]?.weight).toBe(3);
  await l4ctl('undo');
  expect(await l4ctl('undo')).toMatchObject({
    code: 1,
    err: expect.stringContaining('nothing is left to undo'),
  });
  expect((await l4ctl('reconcile')).out).toBe('nothing differed\n');
});

test('what this host refuses is said by diff, before apply is', async () => {
  const plan = port.plan;
  port.plan = async (next) => ({
    ...(await plan(next)),
    refused: ['host.interfaces: no interface is named "gone0"'],
  });
  expect(await l4ctl('diff -f -', document)).toMatchObject({
    code: 78,
    out: expect.stringContaining('! refused: host.interfaces: no interface is named "gone0"\n'),
    err: 'l4ctl: this host would refuse this change\n',
  });
});

test('several VIPs are removed by one command, all of them or none', async () => {
  await l4ctl(
    'apply -f -',
    `${document}  - { name: two, address: 203.0.113.11, port: 80, backends: [{ address: 10.0.0.1 }] }\n`,
  );
  expect(await l4ctl('vip rm two none')).toMatchObject({ code: 1, err: expect.stringContaining('"none"') });
  expect(port.desired().state.vips).toHaveLength(2);
  expect((await l4ctl('vip rm two web two')).out).toBe('2 VIPs removed (revision 2)\n');
  expect(port.desired().state.vips).toHaveLength(0);
  await l4ctl('undo');
  expect(port.desired().state.vips).toHaveLength(2);
});

test('--version tells that of l4ctl', async () => {
  expect(await l4ctl('--version')).toMatchObject({ code: 0, out: `${version}\n` });
});

test('what the guard refuses is said by diff, and goes by --force', async () => {
  const vips = ['a', 'b', 'c', 'd'].map(
    (name, index) =>
      `  - { name: ${name}, address: 203.0.113.1, port: ${80 + index}, backends: [{ address: 10.0.0.1 }] }`,
  );
  const head =
    'version: 1\nhost: { bgp: { as: 65001, routerId: 10.0.0.11 } }\npeers: [{ address: 10.0.0.2, as: 65000 }]\n';
  expect((await l4ctl('apply -f -', `${head}vips:\n${vips.join('\n')}\n`)).code).toBe(0);
  expect(await l4ctl('diff -f -', head)).toEqual({
    code: 78,
    out: expect.stringMatching(/! refused unless forced \(--force\): withdraws 4 of 4 VIPs/),
    err: 'l4ctl: the guard would refuse this change\n',
  });
  expect((await l4ctl('--force diff -f -', head)).code).toBe(0);
  const refused = await l4ctl('apply -f -', head);
  expect([refused.code, refused.err]).toEqual([
    78,
    expect.stringMatching(/^l4ctl: the guard refuses the change/),
  ]);
  expect((await l4ctl('--force apply -f -', head)).code).toBe(0);
});

test('the program itself reads from a pipe, and ends with the exit code told', async () => {
  await addWeb();
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const shell = async (script: string) => {
    const child = spawn('sh', ['-c', script, process.execPath, main], {
      env: { ...process.env, L4D_RUN_DIR: folder },
    });
    const ended = once(child, 'close');
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    const [code] = await ended;
    return { out, err, code };
  };
  expect(await shell('"$0" "$1" export | (sleep 0.3; cat) | "$0" "$1" diff -f -')).toMatchObject({
    out: 'no changes\n',
    err: '',
  });
  expect(await shell('"$0" "$1" --run-dir /nowhere status')).toMatchObject({ code: 69, out: '' });
});

test('a file that is refused is told with line and column, also without a daemon', async () => {
  const file = join(folder, 'l4d.yaml');
  await writeFile(file, document.replace('port: 80', 'port: 70000'));
  const refused = {
    code: 78,
    out: '',
    err: `${file}:5:11: vips[0].port: 70000 is not a port (allowed: 1 to 65535)\n`,
  };
  expect(await l4ctl(`apply -f ${file}`)).toEqual(refused);
  expect(await l4ctl(`diff -f ${file}`, '', '/nowhere')).toEqual(refused);
  expect(port.desired().revision).toBe(0);
});

test('apply does not undo what another operator changed meanwhile', async () => {
  port.beforeReplace = () => {
    delete port.beforeReplace;
    void port.replace(port.desired().state, {});
  };
  expect(await l4ctl('apply -f -', document)).toMatchObject({
    code: 1,
    err: expect.stringContaining('changed meanwhile'),
  });
});

test('refusals of the API are printed by path, with their hint', async () => {
  await addWeb();
  expect(await l4ctl('vip add 203.0.113.10:70000 -b 10.0.0.1')).toEqual({
    code: 78,
    out: '',
    err: 'l4ctl: port: 70000 is not a port (allowed: 1 to 65535)\n',
  });
  expect((await l4ctl('vip show wbe')).err).toBe(
    'l4ctl: name: no VIP is named "wbe" (did you mean "web"?)\n',
  );
  expect((await l4ctl('vip show wbe')).code).toBe(1);
  expect((await l4ctl('vip add 203.0.113.12:80 -b fd00::1')).err).toMatch(
    /^l4ctl: backends\[0\]\.address: fd00::1 is IPv6/,
  );
});

test('a daemon that is not there is one message that says how to start it', async () => {
  const { code, out, err } = await l4ctl('status', '', '/nowhere');
  expect(code).toBe(69);
  expect(out).toBe('');
  expect(err).toMatch(/^l4ctl: l4d does not answer on \/nowhere\/l4d\.sock: .*start it with: l4d run.*\n$/);
  expect(err.trimEnd().split('\n')).toHaveLength(1);
  expect((await l4ctl(`--socket ${join(folder, 'l4d.sock')} status`, '', '/nowhere')).code).toBe(0);
  expect((await l4ctl(`--run-dir ${folder} status`, '', '/nowhere')).code).toBe(0);
});

test.each(['vip', 'backend', 'peer', 'bgp', 'host'])(
  'the noun %s alone prints its help and changes nothing',
  async (noun) => {
    const { code, err } = await l4ctl(noun);
    expect(code).toBe(2);
    expect(err).toContain(`Usage: l4ctl ${noun}`);
    expect(port.desired().revision).toBe(0);
  },
);

test.each([
  ['vip add 203.0.113.10 -b 10.0.0.1', /ADDRESS:PORT/],
  ['vip add 2001:db8::1:80 -b fd00::1', /\[2001:db8::10\]:53\/udp/],
  ['vip add 203.0.113.10:80', /--backend/],
  ['vip add 203.0.113.10:80 --policy l7 --mode socks --destination a,b', /\[HOST\|PREFIX\]\[:PORTS\]/],
  ['vip add 203.0.113.10:80 -b 10.0.0.1=x', /ADDRESS\[:PORT\]\[=WEIGHT\]/],
  ['vip add 203.0.113.10:80 -b 10.0.0.1 --check http://x/', /TYPE\[:PORT\]\[\/PATH\]/],
  ['vip sohw web', /did you mean show/i],
  ['backend weight web 10.0.0.1 many', /whole number/],
  ['-o xml vip ls', /table, wide, json/],
  ['apply', /--file/],
])('the command line "%s" is refused as wrong', async (line, reason) => {
  const { code, err } = await l4ctl(line);
  expect(code).toBe(2);
  expect(err).toMatch(reason);
  expect(port.desired().revision).toBe(0);
});

test('help is on stdout with examples and exit code 0', async () => {
  expect(await l4ctl('--help')).toMatchObject({
    code: 0,
    out: expect.stringContaining('l4ctl backend drain web'),
  });
  expect(await l4ctl('vip add --help')).toMatchObject({
    code: 0,
    out: expect.stringContaining('--on-backend-down'),
  });
});

test('a VIP of every port', async () => {
  expect((await l4ctl('vip add 203.0.113.10:any -b 10.0.0.21')).err).toMatch(/check: has no port/);
  await l4ctl('vip add 203.0.113.10:any/udp -b 10.0.0.21 --check udp:53');
  expect((await l4ctl('vip ls')).out).toMatch(/^203\.0\.113\.10-any-udp +203\.0\.113\.10:any +udp/m);
  expect((await l4ctl('export')).out).toMatch(/port: any/);
});
