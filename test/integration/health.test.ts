import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkSchema } from '@l4d/health/core/check.ts';
import type { HealthTarget } from '@l4d/health/core/target.ts';
import {
  createHealthChecker,
  type HealthChecker,
  type HealthStatus,
  type VerdictEvent,
} from '@l4d/health/io/health-checker.ts';
import { systemClock } from '@l4d/kit/clock.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { ensureCheckRouting, markOfBackend, removeCheckRouting } from '@l4d/l4d/io/check-routing.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { writeAcceptingHaproxy } from './support/haproxy.ts';
import {
  createHealthLab,
  type HealthLab,
  waitForPort,
  writeNginxConfiguration,
} from './support/health-lab.ts';
import { enterNamespace, eventually, ipIn, run, runIn } from './support/network-namespace.ts';

let lab: HealthLab;
let leave: () => void;
let checker: HealthChecker;
let events: VerdictEvent[];
const logger = createLogger('health-test');

function startChecker(): HealthChecker {
  return createHealthChecker({
    clock: systemClock,
    logger,
    random: Math.random,
    version: '9.9.9',
    onVerdict: (event) => events.push(event),
  });
}

beforeAll(async () => {
  lab = createHealthLab();
  for (const [namespace, name] of [
    [lab.one, 'one'],
    [lab.two, 'two'],
  ] as const) {
    lab.start(namespace, 'nginx', '-c', writeNginxConfiguration(lab.folder, name));
  }
  lab.start(lab.one, 'haproxy', '-db', '-f', writeAcceptingHaproxy(lab.folder, '10.76.0.21', 8443));
  lab.start(lab.one, process.execPath, join(import.meta.dirname, 'support/backend.mjs'));
  leave = enterNamespace(lab.balancer);
  await Promise.all(
    [
      ['10.76.0.21', 80],
      ['10.76.0.22', 80],
      ['10.76.0.21', 8080],
      ['10.76.0.21', 8443],
      ['10.76.0.21', 2525],
    ].map(([host, port]) => waitForPort(String(host), Number(port))),
  );
});

afterAll(() => {
  leave?.();
  lab?.remove();
});

beforeEach(() => {
  events = [];
  checker = startChecker();
});

afterEach(() => checker.stop());

/** A target with quick timing; the check's fields go over it. */
function target(check: Record<string, unknown>, more: Partial<HealthTarget> = {}): HealthTarget {
  return {
    key: 'it',
    address: ipAddress('10.76.0.21'),
    port: 80,
    check: checkSchema.decode({ interval: '200ms', timeout: '150ms', rise: 2, fall: 3, ...check } as never),
    ...more,
  };
}

function status(key = 'it'): HealthStatus {
  const known = checker.status(key);
  if (known === undefined) throw new Error(`no target ${key}`);
  return known;
}

async function expectVerdict(wanted: HealthTarget, verdict: string, reason: string): Promise<void> {
  checker.setTargets([wanted]);
  await eventually(
    `${wanted.check.type} is ${verdict}: ${JSON.stringify(checker.status('it'))}`,
    () => status().verdict === verdict,
  );
  expect(status().history.at(-1)?.reason).toBe(reason);
}

