import { desiredSchema } from '@l4d/announcer/core/api.ts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { announcedRoutes } from './announced-routes.ts';
import { announcerDesired } from './announcement.ts';
import { encodeDesiredState, parseDesiredState } from './desired-state.ts';

/*
 * Whatever parseDesiredState accepts, the announcer must accept as well: a state that is stored and then
 * refused by the announcer would stay unannounced. Values here are wide on purpose, most beyond some bound.
 */

interface Fields {
  readonly bgp?: object;
  readonly peer?: object;
  readonly peers?: readonly object[];
  readonly announce?: object;
}

function verdict({ bgp, peer, peers, announce }: Fields): 'refused' | 'accepted' {
  const parsed = parseDesiredState({
    version: 1,
    host: { bgp: { as: 65_001, routerId: '10.0.0.11', ...bgp } },
    peers: peers ?? [{ address: '10.0.0.1', as: 65_000, ...peer }],
    vips: [
      {
        address: '203.0.113.10',
        port: 80,
        backends: [{ address: '10.0.0.21' }],
        ...(announce === undefined ? {} : { announce }),
      },
    ],
  });
  if (!parsed.ok) return 'refused';
  expect(parseDesiredState(encodeDesiredState(parsed.value))).toEqual(parsed);
  const { vips } = parsed.value;
  const nextHops = { ipv4: '10.0.0.11', ipv6: 'fd00::11' };
  const aggregates = parsed.value.host.bgp?.aggregates ?? [];
  const routes = announcedRoutes({ declared: vips, announced: vips, leaving: [], aggregates });
  const told = announcerDesired(parsed.value, routes, nextHops);
  const taken = desiredSchema.safeParse(told);
  expect(taken.error?.issues ?? []).toEqual([]);
  return 'accepted';
}

const many = (count: number, one: (index: number) => unknown) =>
  Array.from({ length: count }, (_, index) => one(index));
const peersOf = (count: number) =>
  many(count, (index) => ({ address: `10.1.${index >> 8}.${index & 255}`, as: 65_000 })) as object[];

test.each<[string, Fields, 'refused' | 'accepted']>([
  ['AS 0', { bgp: { as: 0 } }, 'refused'],
  ['AS_TRANS', { bgp: { as: 23_456 } }, 'refused'],
  ['AS_TRANS of a peer', { peer: { as: 23_456 } }, 'refused'],
  ['the last AS', { peer: { as: 4_294_967_295 } }, 'refused'],
  ['the last AS but one', { peer: { as: 4_294_967_294 } }, 'accepted'],
  ['router id 0.0.0.0', { bgp: { routerId: '0.0.0.0' } }, 'refused'],
  ['1000 peers', { peers: peersOf(1000) }, 'accepted'],
  ['1001 peers', { peers: peersOf(1001) }, 'refused'],
  ['a password of 80 octets', { peer: { password: 'é'.repeat(40) } }, 'accepted'],
  ['a password of 82 octets', { peer: { password: 'é'.repeat(41) } }, 'refused'],
  ['zeros before a community', { announce: { communities: ['0000065000:1'] } }, 'refused'],
  ['the largest community', { announce: { communities: ['65535:65535'] } }, 'accepted'],
  ['a route target too large', { announce: { extendedCommunities: ['rt:70000:70000'] } }, 'refused'],
  ['a route target of AS 2^32', { announce: { extendedCommunities: ['rt:4294967296:1'] } }, 'refused'],
  ['a route target', { announce: { extendedCommunities: ['rt:65000:70000'] } }, 'accepted'],
  ['65 communities', { peer: { policy: { communities: many(65, (n) => `1:${n}`) } } }, 'refused'],
  [
    '1000 prefixes',
    { peer: { policy: { allow: many(1000, (n) => `10.${n >> 8}.${n & 255}.0/24`) } } },
    'accepted',
  ],
  [
    '1001 prefixes',
    { peer: { policy: { deny: many(1001, (n) => `10.${n >> 8}.${n & 255}.0/24`) } } },
    'refused',
  ],
  ['a local address of the other family', { peer: { localAddress: 'fd00::1' } }, 'refused'],
  ['minTtl without multihop', { peer: { bfd: { minTtl: 254 } } }, 'refused'],
  ['hold time 0', { peer: { holdTime: '0s' } }, 'refused'],
])('%s', (_, fields, expected) => {
  expect(verdict(fields)).toBe(expected);
});

