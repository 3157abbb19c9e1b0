import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeMessage } from '@l4d/announcer/core/codec/message.ts';
import { createFlightRecorder } from '@l4d/announcer/core/flight-recorder.ts';
import { entryToJson } from '@l4d/announcer/core/record-json.ts';
import type { BgpPeerView } from '@l4d/l4d/core/status.ts';
import type { MemoryPort } from '@l4d/l4d/io/api/memory-port.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { captureL4ctl, enough } from './testing/captured.ts';
import { type ServedPort, servePort } from './testing/served-port.ts';

let folder: string;
let port: MemoryPort;
let api: ServedPort;

beforeEach(async () => {
  api = await servePort();
  ({ folder, port } = api);
});
afterEach(() => api.close());

const now = 1_700_000_000_000;

/** Runs a command line; `onSleep` is called where a watch waits, and ends it by throwing. */
async function l4ctl(args: string | readonly string[], onSleep?: (times: number) => void, stdin = '') {
  let sleeps = 0;
  const raw: Uint8Array[] = [];
  const said = await captureL4ctl(args, folder, {
    stdoutBytes: (bytes) => void raw.push(bytes),
    stdin: async () => stdin,
    stdinBytes: async () => Buffer.from(stdin),
    hostAddresses: () => ['127.0.0.1/8', '10.0.0.11/24', 'fd00::11/64'],
    async sleep() {
      sleeps += 1;
      onSleep?.(sleeps);
    },
    now: () => now,
  });
  return { ...said, raw: Buffer.concat(raw) };
}

const counts = { open: 1, update: 3, notification: 0, keepalive: 116, routeRefresh: 0, other: 0 };
const established: BgpPeerView = {
  address: '10.0.0.1',
  as: 65000,
  state: 'Established',
  sinceMs: 3_723_000,
  remoteRouterId: '10.0.0.1',
  holdTimeMs: 9000,
  messagesReceived: 120,
  messagesSent: 120,
  messages: { sent: counts, received: counts },
  negotiated: ['ipv4', 'ipv6', 'fourOctetAs'],
  session: { local: '10.0.0.11', localPort: 40000, remote: '10.0.0.1', remotePort: 179, queuedBytes: 7 },
  prefixesReceived: 2,
  prefixesAdvertised: 5,
  flaps: 1,
  lastError: { atMs: now - 60_000, direction: 'received', code: 6, subcode: 2, text: 'Cease' },
};

const bfd = {
  state: 'Up',
  diagnostic: 'none',
  remoteState: 'Up',
  localDiscriminator: 11,
  remoteDiscriminator: 12,
  txIntervalMs: 50,
  rxIntervalMs: 50,
  detectionTimeMs: 150,
  transitions: 2,
  packetsSent: 20,
  packetsReceived: 19,
  dropped: { 'wrong-ttl': 2 },
  upSince: now - 61_000,
};

function run(...peers: BgpPeerView[]): void {
  port.bgpStatus = {
    state: 'running',
    announcer: {
      pid: 7,
      startedAt: 0,
      revision: 3,
      local: { as: 65001, routerId: '10.0.0.11' },
      peers,
      prefixes: [
        {
          prefix: '2001:db8::1/128',
          advertisedTo: [],
          notAdvertisedTo: [{ peer: '10.0.0.1', reason: 'no next hop' }],
        },
      ],
    },
  };
}

