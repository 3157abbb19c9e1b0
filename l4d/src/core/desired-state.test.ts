import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type DesiredState,
  desiredStateJsonSchema,
  emptyDesiredState,
  encodeDesiredState,
  parseDesiredState,
} from './desired-state.ts';

const vip = {
  address: '203.0.113.10',
  port: 80,
  backends: [{ address: '10.0.0.21' }, { address: '10.0.0.22' }],
};
const l7 = { ...vip, policy: 'l7' };

function parsed(json: unknown, previous?: DesiredState): DesiredState {
  const result = parseDesiredState(json, previous);
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value;
}

function problems(json: unknown): string[] {
  const result = parseDesiredState(json);
  if (result.ok) return [];
  return result.error.map(
    ({ path, message, hint }) => `${path}: ${message}${hint === undefined ? '' : ` [${hint}]`}`,
  );
}

test('what is left out is filled in', () => {
  const state = parsed({ version: 1, vips: [vip, { ...vip, protocol: 'udp' }] });
  expect(state.host).toMatchObject({ interface: 'auto', xdpMode: 'auto', nextHops: {}, draining: false });
  expect(state.vips[0]).toMatchObject({
    name: '203.0.113.10-80-tcp',
    policy: 'forward',
    enabled: true,
    tableSize: 1009,
    onBackendDown: 'keep',
    minHealthy: { kind: 'count', count: 1 },
    idleTimeout: 900_000,
    check: { type: 'tcp', interval: 2000, timeout: 5000, rise: 2, fall: 3 },
  });
  expect(state.vips[0]?.backends[0]).toMatchObject({ weight: 1, drain: false });
  expect(state.vips[1]).toMatchObject({
    name: '203.0.113.10-80-udp',
    idleTimeout: 90_000,
    check: { type: 'udp', interval: 5000, timeout: 10_000, rise: 3, fall: 3 },
  });
  expect(parsed({ version: 1 })).toEqual(emptyDesiredState);
});

test('values are typed', () => {
  const check = { type: 'http', expectStatus: '200-299,404', interval: '500ms' };
  const state = parsed({ version: 1, vips: [{ ...vip, minHealthy: '50%', check }] });
  expect(formatIpAddress((state.vips[0] as DesiredState['vips'][number]).address)).toBe('203.0.113.10');
  expect(state.vips[0]?.minHealthy).toEqual({ kind: 'share', percent: 50 });
  expect(state.vips[0]?.check).toMatchObject({
    interval: 500,
    expectStatus: [
      { from: 200, to: 299 },
      { from: 404, to: 404 },
    ],
  });
});

test('a table keeps its size while its pool grows, and is resized only when that is declared', () => {
  const many = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ address: `10.0.1.${index + 1}` }));
  const small = parsed({ version: 1, vips: [vip] });
  const grown = { version: 1, vips: [{ ...vip, name: 'web', backends: many(40) }] };
  expect(parsed(grown, small).vips[0]?.tableSize).toBe(1009);
  expect(parsed(grown).vips[0]?.tableSize).toBe(4001);
  const resized = { version: 1, vips: [{ ...vip, tableSize: 2003 }] };
  expect(parsed(resized, small).vips[0]?.tableSize).toBe(2003);
  expect(parsed({ version: 1, vips: [{ ...vip, expectedBackends: 100 }] }).vips[0]?.tableSize).toBe(10_007);
});