describe('a real server', () => {
  it.each([
    ['tcp', { type: 'tcp' }, 'up', 'connected'],
    ['http', { type: 'http' }, 'up', 'HTTP 200'],
    ['http by HEAD', { type: 'http', method: 'HEAD' }, 'up', 'HTTP 200'],
    ['a redirect', { type: 'http', path: '/moved' }, 'up', 'HTTP 301'],
    [
      'https with a certificate of another name',
      { type: 'https', host: 'web.example', port: 443 },
      'up',
      'HTTP 200',
    ],
    ['a wrong status', { type: 'http', path: '/broken' }, 'down', 'HTTP 503, wanted 200-399'],
    ['a status that is wanted', { type: 'http', path: '/broken', expectStatus: '503' }, 'up', 'HTTP 503'],
    [
      'a redirect that is not wanted',
      { type: 'http', path: '/moved', expectStatus: 200 },
      'down',
      'HTTP 301, wanted 200',
    ],
    ['a closed port', { type: 'tcp', port: 81 }, 'down', 'connect: connection refused'],
    ['a slow answer', { type: 'http', path: '/slow', port: 8080 }, 'down', 'HTTP: no answer within 150ms'],
    ['an endless body', { type: 'http', path: '/endless', port: 8080 }, 'up', 'HTTP 200'],
    ['TLS to a port without it', { type: 'https', port: 2525 }, 'down', 'TLS: protocol error'],
    ['HTTP to a port without it', { type: 'http', port: 2525 }, 'down', 'HTTP: the answer is not HTTP'],
    ['none', { type: 'none' }, 'up', 'not checked'],
  ])('%s', async (_, check, verdict, reason) => {
    const wanted =
      check.type === 'none'
        ? { ...target({ type: 'tcp' }), check: checkSchema.decode({ type: 'none' }) }
        : target(check);
    await expectVerdict(wanted, verdict, reason as string);
  });

  it('that wants a PROXY header is told of a connection of ours', async () => {
    for (const proxyProtocol of ['v1', 'v2'] as const) {
      await expectVerdict(target({ type: 'http' }, { port: 8443, proxyProtocol }), 'up', 'HTTP 200');
      // A check with a port of its own is not said to want it.
      const elsewhere = target({ type: 'http', port: 80 }, { port: 8443, proxyProtocol });
      await expectVerdict(elsewhere, 'up', 'HTTP 200');
    }
    checker.setTargets([]);
    checker.setTargets([target({ type: 'http' }, { port: 8443 })]);
    await eventually('without it, it is down', () => status().verdict === 'down');
  });

  it('over IPv6', async () => {
    const address = ipAddress('fd76::21');
    await expectVerdict(target({ type: 'http' }, { address }), 'up', 'HTTP 200');
    await expectVerdict(
      target({ type: 'tcp', port: 81 }, { address }),
      'down',
      'connect: connection refused',
    );
  });

  it('sees who asks, the Host header and the server name', async () => {
    await expectVerdict(target({ type: 'https', host: 'sni.example', port: 443 }), 'up', 'HTTP 200');
    const log = () => readFileSync(join(lab.folder, 'one.access'), 'utf8');
    await eventually('a log line', () => log().includes('200 "sni.example" "l4d-check/9.9.9" "sni.example"'));
    await expectVerdict(target({ type: 'http' }), 'up', 'HTTP 200');
    await eventually('a log line', () => log().includes('200 "10.76.0.21:80" "l4d-check/9.9.9"'));
  });

  it('gets no reset, even when it sends a banner', async () => {
    // Tcp: OutRsts of the balancer's namespace.
    const resets = () => {
      const rows = runIn(lab.balancer, 'cat', '/proc/net/snmp')
        .split('\n')
        .filter((line) => line.startsWith('Tcp:'));
      const [names = [], values = []] = rows.map((line) => line.split(' '));
      return Number(values[names.indexOf('OutRsts')]);
    };
    const before = resets();
    checker.setTargets([target({ type: 'tcp', port: 2525 })]);
    await eventually('five checks', () => status().history.length >= 5);
    expect(resets()).toBe(before);
    checker.setTargets([target({ type: 'tcp', port: 2525 }, { key: 'rst', reset: true })]);
    await eventually('five checks', () => status('rst').history.length >= 5);
    expect(resets()).toBeGreaterThan(before);
  });
});

describe('UDP', () => {
  const port = 5353;
  it.each([
    ['an answer as wanted', { send: 'ping', expect: 'pong:ping', port }, 'up', 'answered'],
    ['an answer in hexadecimal', { send: '0x00ff', expect: '0x706f6e673a', port }, 'up', 'answered'],
    [
      'another answer',
      { send: 'ping', expect: 'hello', port },
      'down',
      'answered "pong:ping", wanted "hello"',
    ],
    [
      'silence where an answer is wanted',
      { send: 'quiet', expect: 'pong', port },
      'down',
      'UDP: no answer within 150ms',
    ],
    ['silence where none is wanted', { send: 'quiet', port }, 'up', 'silent, no error'],
    ['a closed port', { send: 'ping', port: 5354 }, 'down', 'UDP: port unreachable'],
  ])('%s', async (_, check, verdict, reason) => {
    await expectVerdict(target({ type: 'udp', ...check }), verdict, reason);
  });
});