describe('views', () => {
  it('the summary has the columns of FRR, and more where it is wide', async () => {
    run(established);
    // The header line of `show bgp summary` of FRR 8.4, held against the real one in test/interop/bgp-views.test.ts.
    const frr = 'Neighbor V AS MsgRcvd MsgSent TblVer InQ OutQ Up/Down State/PfxRcd PfxSnt Desc';
    const head = (text: string) => text.split('\n').find((line) => line.startsWith('Neighbor'));
    const words = (text: string) => head(text)?.trim().split(/\s+/).join(' ');
    expect(words((await l4ctl('bgp summary')).out)).toBe(frr);
    expect(words((await l4ctl('bgp summary -o wide')).out)).toBe(`${frr} Hold Flaps BFD Negotiated`);
    expect((await l4ctl('bgp summary')).out).toMatch(
      /^10\.0\.0\.1 +4 +65000 +120 +120 +3 +0 +7 +01:02:03 +2 +5 +N\/A$/m,
    );
  });

  it('a neighbor in the words of FRR', async () => {
    run(established);
    expect((await l4ctl('bgp neighbor 10.0.0.1')).out).toBe(
      `BGP neighbor is 10.0.0.1, remote AS 65000, local AS 65001, external link
  BGP version 4, remote router ID 10.0.0.1, local router ID 10.0.0.11
  BGP state = Established, up for 01:02:03
  Hold time is 9 seconds, keepalive interval is 3 seconds
  Neighbor capabilities: ipv4, ipv6, fourOctetAs
  Message statistics:
    Inq depth is 0
    Outq depth is 7
                        Sent       Rcvd
    Opens:                     1          1
    Notifications:             0          0
    Updates:                   3          3
    Keepalives:              116        116
    Route Refresh:             0          0
    Total:                   120        120
  Prefixes: 5 sent, 2 received (none is imported)
    2001:db8::1/128 is not sent: no next hop
  Connections established 2; dropped 1
  Last reset 00:01:00, due to (the neighbor said) Cease
Local host: 10.0.0.11, Local port: 40000
Foreign host: 10.0.0.1, Foreign port: 179
`,
    );
    expect(await l4ctl('bgp neighbor 10.0.0.9')).toMatchObject({
      code: 1,
      err: 'l4ctl: 10.0.0.9 is no peer of this host (there are: 10.0.0.1)\n',
    });
    expect(JSON.parse((await l4ctl('bgp neighbor 10.0.0.1 -o json')).out)).toMatchObject({ as: 65000 });
    run({ ...established, address: 'fd00::1' });
    expect((await l4ctl('bgp neighbor FD00:0::1')).code).toBe(0);
  });

  it('one BFD session with all that is known of it', async () => {
    run({ ...established, bfd });
    const { out } = await l4ctl('bgp bfd 10.0.0.1');
    for (const line of [
      'ID: 11',
      'Remote ID: 12',
      'Status: up',
      'Uptime: 00:01:01',
      'Detection time: 150ms',
    ]) {
      expect(out).toContain(`    ${line}\n`);
    }
    run(established);
    expect(await l4ctl('bgp bfd 10.0.0.1')).toMatchObject({ code: 1, out: '' });
    expect(await l4ctl('bgp bfd 10.0.0.1 -o json')).toMatchObject({ code: 1, out: '' });
  });

  it('says why BFD is not up, where the session is up without it', async () => {
    const { upSince: _, ...down } = { ...bfd, state: 'Down', remoteState: 'Down', dropped: {} };
    const silent = { ...down, packetsReceived: 0 };
    const never = 'no BFD packet has ever come from the router';
    for (const [found, cause] of [
      [silent, never],
      [
        { ...silent, dropped: { 'wrong-ttl': 3 } },
        'every BFD packet of the router was dropped (wrong-ttl 3)',
      ],
      [{ ...down, remoteState: 'AdminDown' }, 'the router has BFD administratively down'],
      [{ ...down, diagnostic: 'control detection time expired' }, 'control detection time expired'],
      [{ ...silent, problem: 'cannot send from this host: EPERM' }, 'cannot send from this host: EPERM'],
    ] as const) {
      run({ ...established, bfd: found });
      expect((await l4ctl('status')).out).toContain(`\n! peer 10.0.0.1 has BFD in Down: ${cause}\n`);
      expect((await l4ctl('bgp bfd')).out).toContain(`\n10.0.0.1: ${cause}`);
      expect((await l4ctl('bgp bfd')).out).not.toContain('none');
      expect((await l4ctl('bgp neighbor 10.0.0.1')).out).toContain(`(${cause})`);
    }
    run({ ...established, bfd: silent });
    expect((await l4ctl('bgp bfd 10.0.0.1')).out).toContain(`Diagnostics: ${never}\n`);
    expect((await l4ctl('bgp summary -o wide')).out).toMatch(/ 9 +1 +Down +ipv4,ipv6/);
    run({ ...established, state: 'Active', bfd: silent });
    expect((await l4ctl('status')).out).toContain(`! peer 10.0.0.1 has BFD in Down: ${never}\n`);
    run({ ...established, bfd });
    expect((await l4ctl('status')).out).not.toContain('BFD');
    expect((await l4ctl('bgp summary -o wide')).out).toMatch(/ 9 +1 +Up +ipv4,ipv6/);
  });

  it('bfd says that it has no precedence', async () => {
    run({ ...established, bfd });
    const { announcer } = port.bgpStatus;
    if (announcer === undefined) throw new Error('no announcer');
    for (const precedence of ['deadline', 'none'] as const) {
      port.bgpStatus = { state: 'running', announcer: { ...announcer, bfdProcess: { pid: 7, precedence } } };
      const { out } = await l4ctl('bgp bfd');
      expect(out.includes('BFD works at the common priority')).toBe(precedence === 'none');
    }
  });

  it('-w writes the table once and then what changes, where nobody sits before it', async () => {
    run(established);
    const { out } = await l4ctl('bgp summary -w', (times) => {
      if (times === 2) run({ ...established, state: 'Active', prefixesAdvertised: 0, prefixesReceived: 0 });
      if (times === 4) throw enough;
    });
    expect(out.match(/BGP router identifier/g)).toHaveLength(1);
    expect(out.split('\n').slice(-2)).toEqual([
      '2023-11-14T22:13:20.000Z 10.0.0.1: Established, 5 sent, 2 received -> Active, 0 sent, 0 received (Cease)',
      '',
    ]);
    const json = await l4ctl('bgp summary -w -o json', (times) => {
      if (times === 1) throw enough;
    });
    expect(JSON.parse(json.out)).toMatchObject({ subject: '10.0.0.1' });
  });

  it('-w goes on where the daemon is away for a while, and says so once', async () => {
    run(established);
    const { bgp } = port;
    const { code, out, err } = await l4ctl('bgp summary -w', (times) => {
      if (times === 3) port.bgp = () => Promise.reject(new Error('away'));
      if (times === 5) port.bgp = bgp;
      if (times === 6) run({ ...established, state: 'Active' });
      if (times === 8) throw enough;
    });
    expect(code).toBe(-1);
    expect(err.split('\n')).toHaveLength(2);
    expect(out.split('\n').at(-2)).toMatch(/10\.0\.0\.1: Established.* -> Active/);
  });

  it('-w ends with whoever reads it, also when nothing changes', async () => {
    run(established);
    const main = join(import.meta.dirname, 'main.ts');
    const args = [main, '--run-dir', folder, 'bgp', 'summary', '-w'];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data');
      child.stdout.destroy();
      const left = await Promise.race([once(child, 'exit'), sleep(10_000, 'still there', { ref: false })]);
      expect(left).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('routes, over all pages', async () => {
    const route = (index: number) => ({
      prefix: `203.0.113.${index}/32`,
      nextHop: '10.0.0.11',
      origin: 'IGP',
      asPath: '65001',
      med: 10,
      attributes: [{ type: 8, flags: 192, value: { kind: 'communities', communities: ['65001:7'] } }],
    });
    const asked: string[] = [];
    port.announcer = (method, path) => {
      asked.push(`${method} ${path}`);
      const offset = Number(/offset=(\d+)/.exec(path)?.[1]);
      const more = offset === 0 ? { nextOffset: 1 } : {};
      return { status: 200, body: { peer: '10.0.0.1', total: 2, routes: [route(offset)], ...more } };
    };
    expect((await l4ctl('bgp routes advertised 10.0.0.1 -o wide')).out).toBe(
      `  Network         Next Hop   Metric  LocPrf  Weight  Path     Communities
*>203.0.113.0/32  10.0.0.11      10               0  65001 i  65001:7
*>203.0.113.1/32  10.0.0.11      10               0  65001 i  65001:7

Total number of prefixes 2 told to 10.0.0.1
`,
    );
    expect(asked).toEqual([
      'GET /v1/peers/10.0.0.1/advertised?offset=0&limit=10000',
      'GET /v1/peers/10.0.0.1/advertised?offset=1&limit=10000',
    ]);
    expect(await l4ctl('bgp routes sideways')).toMatchObject({ code: 2 });
  });

  it('clear asks for the reset, or for the routes alone; a refusal is told', async () => {
    const asked: unknown[] = [];
    port.announcer = (method, path, body) => {
      asked.push([method, path, body]);
      return path.includes('10.0.0.9')
        ? { status: 404, body: { detail: '10.0.0.9 is no peer of this host' } }
        : { status: 200, body: {} };
    };
    expect((await l4ctl('bgp clear 10.0.0.1')).out).toBe('the session with 10.0.0.1 was reset\n');
    expect((await l4ctl('bgp clear 10.0.0.1 --soft')).code).toBe(0);
    expect(asked).toEqual([
      ['POST', '/v1/peers/10.0.0.1/clear', { soft: false }],
      ['POST', '/v1/peers/10.0.0.1/clear', { soft: true }],
    ]);
    expect(await l4ctl('bgp clear 10.0.0.9')).toMatchObject({
      code: 1,
      err: 'l4ctl: not found: 10.0.0.9 is no peer of this host\n',
    });
    delete port.announcer;
    expect(await l4ctl('bgp clear 10.0.0.1')).toMatchObject({ code: 1 });
  });

  it('asks the announcer itself when the daemon does not run', async () => {
    run(established);
    let served: object = port.bgpStatus.announcer ?? {};
    const virtualRouter = {
      ...{ group: 'edge', vrid: 10, family: 'ipv4', state: 'Active', priority: 150, owning: true },
      ...{
        activeRouter: '10.0.0.11',
        activePriority: 150,
        since: 0,
        transitions: 1,
        addresses: 1,
        dropped: {},
      },
    };
    await api.endListening();
    const { createServer } = await import('node:http');
    const server = createServer((request, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(request.url?.startsWith('/v1/status') ? served : {}));
    });
    await new Promise<void>((resolve) => server.listen(join(folder, 'announcer.sock'), resolve));
    const { code, out, err } = await l4ctl('bgp summary');
    expect([code, err]).toEqual([0, 'l4d does not answer: this is from the announcer itself\n']);
    expect(out).toContain('10.0.0.1');
    served = { ...served, vrrp: { routers: [virtualRouter], dropped: {} } };
    const vrrp = await l4ctl('vrrp');
    expect([vrrp.code, vrrp.err]).toEqual([0, 'l4d does not answer: this is from the announcer itself\n']);
    expect(vrrp.out).toMatch(/edge +10 +ipv4 +Active +150 +10\.0\.0\.11 \(this host\)/);
    await new Promise((resolve) => server.close(resolve));
  });
});

describe('record', () => {
  const keepalive = encodeMessage({ type: 'keepalive' });

  beforeEach(() => {
    const recorder = createFlightRecorder();
    recorder.event(now, { kind: 'state', from: 'Idle', to: 'Connect' });
    recorder.message(now + 1, 'sent', 1, keepalive);
    recorder.message(
      now + 2,
      'received',
      1,
      encodeMessage({ type: 'notification', code: 6, subcode: 4, data: new Uint8Array(0) }),
    );
    port.announcer = (_method, path) => {
      const after = Number(/after=(\d+)/.exec(path)?.[1]);
      const entries = recorder.entries(after).map((entry) => entryToJson(entry, (at) => at));
      if (after > 0) recorder.event(now + 5, { kind: 'error', text: `after ${after}` });
      return {
        status: 200,
        body: {
          peer: '10.0.0.1',
          present: true,
          evicted: 0,
          newest: recorder.newest(),
          entries,
          more: false,
        },
      };
    };
  });

  it('is a line an entry, and goes on with -f', async () => {
    expect((await l4ctl('bgp record 10.0.0.1')).out).toBe(
      `2023-11-14T22:13:20.000Z -- BGP Idle -> Connect
2023-11-14T22:13:20.001Z >> KEEPALIVE
2023-11-14T22:13:20.002Z << NOTIFICATION Cease / Administrative Reset
`,
    );
    const followed = await l4ctl('bgp record 10.0.0.1 -f', (times) => {
      if (times === 3) throw enough;
    });
    expect(followed.out.split('\n').slice(3)).toEqual(['2023-11-14T22:13:20.005Z -- error: after 3', '']);
  });

  it('goes on with -f where the announcer is away, and begins anew', async () => {
    const page = (entries: readonly unknown[], newest: number) => ({
      status: 200,
      body: { peer: '10.0.0.1', present: true, evicted: 0, newest, entries, more: false },
    });
    const { code, out, err } = await l4ctl('bgp record 10.0.0.1 -f', (times) => {
      if (times === 1) delete port.announcer;
      if (times === 3) {
        const anew = [{ sequence: 1, atMs: now, kind: 'error', text: 'after the restart' }];
        port.announcer = (_method, path) => page(path.includes('after=0&') ? anew : [], 1);
      }
      if (times === 6) throw enough;
    });
    expect(code).toBe(-1);
    expect(out.split('\n').at(-2)).toMatch(/after the restart$/);
    expect(err.split('\n')).toEqual([
      expect.stringMatching(/does not answer/),
      expect.stringMatching(/anew/),
      '',
    ]);
  });

  it('is a capture file with --pcap, for its owner alone', async () => {
    const file = join(folder, 'record.pcapng');
    expect((await l4ctl(`bgp record 10.0.0.1 --pcap ${file}`)).code).toBe(0);
    expect((await readFile(file)).readUInt32BE(0)).toBe(0x0a0d0d0a);
    await chmod(file, 0o644);
    expect((await l4ctl(`bgp record 10.0.0.1 --pcap ${file}`)).code).toBe(0);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await l4ctl('bgp record 10.0.0.1 --pcap -')).raw).toEqual(await readFile(file));
    expect(await l4ctl('bgp record 10.0.0.1 --pcap /nowhere/x')).toMatchObject({
      code: 1,
      err: 'l4ctl: /nowhere/x cannot be written: ENOENT\n',
    });
  });
});