const edges = [0, 1, 20, 21, 254, 255, 256, 23_456, 65_535, 65_536, 1_000_000, 4_294_967_295, 4_294_967_296];
const number = fc.oneof(
  fc.constantFrom(...edges),
  fc.constantFrom(...edges).map((edge) => edge - 1),
  fc.integer({ min: -1, max: 4_294_967_300 }),
  fc.double({ noNaN: true }),
);
const small = fc.nat({ max: 300 });
const time = fc
  .tuple(fc.oneof(small, number), fc.constantFrom('ms', 's', 'm'))
  .map(([value, unit]) => `${value}${unit}`);
const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.constantFrom('0.0.0.0', '::', '::ffff:10.0.0.1', '10.0.0.11', 'fd00::11'),
);
const prefix = fc.oneof(
  fc.constantFrom('0.0.0.0/0', '::/0', '203.0.113.0/24', '10.0.0.1/8', '::ffff:0:0/96'),
  address.map((text) => `${text}/${text.includes(':') ? 128 : 32}`),
);
const digits = number.map((value) => (value % 2 === 0 ? `${value}` : `${value}`.padStart(10, '0')));
const community = fc.array(digits, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(':'));
const extended = fc.oneof(
  community.map((text) => `rt:${text}`),
  community.map((text) => `soo:${text}`),
  fc.constantFrom('0x0002fde800000001', '0x00', 'ro:1:1'),
);
const word = (...words: string[]) => fc.constantFrom(...words, 'none');
const flag = fc.boolean();
const nextHops = fc.record({ ipv4: address, ipv6: address }, { requiredKeys: [] });
const attributes = {
  med: number,
  localPref: number,
  prepend: number,
  communities: fc.array(community, { maxLength: 3 }),
  largeCommunities: fc.array(community, { maxLength: 3 }),
  extendedCommunities: fc.array(extended, { maxLength: 3 }),
};
/** One or two fields of a record, so that most states fail at most at one of them. */
const few = <Fields extends Record<string, fc.Arbitrary<unknown>>>(fields: Fields) =>
  fc
    .uniqueArray(fc.constantFrom(...Object.keys(fields)), { minLength: 1, maxLength: 2 })
    .chain((keys) => fc.record(Object.fromEntries(keys.map((key) => [key, fields[key] ?? fc.anything()]))));

const bgp = few({ as: number, routerId: address, listen: flag, listenPort: number });
const bfd = few({
  txInterval: time,
  rxInterval: time,
  multiplier: number,
  multihop: fc.constant(true),
  minTtl: number,
  strict: flag,
  auth: fc.record(
    {
      type: word('simple', 'keyed-md5', 'meticulous-keyed-md5', 'keyed-sha1', 'meticulous-keyed-sha1'),
      keyId: number,
      key: fc.string({ unit: 'binary', maxLength: 24 }),
    },
    { requiredKeys: ['type', 'key'] },
  ),
});
const peer = few({
  address,
  as: number,
  port: number,
  localAddress: address,
  holdTime: time,
  connectRetry: time,
  mode: word('active', 'passive', 'both'),
  families: fc.array(word('ipv4', 'ipv6'), { maxLength: 3 }),
  bfd,
  password: fc.string({ unit: 'binary', maxLength: 90, size: 'max' }),
  ttlSecurityHops: number,
  promise: word('fast', 'continuity'),
  restartTime: time,
  longLivedGracefulRestart: time,
  gracefulShutdown: time,
  extendedMessages: flag,
  enhancedRouteRefresh: flag,
  extendedNextHop: flag,
  role: word('provider', 'customer', 'peer', 'rs', 'rs-client'),
  roleStrict: flag,
  delayOpen: time,
  idleHold: time,
  maxPrefixesReceived: number,
  nextHops,
  nextHopSelf: flag,
  policy: few({ ...attributes, allow: fc.array(prefix), deny: fc.array(prefix) }),
});
const announce = few({
  ...attributes,
  linkBandwidth: fc.record({ mbps: number, transitive: flag }, { requiredKeys: ['mbps'] }),
});

test('what is accepted here, the announcer accepts', () => {
  const counts = { refused: 0, accepted: 0 };
  const fields = fc.oneof(
    bgp.map((value): Fields => ({ bgp: value })),
    { arbitrary: peer.map((value): Fields => ({ peer: value })), weight: 5 },
    { arbitrary: announce.map((value): Fields => ({ announce: value })), weight: 2 },
  );
  fc.assert(
    fc.property(fields, (value) => {
      counts[verdict(value)] += 1;
    }),
    { numRuns: 3000 },
  );
  // Neither side is empty: the property says something of both.
  expect(Math.min(counts.refused, counts.accepted)).toBeGreaterThan(300);
});