describe('a server that changes', () => {
  it('goes down when frozen, though its kernel still accepts, and comes back after rise', async () => {
    const script = "require('http').createServer((_, r) => r.end('x')).listen(9090, '10.76.0.21')";
    const server = lab.start(lab.one, process.execPath, '-e', script);
    await waitForPort('10.76.0.21', 9090);
    checker.setTargets([target({ type: 'http', port: 9090 })]);
    await eventually('up', () => status().verdict === 'up');
    server.kill('SIGSTOP');
    await eventually('down', () => status().verdict === 'down');
    expect(events.at(-1)).toMatchObject({
      previous: 'up',
      verdict: 'down',
      reason: 'HTTP: no answer within 150ms',
    });
    expect(status().badInARow).toBeGreaterThanOrEqual(3);
    server.kill('SIGCONT');
    await eventually('up again', () => status().verdict === 'up');
    expect(status().goodInARow).toBeGreaterThanOrEqual(2);
    server.kill('SIGKILL');
    await eventually('down again', () => status().verdict === 'down');
    expect(status().history.at(-1)?.reason).toBe('connect: connection refused');
  });

  it('goes down by timeout when its packets are lost', async () => {
    await expectVerdict(target({ type: 'tcp' }), 'up', 'connected');
    runIn(
      lab.one,
      'nft',
      'add table inet lost; add chain inet lost in { type filter hook input priority 0; }; add rule inet lost in tcp dport 80 drop',
    );
    try {
      await eventually('down', () => status().verdict === 'down');
      expect(events.at(-1)?.reason).toBe('connect: no answer within 150ms');
    } finally {
      runIn(lab.one, 'nft', 'delete table inet lost');
    }
  });
});

describe('the set of targets', () => {
  it('keeps an adopted verdict until fall says otherwise', async () => {
    checker.setTargets([target({ type: 'tcp', port: 81 }, { adoptedVerdict: 'up' })]);
    expect(status()).toMatchObject({ verdict: 'up', adopted: true });
    await eventually('two bad checks', () => status().badInARow === 2);
    expect(status().verdict).toBe('up');
    await eventually('down', () => status().verdict === 'down');
    expect(events).toHaveLength(1);
  });

  it('keeps the state of what is unchanged and the verdict of what is asked otherwise', async () => {
    const wanted = target({ type: 'tcp' });
    await expectVerdict(wanted, 'up', 'connected');
    const before = status();
    checker.setTargets([{ ...wanted }, target({ type: 'tcp' }, { key: 'other' })]);
    expect(status()).toEqual(before);
    checker.setTargets([target({ type: 'http' })]);
    expect(status()).toMatchObject({ verdict: 'up', goodInARow: 0 });
    expect(checker.status('other')).toBeUndefined();
    checker.setTargets([target({ type: 'http' }, { port: 8080 })]);
    expect(status()).toMatchObject({ verdict: 'unknown', history: [] });
  });
});

it('a fault of our own moves no verdict', async () => {
  checker.setTargets([target({ type: 'tcp' }, { interfaceName: 'nosuch0', adoptedVerdict: 'up' })]);
  await eventually('four checks', () => status().history.length >= 4);
  expect(status()).toMatchObject({ verdict: 'up', badInARow: 0 });
  expect(status().history.at(-1)).toMatchObject({
    kind: 'inconclusive',
    reason: 'connect: no such interface here',
  });
});

