import { fromHex, toHex } from '@l4d/kit/hex.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { hasWork, nextUpdate, openAdjRibOut, resend } from '../adj-rib-out.ts';
import { routeView } from '../out-routes.ts';
import { type PrefixInput, prefixListSchema } from '../prefix-list.ts';
import { emptyPrefixTable, type PrefixTable, replaceAll } from '../prefix-table.ts';
import { decodeSnapshot, encodeSnapshot } from './handover-codec.ts';
import { prefixInputs } from './prefix-text.ts';
import type { PeerSnapshot, ProcessSnapshot } from './snapshot.ts';
import { restoreToldRoutes, slotsByPlace, toldRoutes } from './told-routes.ts';

const hex = fc.uint8Array({ maxLength: 40 }).map(toHex);
const count = fc.nat();
const family = fc.constantFrom('ipv4' as const, 'ipv6' as const);
const optional = <T extends object>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof(arbitrary, fc.constant({} as Partial<T>));
const counts = fc.record({
  open: count,
  update: count,
  notification: count,
  keepalive: count,
  routeRefresh: count,
  other: count,
});

const negotiated = fc
  .tuple(
    fc.record({
      holdTimeSeconds: count,
      fourOctetAs: fc.boolean(),
      internal: fc.boolean(),
      families: fc.array(family),
      remoteRouterId: count,
      remoteAs: count,
    }),
    optional(fc.record({ endOfRib: fc.boolean() })),
    optional(
      fc.record({
        gracefulRestart: fc.record({
          notification: fc.boolean(),
          peerRestartTimeSeconds: count,
          peerRestarted: fc.boolean(),
        }),
      }),
    ),
    optional(fc.record({ extendedMessages: fc.boolean(), addPath: fc.array(family) })),
  )
  .map(
    (parts) =>
      Object.assign({}, ...parts) as NonNullable<PeerSnapshot['machine']['connections'][0]['negotiated']>,
  );

const peer: fc.Arbitrary<PeerSnapshot> = fc
  .tuple(
    fc.record({
      key: fc.string(),
      machine: fc.record({
        enabled: fc.boolean(),
        connections: fc.array(
          fc.record({
            id: count,
            direction: fc.constantFrom('outgoing' as const, 'incoming' as const),
            phase: fc.constantFrom('Connect' as const, 'OpenSent' as const, 'Established' as const),
            negotiated,
          }),
        ),
        retryArmed: fc.boolean(),
        failures: count,
        nextConnectionId: count,
        flaps: count,
        bfd: fc.constantFrom('up' as const, 'down' as const, 'admin-down' as const),
        restarted: fc.boolean(),
        idleHolding: fc.boolean(),
        damped: count,
        extendedOpen: fc.boolean(),
      }),
      connections: fc.array(fc.record({ id: count, descriptor: count, unread: hex, unsent: hex })),
      timers: fc.array(
        fc.record({
          name: fc.constantFrom('hold' as const, 'keepalive' as const, 'connect-retry' as const),
          connection: count,
          remainingMs: fc.nat(),
        }),
      ),
      phaseAgeMs: fc.nat(),
      counters: fc.record({ sent: counts, received: counts }),
    }),
    optional(
      fc.record({
        session: fc.record({
          connection: count,
          told: fc.record({
            groups: fc.array(
              fc.record({
                family: fc.constantFrom(4 as const, 6 as const),
                attributes: hex,
                runs: fc.array(fc.tuple(count, count)),
                keys: fc.string(),
              }),
            ),
            refreshing: fc.string(),
          }),
          owed: fc.array(fc.tuple(family, fc.constantFrom('end-of-rib' as const, 'end-of-refresh' as const))),
          received: fc.record({
            prefixes: fc.array(
              fc.tuple(
                fc.oneof(count, fc.string()),
                fc.oneof(fc.constant(null), fc.record({ nextHop: fc.string(), asPath: fc.array(count) })),
              ),
            ),
            overflowed: fc.boolean(),
          }),
          refreshed: fc.array(family),
        }),
      }),
    ),
  )
  .map(([rest, session]) => ({ ...rest, ...session }) as PeerSnapshot);

const snapshot: fc.Arbitrary<ProcessSnapshot> = fc.record({
  announcer: fc.record({
    startedAt: fc.string(),
    handovers: count,
    revision: count,
    deadMan: fc.boolean(),
    changes: count,
    listeners: fc.array(fc.record({ host: fc.string(), descriptor: count })),
    dynamic: fc.array(fc.tuple(fc.string(), fc.string())),
    peers: fc.array(peer, { maxLength: 4 }),
  }),
  api: count,
  bfd: fc.record({
    descriptor: count,
    unread: fc.string(),
    unsent: hex,
    verdicts: fc.array(fc.tuple(fc.string(), fc.constantFrom('up' as const, 'down' as const))),
  }),
});

it('a snapshot comes out of its text as it went in', () => {
  fc.assert(
    fc.property(snapshot, (value) => {
      expect(decodeSnapshot(encodeSnapshot(value))).toEqual({ ok: true, value });
    }),
  );
});