describe('decode and encode', () => {
  const keepalive = 'ffffffffffffffffffffffffffffffff001304';
  const badLengths = 'ffffffffffffffffffffffffffffffff001702ffff0000';

  it('decode reads digits, files and standard input; exit code 1 when not all would be accepted', async () => {
    const decoded = await l4ctl(`bgp decode ${keepalive}${keepalive}`);
    expect(decoded).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse(decoded.out)).toEqual([
      { offset: 0, length: 19, outcome: 'accept', message: { type: 'keepalive' } },
      { offset: 19, length: 19, outcome: 'accept', message: { type: 'keepalive' } },
    ]);
    const file = join(folder, 'raw');
    await writeFile(file, Buffer.from(keepalive, 'hex'));
    expect((await l4ctl(`bgp decode ${file}`)).code).toBe(0);
    const spaced = keepalive.replace(/../g, '$& ');
    expect((await l4ctl('bgp decode -', undefined, spaced)).code).toBe(0);
    const bad = await l4ctl(`bgp decode ${keepalive}${badLengths}`);
    expect(bad).toMatchObject({
      code: 1,
      err: 'l4ctl: 1 of 2 messages would not be accepted; the first at octet 19: session-reset\n',
    });
    expect(JSON.parse(bad.out)[1]).toMatchObject({
      outcome: 'session-reset',
      notification: { code: 3, subcode: 1 },
    });
    expect(await l4ctl('bgp decode /nowhere')).toMatchObject({ code: 2 });
    expect((await l4ctl(`bgp decode 0x${keepalive}`)).code).toBe(0);
  });

  it('decode says what a capture file is, and takes no endless input', async () => {
    const file = join(folder, 'capture');
    for (const magic of ['0a0d0d0a1c000000', 'd4c3b2a102000400']) {
      await writeFile(file, Buffer.from(magic, 'hex'));
      const { code, out, err } = await l4ctl(`bgp decode ${file}`);
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(err).toMatch(/is a capture file.*tshark/);
    }
    expect(await l4ctl('bgp decode /dev/zero')).toMatchObject({
      code: 2,
      err: 'l4ctl: /dev/zero has more than 16777216 octets: give it in parts\n',
    });
  });

  it.each([
    ['{"nextHop":["foo"],"nlri":{"prefixes":[]}}', /^attributes\[0\]\.value\.nextHop\[0\]: "foo" is not/],
    [
      '{"nextHop":["::1"],"nlri":{"prefixes":["fd00::/200"]}}',
      /^attributes\[0\]\.value\.nlri\.prefixes\[0\]: "fd00::\/200" has/,
    ],
    [
      '{"nextHop":["::1"],"nlri":{"prefixes":["10.0.0.0/8"]}}',
      /^attributes\[0\]\.value\.nlri\.prefixes\[0\]: must be an IPv6 prefix/,
    ],
  ])('encode says what is wrong within %s', async (mpReach, expected) => {
    const value = { kind: 'mp-reach', afi: 2, safi: 1, ...JSON.parse(mpReach) };
    const update = { type: 'update', attributes: [{ type: 14, flags: 128, value }] };
    const { code, err } = await l4ctl('bgp encode', undefined, JSON.stringify(update));
    expect(code).toBe(78);
    expect(err.replace('l4ctl: message 0: ', '')).toMatch(expected);
    expect(await l4ctl('bgp encode', undefined, '[]')).toMatchObject({ code: 78, out: '' });
    const nothing = await l4ctl('bgp encode', undefined, 'null');
    expect(nothing.err).toBe('l4ctl: message 0: Invalid input: expected object, received null\n');
  });

  it('encode takes what decode has printed, back to the same octets', async () => {
    const { out } = await l4ctl(`bgp decode ${keepalive}${keepalive}`);
    expect((await l4ctl('bgp encode', undefined, out)).out).toBe(`${keepalive}\n${keepalive}\n`);
    const { raw } = await l4ctl('bgp encode - --raw', undefined, out);
    expect(raw.toString('hex')).toBe(keepalive + keepalive);
    expect(await l4ctl('bgp encode', undefined, '{"type":"update","nlri":["nonsense"]}')).toMatchObject({
      code: 78,
      err: expect.stringMatching(/^l4ctl: message 0: nlri\[0\]: "nonsense" is not/),
    });
  });
});