it('thousands of checks of every outcome leak no descriptor', async () => {
  const count = () => readdirSync('/proc/self/fd').length;
  const kinds: readonly [Record<string, unknown>, Partial<HealthTarget>][] = [
    [{ type: 'tcp' }, {}],
    [{ type: 'tcp', port: 81 }, {}],
    [{ type: 'http' }, {}],
    [{ type: 'http', path: '/slow', port: 8080 }, {}],
    [{ type: 'http', path: '/endless', port: 8080, timeout: '100ms' }, {}],
    [{ type: 'http', port: 2525 }, {}],
    [{ type: 'https', port: 443 }, {}],
    [{ type: 'https', port: 2525 }, {}],
    [{ type: 'udp', port: 5354 }, {}],
    [{ type: 'udp', port: 5353, send: 'quiet' }, {}],
    // Nobody has this address: the connection neither succeeds nor fails in time.
    [{ type: 'tcp' }, { address: ipAddress('10.76.0.200') }],
    [{ type: 'tcp' }, { interfaceName: 'nosuch0' }],
  ];
  const before = count();
  const targets = kinds.flatMap(([check, more], kind) =>
    Array.from({ length: 10 }, (_, index) =>
      target({ ...check, interval: '200ms' }, { ...more, key: `${kind}-${index}` }),
    ),
  );
  let checks = 0;
  for (let round = 0; round < 5; round++) {
    // Called off in the middle as well: setTargets with nothing, then everything again.
    checker.setTargets(targets);
    const done = () => targets.reduce((sum, { key }) => sum + status(key).history.length, 0);
    await eventually('four checks of a target on average', () => done() >= 4 * targets.length, 60_000);
    checks += done();
    checker.setTargets([]);
  }
  expect(checks).toBeGreaterThan(2000);
  await eventually(`${count()} descriptors, ${before} before`, () => count() <= before + 2);
});

it('asks a thousand targets in turn: none is forgotten, none more often than its interval says', async () => {
  const targets = Array.from({ length: 1000 }, (_, index) =>
    target(
      { type: index % 2 === 0 ? 'tcp' : 'http', interval: '1200ms', timeout: '1s' },
      { key: `${index}` },
    ),
  );
  checker.setTargets(targets);
  const rounds = () => targets.map(({ key }) => status(key).history.length);
  await eventually('four checks of each', () => Math.min(...rounds()) >= 4, 60_000);
  // A busy machine delays all of them alike.
  expect(Math.max(...rounds()) - Math.min(...rounds())).toBeLessThanOrEqual(2);
  expect(events.filter(({ verdict }) => verdict === 'up')).toHaveLength(1000);
});

