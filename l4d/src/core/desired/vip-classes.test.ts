import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { parseDesiredState } from '../desired-state.ts';
import { completeVip, isDirect, type Vip } from './vip.ts';
import { classOf, isMixed, maxClasses } from './vip-classes.ts';

const base = { address: '203.0.113.10', port: 80, backends: [{ address: '10.0.0.21' }] };

function parsed(...vips: object[]): readonly Vip[] {
  const result = parseDesiredState({ version: 1, vips: vips.map((vip) => ({ ...base, ...vip })) });
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value.vips;
}

function problems(...vips: object[]): string[] {
  const result = parseDesiredState({ version: 1, vips: vips.map((vip) => ({ ...base, ...vip })) });
  return result.ok ? [] : result.error.map(({ path, message }) => `${path}: ${message}`);
}

const l7 = { prefix: '198.51.100.0/24', policy: 'l7' };
const drop = { prefix: '203.0.113.0/24', policy: 'drop' };

test('the longest prefix counts, whatever the order; without one the policy of the VIP', () => {
  const [vip] = parsed({
    classes: [
      { prefix: '198.51.100.128/25', policy: 'drop' },
      l7,
      { prefix: '0.0.0.0/0', policy: 'l7' },
      { prefix: '198.51.100.130/32', policy: 'forward' },
    ],
  });
  const of = (client: string) => vip && classOf(vip, ipAddress(client)).policy;
  expect([of('198.51.100.130'), of('198.51.100.131'), of('198.51.100.1'), of('192.0.2.1')]).toEqual([
    'forward',
    'drop',
    'l7',
    'l7',
  ]);
  const [plain] = parsed({});
  expect(plain && classOf(plain, ipAddress('192.0.2.1'))).toEqual({ policy: 'forward' });
});

test('a VIP with both policies may declare the fields of both; direct clients get the backends of pool default', () => {
  const [vip] = parsed({
    classes: [l7],
    scheduler: 'wrr',
    slowStart: '10s',
    forward: 'ipip',
    access: { deny: ['198.51.100.9/32'] },
    routes: [{ pathPrefix: '/api', pool: 'api' }, { pool: 'default' }],
    limits: { requestFields: 20 },
    backends: [{ address: '10.0.0.21' }, { address: '127.0.0.1', port: 8080, pool: 'api' }],
  });
  if (vip === undefined) throw new Error('no VIP');
  expect(isMixed(vip)).toBe(true);
  expect(vip.backends.map((backend) => isDirect(vip, backend))).toEqual([true, false]);
});

test('what contradicts itself is told', () => {
  expect(problems({ classes: [l7, l7] })).toEqual([
    'vips[0].classes[1].prefix: 198.51.100.0/24 is already classes[0] of this VIP',
  ]);
  expect(problems({ classes: [{ prefix: '2001:db8::/32', policy: 'drop' }] })).toEqual([
    'vips[0].classes[0].prefix: 2001:db8::/32 is IPv6, which clients of an IPv4 VIP are not (allowed: IPv4 prefixes)',
  ]);
  expect(problems({ policy: 'drop', classes: [drop] }).join()).toMatch(
    /^vips\[0\]\.policy: is drop, and no prefix of classes has another one: nobody would be let in/,
  );
  expect(problems({ policy: 'drop' }).join()).toMatch(/nobody would be let in/);
  expect(problems({ policy: 'drop', classes: [{ ...l7, policy: 'forward' }] })).toEqual([]);
  expect(problems({ classes: [{ prefix: '198.51.100.1/24', policy: 'l7' }] }).join()).toMatch(
    /is not a prefix/,
  );
  expect(problems({ classes: [{ ...l7, policy: 'allow' }] }).join()).toMatch(/allowed: forward, l7, drop/);
  expect(problems({ port: 'any', check: { type: 'none' }, classes: [l7] }).join()).toMatch(
    /any is not a port of policy l7/,
  );
  expect(problems({ classes: [drop], access: { deny: ['192.0.2.0/24'] } }).join()).toMatch(
    /access: is allowed for policy l7 only/,
  );
  expect(problems({ policy: 'l7', classes: [drop], scheduler: 'wrr' }).join()).toMatch(
    /scheduler is for policy forward/,
  );
  expect(
    problems({
      classes: [l7],
      routes: [{ pool: 'api' }],
      backends: [{ address: '10.0.0.21', pool: 'api' }],
    }).join(),
  ).toMatch(/has none in pool "default", which clients of policy forward get/);
  expect(
    problems({
      ...{ policy: 'l7', mode: 'connect', destinations: [{}], backends: [] },
      classes: [{ ...l7, policy: 'forward' }],
    }).join(),
  ).toMatch(/mode connect has no backends/);
});

test('there are at most so many, and one complaint about more', () => {
  const classes = Array.from({ length: maxClasses + 1 }, (_, at) => ({
    prefix: `10.${at >> 8}.${at & 255}.0/24`,
    policy: 'drop',
  }));
  expect(problems({ classes: classes.slice(1) })).toEqual([]);
  expect(problems({ classes })).toEqual([
    `vips[0].classes: has too many prefixes (allowed: at most ${maxClasses})`,
  ]);
});

test('VIPs of one address may have different policies', () => {
  expect(problems({}, { port: 443, policy: 'l7' })).toEqual([]);
});

test('what was filled in for the proxy goes with the last client that went there', () => {
  const [mixed] = parsed({ classes: [l7] });
  if (mixed === undefined) throw new Error('no VIP');
  expect(mixed.access).toEqual({ allow: [], deny: [] });
  const { classes: _, ...without } = mixed;
  expect(completeVip(without, mixed)).not.toHaveProperty('access');
  expect(completeVip(without, mixed)).not.toHaveProperty('routes');
  const said = { ...without, access: { allow: [], deny: [l7.prefix].map(ipPrefix) } };
  expect(completeVip(said, mixed)).toHaveProperty('access');
});
