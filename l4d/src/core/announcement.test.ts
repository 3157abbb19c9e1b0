import { desiredSchema } from '@l4d/announcer/core/api.ts';
import { expect, test } from 'vitest';
import { announcedRoutes } from './announced-routes.ts';
import { announcerDesired } from './announcement.ts';
import { type DesiredState, parseDesiredState } from './desired-state.ts';

function state(fields: object): DesiredState {
  const backends = [{ address: '10.0.0.1' }];
  const parsed = parseDesiredState({
    version: 1,
    host: { bgp: { as: 65001, routerId: '10.0.0.11' } },
    peers: [{ address: '10.0.0.254', as: 65000, holdTime: '3s' }],
    vips: [
      { address: '203.0.113.10', port: 80, backends },
      { address: '203.0.113.10', port: 443, backends },
      { address: '2001:db8::10', port: 80, backends: [{ address: 'fd00::1' }] },
    ],
    ...fields,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
}

const routes = ({ vips, host }: DesiredState) =>
  announcedRoutes({ declared: vips, announced: vips, leaving: [], aggregates: host.bgp?.aggregates ?? [] });
const nextHops = { ipv4: '10.0.0.11', ipv6: undefined };

test('an address is one host prefix however many VIPs use it', () => {
  expect(routes(state({})).map(({ prefix }) => prefix)).toEqual(['2001:db8::10/128', '203.0.113.10/32']);
});

test('the announcer accepts what it is told', () => {
  const told = announcerDesired(state({}), [{ prefix: '203.0.113.10/32' }], nextHops);
  expect(desiredSchema.safeParse(told).success).toBe(true);
  expect(told).toMatchObject({
    owner: 'l4d',
    local: { as: 65001, routerId: '10.0.0.11', listen: false },
    peers: [{ address: '10.0.0.254', as: 65000, holdTimeMs: 3000, nextHop4: '10.0.0.11' }],
    prefixes: [{ prefix: '203.0.113.10/32' }],
  });
  expect(told?.peers[0]).not.toHaveProperty('nextHop6');
});

test('options of peers and VIPs reach the announcer', () => {
  const peer = {
    address: '10.0.0.254',
    as: 65000,
    password: 'secret',
    ttlSecurityHops: 1,
    promise: 'continuity',
    restartTime: '30s',
    gracefulShutdown: '5s',
    role: 'customer',
    nextHopSelf: true,
    policy: { med: 5, deny: ['203.0.113.128/25'] },
  };
  const announce = { communities: ['65001:1'], linkBandwidth: { mbps: 100 } };
  const vip = { address: '203.0.113.10', port: 80, backends: [{ address: '10.0.0.1' }] };
  const declared = state({
    peers: [peer],
    vips: [
      { ...vip, announce },
      { ...vip, port: 81 },
    ],
  });
  const told = announcerDesired(declared, routes(declared), nextHops);
  expect(told?.peers[0]).toMatchObject({
    password: 'secret',
    ttlSecurityHops: 1,
    promise: 'continuity',
    restartTimeMs: 30_000,
    gracefulShutdownMs: 5000,
    role: 'customer',
    policy: { med: 5, deny: ['203.0.113.128/25'] },
  });
  expect(told?.peers[0]).not.toHaveProperty('nextHop4');
  expect(told?.peers[0]).not.toHaveProperty('idleHoldMs');
  expect(told?.prefixes).toEqual([
    {
      prefix: '203.0.113.10/32',
      communities: ['65001:1'],
      linkBandwidth: { mbps: 100, transitive: true },
    },
  ]);
  expect(desiredSchema.safeParse(told).success).toBe(true);
});

test.each([
  [{ restartTime: '5s' }, 'peers[0].restartTime'],
  [{ roleStrict: true }, 'peers[0].roleStrict'],
  [{ role: 'peer', as: 65001 }, 'peers[0].role'],
  [{ nextHopSelf: true, nextHops: { ipv4: '10.0.0.9' } }, 'peers[0].nextHopSelf'],
  [{ password: '' }, 'peers[0].password'],
  [{ policy: { communities: ['70000:1'] } }, 'peers[0].policy.communities[0]'],
])('a peer with %j is refused at its place', (options, path) => {
  expect(() => state({ peers: [{ address: '10.0.0.254', as: 65000, ...options }] })).toThrow(path);
});

test('VIPs of one address must agree on how it is announced', () => {
  const vip = { address: '203.0.113.10', port: 80, backends: [{ address: '10.0.0.1' }] };
  expect(() =>
    state({
      vips: [
        { ...vip, announce: { med: 1 } },
        { ...vip, port: 81, announce: { med: 2 } },
      ],
    }),
  ).toThrow('vips[1].announce');
});

test('BFD of a peer goes to the announcer by its own names', () => {
  const bfd = { txInterval: '50ms', strict: true, auth: { type: 'keyed-sha1', key: 'lab' } };
  const peers = [{ address: '10.0.0.254', as: 65000, bfd }];
  const told = announcerDesired(state({ peers }), [], nextHops);
  expect(desiredSchema.parse(told).peers[0]?.bfd).toEqual({
    txIntervalMs: 50,
    rxIntervalMs: 300,
    multiplier: 3,
    multihop: false,
    echo: false,
    strict: true,
    auth: { type: 'keyed-sha1', keyId: 1, key: 'lab' },
  });
});

test('without host.bgp there is nothing to tell', () => {
  expect(announcerDesired(state({ host: {}, peers: [] }), [], nextHops)).toBeUndefined();
});