describe('marked checks', () => {
  const vip = { address: ipAddress('203.0.113.76'), port: 80 };
  const vip6 = { address: ipAddress('2001:db8:76::76'), port: 80 };
  const routing = { interfaceName: 'eth0' };

  /** Stands in for bpf/check_steering.bpf.c with two backends compiled in. */
  function attachSteering(): void {
    const macOf = (namespace: string) => {
      const mac = JSON.parse(ipIn(namespace, '-j link show eth0'))[0].address as string;
      return mac
        .split(':')
        .map((byte) => `0x${byte}`)
        .join(',');
    };
    const source = join(lab.folder, 'steer.c');
    writeFileSync(
      source,
      `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int steer(struct __sk_buff *skb) {
  unsigned char one[6] = {${macOf(lab.one)}}, two[6] = {${macOf(lab.two)}};
  if ((skb->mark & 0xff000000) != 0x4c000000) return -1;
  if ((skb->mark & 0xffffff) == 1) bpf_skb_store_bytes(skb, 0, one, 6, 0);
  else if ((skb->mark & 0xffffff) == 2) bpf_skb_store_bytes(skb, 0, two, 6, 0);
  else return 2;
  return -1;
}
char _license[] SEC("license") = "GPL";
`,
    );
    const object = join(lab.folder, 'steer.o');
    const include = `/usr/include/${run('uname', '-m').trim()}-linux-gnu`;
    run('clang', '-O2', '-g', '-target', 'bpf', '-I', include, '-c', source, '-o', object);
    runIn(lab.balancer, 'tc', 'qdisc', 'add', 'dev', 'eth0', 'clsact');
    runIn(
      lab.balancer,
      'tc',
      'filter',
      'add',
      'dev',
      'eth0',
      'egress',
      'bpf',
      'da',
      'obj',
      object,
      'sec',
      'tc',
    );
  }

  const ruleCount = (family: '-4' | '-6') =>
    (ipIn(lab.balancer, `${family} rule show`).match(/0x4c000000/g) ?? []).length;

  it('have a way out that asks nobody, made once and removed whole', async () => {
    for (let times = 0; times < 3; times++) await ensureCheckRouting(routing);
    expect(ipIn(lab.balancer, 'rule show')).toContain(
      '19532:\tfrom all fwmark 0x4c000000/0xff000000 lookup 19532',
    );
    expect([ruleCount('-4'), ruleCount('-6')]).toEqual([1, 1]);
    const get = (mark: string, address: string) => ipIn(lab.balancer, `route get ${address} mark ${mark}`);
    expect(get('0x4c000007', '203.0.113.76')).toContain('via 169.254.76.52 dev eth0 table 19532');
    expect(get('0x4c000007', '2001:db8:76::76')).toContain('via fe80::4c34 dev eth0 table 19532');
    expect(() => get('0x4d000007', '203.0.113.76')).toThrow(/unreachable/);
    expect(ipIn(lab.balancer, 'neigh show 169.254.76.52')).toMatch(/lladdr 02:6c:34:64:00:01 PERMANENT/);
    expect(ipIn(lab.balancer, 'neigh show fe80::4c34')).toMatch(/lladdr 02:6c:34:64:00:01 .*PERMANENT/);
    await ensureCheckRouting({ ...routing, priority: 700 });
    expect([ruleCount('-4'), ruleCount('-6')]).toEqual([1, 1]);
    for (let times = 0; times < 2; times++) await removeCheckRouting(routing);
    expect([ruleCount('-4'), ruleCount('-6')]).toEqual([0, 0]);
    expect(() => get('0x4c000007', '203.0.113.76')).toThrow(/unreachable/);
    expect(ipIn(lab.balancer, 'neigh show')).not.toContain('02:6c:34:64');
    await expect(ensureCheckRouting({ interfaceName: 'nosuch0' })).rejects.toThrow(
      'interface nosuch0 is not available here',
    );
  });

  it('ask one given backend at the VIP', async () => {
    await ensureCheckRouting(routing);
    attachSteering();
    const path = '/only-one';
    checker.setTargets([
      target({ type: 'http', path }, { ...vip, key: 'one', mark: markOfBackend(1) }),
      target({ type: 'http', path }, { ...vip, key: 'two', mark: markOfBackend(2) }),
      target({ type: 'http', path }, { ...vip6, key: 'one6', mark: markOfBackend(1) }),
      target({ type: 'http', path }, { ...vip6, key: 'two6', mark: markOfBackend(2) }),
      target({ type: 'tcp' }, { ...vip, key: 'nobody', mark: markOfBackend(3) }),
      target({ type: 'tcp' }, { ...vip, key: 'unmarked' }),
      target(
        { type: 'udp', port: 5353, send: 'a', expect: 'pong:a' },
        { ...vip, key: 'udp', mark: markOfBackend(1) },
      ),
    ]);
    const keys = ['one', 'two', 'one6', 'two6', 'nobody', 'unmarked', 'udp'];
    await eventually('verdicts', () => keys.every((key) => status(key).verdict !== 'unknown'));
    expect(keys.map((key) => [key, status(key).verdict, status(key).history.at(-1)?.reason])).toEqual([
      ['one', 'up', 'HTTP 200'],
      ['two', 'down', 'HTTP 503, wanted 200-399'],
      ['one6', 'up', 'HTTP 200'],
      ['two6', 'down', 'HTTP 503, wanted 200-399'],
      ['nobody', 'down', 'connect: no answer within 150ms'],
      ['unmarked', 'down', 'connect: network unreachable'],
      ['udp', 'up', 'answered'],
    ]);
  });
});