test.each<[string, unknown, RegExp | string]>([
  ['port', { ...vip, port: 70_000 }, 'vips[0].port: 70000 is not a port (allowed: 1 to 65535)'],
  ['port 0', { ...vip, port: 0 }, /^vips\[0\]\.port: 0 is not a port/],
  ['port as text', { ...vip, port: '80' }, /^vips\[0\]\.port: "80" is not a port/],
  ['missing port', { ...vip, port: undefined }, /^vips\[0\]\.port: is missing/],
  [
    'unknown key',
    { ...vip, prtocol: 'tcp' },
    /^vips\[0\]\.prtocol: is not a known key .*\[did you mean "protocol"\?\]$/,
  ],
  [
    'unknown word',
    { ...vip, protocol: 'tpc' },
    /"tpc" is not a protocol \(allowed: tcp, udp\) \[did you mean "tcp"\?\]/,
  ],
  [
    'bad address',
    { ...vip, address: '10.0.0.256' },
    /^vips\[0\]\.address: "10\.0\.0\.256" is not an IP address/,
  ],
  ['mapped address', { ...vip, address: '::ffff:10.0.0.1' }, /IPv4-mapped/],
  ['loopback VIP', { ...vip, address: '127.0.0.1' }, /loopback/],
  ['multicast VIP', { ...vip, address: 'ff02::1', backends: [{ address: 'fd00::1' }] }, /multicast/],
  ['no backends', { ...vip, backends: [] }, 'vips[0].backends: has no backends (allowed: at least one)'],
  ['backends missing', { ...vip, backends: undefined }, /^vips\[0\]\.backends: has no backends/],
  [
    'family',
    { ...vip, backends: [{ address: 'fd00::1' }] },
    /^vips\[0\]\.backends\[0\]\.address: fd00::1 is IPv6, its VIP 203/,
  ],
  [
    'backend twice',
    { ...vip, backends: [vip.backends[0], vip.backends[0]] },
    /^vips\[0\]\.backends\[1\]\.address: 10\.0\.0\.21 is already/,
  ],
  ['backend is the VIP', { ...vip, backends: [{ address: vip.address }] }, /is the VIP itself/],
  [
    'weight',
    { ...vip, backends: [{ address: '10.0.0.1', weight: 1001 }] },
    /1001 is not a weight \(allowed: 0 to 1000\)/,
  ],
  ['composite table', { ...vip, tableSize: 1000 }, /1000 is not a table size .*\[the next prime is 1009\]/],
  [
    'small table',
    { ...vip, tableSize: 2, backends: [1, 2, 3].map((n) => ({ address: `10.0.0.${n}` })) },
    /2 slots are fewer than the 3 backends/,
  ],
  [
    'minHealthy count',
    { ...vip, minHealthy: 3 },
    /^vips\[0\]\.minHealthy: 3 is more than the VIP has backends \(allowed: 1 to 2\)/,
  ],
  ['minHealthy share', { ...vip, minHealthy: '101%' }, /"101%" is not a number of backends/],
  [
    'short interval',
    { ...vip, check: { type: 'tcp', interval: '99ms' } },
    /"99ms" is not a duration \(allowed: 100ms to 50s/,
  ],
  ['interval without unit', { ...vip, check: { type: 'tcp', interval: 5 } }, /5 is not a duration/],
  ['check type', { ...vip, check: { type: 'htp' } }, /"htp" is not known .*\[did you mean "http"\?\]/],
  [
    'udp check of tcp',
    { ...vip, check: { type: 'udp' } },
    /^vips\[0\]\.check\.type: udp checks a UDP service/,
  ],
  [
    'status',
    { ...vip, check: { type: 'http', expectStatus: '2xx' } },
    /"2xx" is not a list of HTTP status codes/,
  ],
  [
    'http over udp',
    { ...l7, protocol: 'udp', mode: 'http' },
    /^vips\[0\]\.mode: http is not a mode of protocol udp/,
  ],
  ['access without l7', { ...vip, access: {} }, /^vips\[0\]\.access: is allowed for policy l7 only/],
  ['routes without l7', { ...vip, routes: [] }, /^vips\[0\]\.routes: is allowed for policy l7 only/],
  [
    'backend port without l7',
    { ...vip, backends: [{ address: '10.0.0.1', port: 1 }] },
    /backends\[0\]\.port: is allowed for policy l7/,
  ],
  [
    'pool without l7',
    { ...vip, backends: [{ address: '10.0.0.1', pool: 'a' }] },
    /backends\[0\]\.pool: is allowed for policy l7/,
  ],
  [
    'unknown pool',
    { ...l7, routes: [{ pool: 'defualt' }] },
    /routes\[0\]\.pool: "defualt" is no pool .*\[did you mean "default"\?\]/,
  ],
  [
    'route twice',
    { ...l7, routes: [{ pool: 'default' }, { pool: 'default', pathPrefix: '/' }] },
    /routes\[1\]: matches the same requests as routes\[0\]/,
  ],
  ['unreachable pools', { ...l7, backends: [{ address: '10.0.0.1', pool: 'a' }] }, /routes: has no routes/],
  [
    'prefix with host bits',
    { ...l7, access: { allow: ['10.0.0.1/8'] } },
    /is not a prefix .*the prefix is 10\.0\.0\.0\/8/,
  ],
])('refused: %s', (_, bad, expected) => {
  const told = problems({ version: 1, vips: [bad] });
  expect(told).toHaveLength(1);
  expect(told[0]).toMatch(expected);
});

test('the same VIP twice, and the same name twice, are told once each', () => {
  expect(problems({ version: 1, vips: [vip, vip] })).toEqual([
    expect.stringMatching(/^vips\[1\]\.address: 203\.0\.113\.10 port 80 tcp is already served by vips\[0\]/),
  ]);
  const named = [
    { ...vip, name: 'web' },
    { ...vip, name: 'web', port: 81 },
  ];
  expect(problems({ version: 1, vips: named })).toEqual([
    'vips[1].name: "web" is already the name of vips[0]',
  ]);
  const impostor = [{ ...vip, port: 81, name: '203.0.113.10-80-tcp' }, vip];
  expect(problems({ version: 1, vips: impostor })).toHaveLength(1);
  expect(problems({ version: 1, vips: [vip, { ...vip, protocol: 'udp' }] })).toEqual([]);
});

const bgp = { as: 65_001, routerId: '10.0.0.11' };

test.each<[string, object, RegExp]>([
  [
    'a peer',
    { host: { bgp }, peers: [{ address: vip.address, as: 65_000 }] },
    /is the address of a peer, peers\[0\]\.address/,
  ],
  [
    'our address on a session',
    { host: { bgp }, peers: [{ address: '10.0.0.1', as: 65_000, localAddress: vip.address }] },
    /on a session, peers\[0\]\.localAddress/,
  ],
  ['a next hop', { host: { nextHops: { ipv4: vip.address } } }, /is a next hop, host\.nextHops\.ipv4/],
  [
    'a next hop told to one peer',
    { host: { bgp }, peers: [{ address: '10.0.0.1', as: 65_000, nextHops: { ipv4: vip.address } }] },
    /is a next hop, peers\[0\]\.nextHops\.ipv4/,
  ],
  [
    'a backend of another VIP',
    { vips: [vip, { ...vip, address: '203.0.113.11', backends: [{ address: vip.address }] }] },
    /is the address of a backend, vips\[1\]\.backends\[0\]\.address .*\[.*would loop\]$/,
  ],
])('a VIP that is also %s is refused', (_, parts, expected) => {
  const told = problems({ version: 1, vips: [vip], ...parts });
  expect(told).toHaveLength(1);
  expect(told[0]).toMatch(/^vips\[0\]\.address: 203\.0\.113\.10 is /);
  expect(told[0]).toMatch(expected);
});

test('a backend of an l7 VIP may be a forward VIP', () => {
  const front = { ...l7, address: '203.0.113.11', backends: [{ address: vip.address }] };
  expect(problems({ version: 1, vips: [vip, front] })).toEqual([]);
});

test('l7 VIPs may have backends of another family and one address in several pools', () => {
  const backends = [
    { address: 'fd00::1', pool: 'a' },
    { address: 'fd00::1', pool: 'b', port: 8080 },
  ];
  const routes = [{ pool: 'a' }, { pool: 'b', host: 'b.example' }];
  const state = parsed({ version: 1, vips: [{ ...l7, backends, routes }] });
  expect(state.vips[0]?.access).toEqual({ allow: [], deny: [] });
});

test.each<[string, unknown, RegExp]>([
  ['no mapping', [], /^: a list is not allowed here \(allowed: a mapping\)/],
  ['null', null, /^: null is not allowed here/],
  ['version missing', {}, /^version: is missing/],
  ['version 2', { version: 2 }, /^version: 2 is not a version known here/],
  ['key at the top', { version: 1, vip: [] }, /^vip: is not a known key .*\[did you mean "vips"\?\]/],
  ['peers without bgp', { version: 1, peers: [{ address: '10.0.0.1', as: 1 }] }, /^peers: .*no BGP identity/],
  [
    'metrics',
    { version: 1, host: { metrics: '::1:80' } },
    /^host\.metrics: .*\[an IPv6 address needs brackets/,
  ],
  [
    'interface',
    { version: 1, host: { interface: 'a/b' } },
    /^host\.interface: "a\/b" is not an interface name/,
  ],
])('refused: %s', (_, bad, expected) => {
  const told = problems(bad);
  expect(told).toHaveLength(1);
  expect(told[0]).toMatch(expected);
});

test.each<[string, object, RegExp]>([
  [
    'the same peer twice',
    {
      peers: [
        { address: '10.0.0.1', as: 1 },
        { address: '10.0.0.1', as: 2 },
      ],
    },
    /^peers\[1\]\.address: 10\.0\.0\.1 is already peers\[0\]/,
  ],
  ['AS 0', { peers: [{ address: '10.0.0.1', as: 0 }] }, /^peers\[0\]\.as: 0 is not an AS number/],
  [
    'hold time below 3 s',
    { peers: [{ address: '10.0.0.1', as: 1, holdTime: '2s' }] },
    /^peers\[0\]\.holdTime: "2s" is not a duration/,
  ],
  [
    'hold time in parts of a second',
    { peers: [{ address: '10.0.0.1', as: 1, holdTime: '3500ms' }] },
    /whole seconds/,
  ],
  [
    'passive without listening',
    { peers: [{ address: '10.0.0.1', as: 1, mode: 'passive' }] },
    /host\.bgp\.listen/,
  ],
])('refused: %s', (_, parts, expected) => {
  const told = problems({ version: 1, host: { bgp: { as: 65001, routerId: '10.0.0.11' } }, ...parts });
  expect(told).toHaveLength(1);
  expect(told[0]).toMatch(expected);
});

test('all problems are told at once', () => {
  expect(
    problems({
      version: 1,
      vips: [
        { ...vip, port: 0, prot: 1 },
        { address: 'x', backends: 3 },
      ],
    }),
  ).toHaveLength(5);
});

const octet = fc.integer({ min: 1, max: 254 });
const vip4 = fc
  .record({
    last: octet,
    port: fc.integer({ min: 1, max: 65_535 }),
    protocol: fc.constantFrom('tcp', 'udp'),
    weights: fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 5 }),
    minHealthy: fc.oneof(
      fc.constant(1),
      fc.integer({ min: 1, max: 100 }).map((percent) => `${percent}%`),
    ),
    check: fc.option(
      fc.oneof(
        fc.record({
          type: fc.constantFrom('tcp', 'http', 'https'),
          interval: fc.integer({ min: 100, max: 50_000 }).map((ms) => `${ms}ms`),
        }),
        fc.constant({ type: 'none' }),
        fc.constant({ type: 'http', expectStatus: '200,300-399', host: 'a.example', port: 8080 }),
      ),
      { nil: undefined },
    ),
    allow: fc.array(
      octet.map((n) => `10.${n}.0.0/16`),
      { maxLength: 2 },
    ),
  })
  .map(({ last, weights, check, allow, ...rest }) => {
    // One policy an address.
    const isL7 = last % 2 === 0;
    return {
      ...rest,
      policy: isL7 ? 'l7' : 'forward',
      protocol: isL7 ? 'tcp' : rest.protocol,
      address: `203.0.113.${last}`,
      backends: weights.map((weight, index) => ({
        address: `10.0.0.${index + 1}`,
        weight,
        ...(isL7 ? { port: 8080 } : {}),
      })),
      ...(check === undefined ? {} : { check }),
      ...(isL7 ? { access: { allow } } : {}),
    };
  });