it('refuses another format, what is missing, and what it does not know, with the reason', () => {
  const [value] = fc.sample(snapshot, 1);
  if (value === undefined) throw new Error('no sample');
  const envelope = JSON.parse(encodeSnapshot(value)) as { format: number; state: Record<string, unknown> };
  const refuse = (changed: unknown) => decodeSnapshot(JSON.stringify(changed));
  expect(refuse({ ...envelope, format: 99 })).toEqual({
    ok: false,
    error: 'the state is of format 99, this version reads 1',
  });
  expect(refuse({ ...envelope, state: { ...envelope.state, api: 'x' } })).toMatchObject({
    ok: false,
    error: expect.stringContaining('api'),
  });
  expect(refuse({ ...envelope, state: { ...envelope.state, later: 1 } })).toMatchObject({ ok: false });
  expect(decodeSnapshot('{')).toMatchObject({ ok: false });
});

it('any octets come out of their digits', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(fromHex(toHex(bytes))).toEqual(bytes);
    }),
  );
  expect([fromHex('0'), fromHex('0g')]).toEqual([undefined, undefined]);
});

const prefix = fc.oneof(
  fc.nat(40).map((n) => `203.0.113.${n}/32`),
  fc.integer({ min: 1, max: 40 }).map((n) => `2001:db8::${n.toString(16)}/128`),
);
const input: fc.Arbitrary<PrefixInput> = fc
  .tuple(
    fc.record({ prefix }),
    optional(fc.record({ med: fc.nat(3), prepend: fc.nat(3), localPref: fc.nat(1000) })),
    optional(fc.record({ communities: fc.constant(['65001:7', '65535:65281']) })),
    optional(
      fc.record({
        largeCommunities: fc.constant(['4200000000:1:2']),
        extendedCommunities: fc.constant(['rt:65001:5']),
      }),
    ),
    optional(
      fc.record({
        linkBandwidth: fc.record({ mbps: fc.constantFrom(0.1, 25, 1e6), transitive: fc.boolean() }),
      }),
    ),
  )
  .map((parts) => Object.assign({}, ...parts) as PrefixInput);
const inputs = fc.uniqueArray(input, { selector: (one) => one.prefix, maxLength: 60 });

const tableOf = (list: readonly PrefixInput[]): PrefixTable => {
  const table = emptyPrefixTable();
  replaceAll(table, prefixListSchema.parse(list) as PrefixTable);
  return table;
};

const view = (nextHop4 = '192.0.2.1') =>
  routeView({
    localAs: 4_200_000_001,
    internal: false,
    fourOctetAs: true,
    families: ['ipv4', 'ipv6'],
    nextHop4: ipAddress(nextHop4),
    nextHop6: ipAddress('2001:db8::ffff'),
  });

const openRib = (table: PrefixTable, routes = view()) => openAdjRibOut(table, routes, { fourOctetAs: true });

it('prefixes come out of the text that a client would send as they went in', () => {
  fc.assert(
    fc.property(inputs, (list) => {
      const texts = prefixInputs(tableOf(list));
      expect(prefixInputs(tableOf(texts))).toEqual(texts);
      expect(texts.length).toBe(list.length);
    }),
  );
});

it('what was told is not told again, however far the telling had come; what has changed is', () => {
  fc.assert(
    fc.property(inputs, inputs, fc.nat(12), (before, after, steps) => {
      const old = openRib(tableOf(before));
      for (let i = 0; i < steps; i++) nextUpdate(old);
      const told = toldRoutes(old);
      const list = tableOf(prefixInputs(old.table));
      const rest: string[] = [];
      for (let next = nextUpdate(old); next !== undefined; next = nextUpdate(old)) rest.push(toHex(next));
      // The same desired state: the successor says what the predecessor would have said.
      const same = openRib(tableOf(before));
      restoreToldRoutes(same, told, slotsByPlace(same.table, list));
      const said: string[] = [];
      for (let next = nextUpdate(same); next !== undefined; next = nextUpdate(same)) said.push(toHex(next));
      expect(said.sort()).toEqual(rest.sort());
      expect([...same.advertised.keys()].sort()).toEqual([...old.advertised.keys()].sort());
      // Another: afterwards the peer has that, and was told no more than twice the difference.
      const other = openRib(tableOf(after));
      restoreToldRoutes(other, toldRoutes(old), slotsByPlace(other.table, list));
      const changed = new Set(
        [...before, ...after].filter((one) => !(before.includes(one) && after.includes(one))),
      );
      expect(hasWork(other) && changed.size === 0).toBe(false);
      while (nextUpdate(other) !== undefined);
      expect([...other.advertised.keys()].sort()).toEqual(after.map((one) => one.prefix).sort());
    }),
  );
});

it('a route that would be told otherwise now is told, and one that the peer wants again too', () => {
  const list = [{ prefix: '203.0.113.1/32' }, { prefix: '2001:db8::1/128' }];
  const old = openRib(tableOf(list));
  while (nextUpdate(old) !== undefined);
  const moved = openRib(tableOf(list), view('192.0.2.9'));
  restoreToldRoutes(moved, toldRoutes(old), slotsByPlace(moved.table, tableOf(list)));
  // The IPv4 route has another next hop; the IPv6 route is as it was.
  expect(nextUpdate(moved)).toBeDefined();
  expect(nextUpdate(moved)).toBeUndefined();
  resend(old, 'ipv6');
  const again = openRib(tableOf(list));
  restoreToldRoutes(again, toldRoutes(old), slotsByPlace(again.table, tableOf(list)));
  expect(nextUpdate(again)).toBeDefined();
  expect(nextUpdate(again)).toBeUndefined();
});