test('a state encodes to JSON that parses back to the same', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(vip4, { selector: (one) => `${one.address} ${one.port} ${one.protocol}`, maxLength: 5 }),
      fc.boolean(),
      (vips, bgp) => {
        const host = bgp ? { bgp: { as: 65001, routerId: '10.0.0.1' }, metrics: '[::1]:9400' } : {};
        const peers = bgp ? [{ address: 'fd00::1', as: 4_200_000_000 }] : [];
        const state = parsed({ version: 1, host, peers, vips });
        const json = JSON.parse(JSON.stringify(encodeDesiredState(state)));
        expect(parsed(json)).toEqual(state);
        expect(encodeDesiredState(parsed(json))).toEqual(json);
      },
    ),
    { numRuns: 200 },
  );
});

test('garbage is refused, never thrown at', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (json) => {
      const result = parseDesiredState({ version: 1, host: json, peers: json, vips: [json] });
      expect(result.ok).toBe(false);
    }),
  );
});

test('the JSON Schema comes from the same schema', () => {
  const schema = JSON.stringify(desiredStateJsonSchema());
  for (const word of ['onBackendDown', '"maximum":65535', '"const":"https"', 'holdTime'])
    expect(schema).toContain(word);
});

test('a VIP may have every port: it says which port is checked, and is not for the proxy', () => {
  const any = { ...vip, port: 'any', check: { type: 'tcp', port: 22 } };
  const state = parsed({ version: 1, vips: [vip, any] });
  expect(state.vips[1]).toMatchObject({ name: '203.0.113.10-any-tcp', port: 0 });
  expect(encodeDesiredState(state)).toMatchObject({ vips: [{ port: 80 }, { port: 'any' }] });
  expect(problems(encodeDesiredState(state))).toEqual([]);
  expect(problems({ version: 1, vips: [any, any] })[0]).toContain('port any tcp is already served');
  expect(problems({ version: 1, vips: [{ ...any, check: { type: 'tcp' } }] })).toEqual([
    'vips[0].check: has no port, and neither has the VIP, which has them all (allowed: a check with a port, or type none) [say which port answers for all: check: { type: tcp, port: 22 }]',
  ]);
  expect(problems({ version: 1, vips: [{ ...any, check: { type: 'none' } }] })).toEqual([]);
  expect(problems({ version: 1, vips: [{ ...any, policy: 'l7' }] })[0]).toContain(
    'vips[0].port: any is not a port of policy l7',
  );
  for (const port of [0, 65_536, '80', 'all'])
    expect(problems({ version: 1, vips: [{ ...vip, port }] })[0]).toContain(
      'is not a port (allowed: 1 to 65535',
    );
});
