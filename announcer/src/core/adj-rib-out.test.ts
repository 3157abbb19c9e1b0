import { ipAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, ipPrefix } from '@l4d/kit/ip-prefix.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  aim,
  drainBytes,
  openRib,
  put,
  refusals,
  takeUpdate,
  type Wish,
  wish,
} from './adj-rib-out.fixture.ts';
import { type AdjRibOut, closeAdjRibOut, hasWork, nextUpdate, resend } from './adj-rib-out.ts';
import { decodeMessage, encodeMessage, maxMessageBytes } from './codec/message.ts';
import type { UpdateMessage } from './codec/update.ts';
import type { SessionView } from './out-routes.ts';
import { findSlot } from './prefix-table.ts';

const external: SessionView = {
  localAs: 65001,
  internal: false,
  fourOctetAs: true,
  families: ['ipv4', 'ipv6'],
  nextHop4: ipAddress('10.0.0.1'),
  nextHop6: ipAddress('fd00::1'),
};

function drain(rib: AdjRibOut, session = external): UpdateMessage[] {
  const updates: UpdateMessage[] = [];
  for (let update = takeUpdate(rib, session); update !== undefined; update = takeUpdate(rib, session)) {
    updates.push(update);
  }
  return updates;
}

/** What a peer believes after the UPDATEs: prefix to attributes, as JSON. */
function apply(table: Map<string, string>, updates: readonly UpdateMessage[]): void {
  for (const { withdrawn, attributes, nlri } of updates) {
    for (const prefix of withdrawn) table.delete(formatIpPrefix(prefix));
    const shared = JSON.stringify(attributes.filter(({ value }) => value.kind !== 'mp-reach'));
    for (const prefix of nlri) table.set(formatIpPrefix(prefix), shared);
    for (const { value } of attributes) {
      if ((value.kind !== 'mp-reach' && value.kind !== 'mp-unreach') || value.nlri.kind !== 'prefixes')
        continue;
      for (const prefix of value.nlri.prefixes) {
        if (value.kind === 'mp-reach') table.set(formatIpPrefix(prefix), shared);
        else table.delete(formatIpPrefix(prefix));
      }
    }
  }
}

describe('minimal', () => {
  it('one UPDATE a family for prefixes with the same attributes, and nothing for what is known', () => {
    const rib = openRib(external);
    const wishes = ['192.0.2.1/32', '192.0.2.2/32', '2001:db8::1/128', '2001:db8::2/128'].map((text) =>
      wish(text),
    );
    aim(rib, wishes);
    expect(drain(rib).length).toBe(2);
    aim(rib, wishes);
    expect(hasWork(rib)).toBe(false);
  });

  it('touches only what changed', () => {
    const rib = openRib(external);
    aim(rib, [wish('192.0.2.1/32'), wish('192.0.2.2/32'), wish('2001:db8::1/128')]);
    drain(rib);
    aim(rib, [wish('192.0.2.2/32'), wish('192.0.2.3/32', { med: 5 })]);
    const updates = drain(rib);
    expect(updates.flatMap(({ withdrawn }) => withdrawn.map(formatIpPrefix))).toEqual(['192.0.2.1/32']);
    expect(updates.flatMap(({ nlri }) => nlri.map(formatIpPrefix))).toEqual(['192.0.2.3/32']);
    expect(updates.length).toBe(3);
  });

  it('says nothing of a change that is taken back before it was sent', () => {
    const rib = openRib(external);
    aim(rib, [wish('192.0.2.1/32')]);
    aim(rib, []);
    expect(drain(rib)).toEqual([]);
  });

  it('withdraws before it announces', () => {
    const rib = openRib(external);
    aim(rib, [wish('192.0.2.1/32')]);
    drain(rib);
    aim(rib, [wish('192.0.2.2/32')]);
    expect(drain(rib).map(({ withdrawn }) => withdrawn.length)).toEqual([1, 0]);
  });
});

describe('packing', () => {
  const many = (count: number, change: Partial<Wish> = {}) =>
    Array.from({ length: count }, (_, i) => wish(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`, change));

  it('fills messages up to the limit, IPv4', () => {
    const rib = openRib(external);
    aim(rib, many(10_000, { communities: [0xfde80001] }));
    const sizes = drainBytes(rib).map(({ length }) => length);
    expect(sizes.length).toBe(13);
    for (const size of sizes.slice(0, -1)) expect(size).toBeGreaterThan(maxMessageBytes - 5);
    for (const size of sizes) expect(size).toBeLessThanOrEqual(maxMessageBytes);
  });

  it('fills messages up to the limit, IPv6, both ways', () => {
    const rib = openRib(external);
    const wishes = Array.from({ length: 1000 }, (_, i) => wish(`2001:db8::${(i + 1).toString(16)}/128`));
    aim(rib, wishes);
    const announced = drainBytes(rib).map(({ length }) => length);
    aim(rib, []);
    const withdrawn = drainBytes(rib).map(({ length }) => length);
    expect([announced.length, withdrawn.length]).toEqual([5, 5]);
    for (const size of [...announced.slice(0, -1), ...withdrawn.slice(0, -1)]) {
      expect(size).toBeGreaterThan(maxMessageBytes - 17);
    }
    expect(Math.max(...announced, ...withdrawn)).toBeLessThanOrEqual(maxMessageBytes);
  });

  it('has room also with all communities that the API allows', () => {
    const rib = openRib(external);
    const communities = Array.from({ length: 255 }, (_, i) => i);
    aim(rib, [...many(1000, { communities }), wish('2001:db8::1/128', { communities })]);
    for (const { length } of drainBytes(rib)) expect(length).toBeLessThanOrEqual(maxMessageBytes);
    expect(rib.advertised.size).toBe(1001);
  });

  it('never exceeds the limit, wherever the last prefix falls', () => {
    // 17 octets a prefix, 4 a community: every remainder comes up.
    for (let count = 64; count < 64 + 17; count++) {
      const rib = openRib(external);
      const communities = Array.from({ length: count }, (_, i) => i);
      aim(
        rib,
        Array.from({ length: 300 }, (_, i) => wish(`2001:db8::${(i + 1).toString(16)}/128`, { communities })),
      );
      for (const { length } of drainBytes(rib)) expect(length).toBeLessThanOrEqual(maxMessageBytes);
    }
  });

  it('packs 100,000 prefixes without a quadratic step', () => {
    const rib = openRib(external);
    const wishes = many(100_000);
    const start = performance.now();
    aim(rib, wishes);
    drainBytes(rib);
    expect(performance.now() - start).toBeLessThan(15_000);
  });
});

describe('attributes', () => {
  const kinds = (session: SessionView, text = '192.0.2.1/32') => {
    const rib = openRib(session);
    aim(rib, [wish(text, { med: 7 })]);
    const update = takeUpdate(rib, session);
    expect(update?.handling).toBe('accept');
    return update?.attributes.map(({ value }) => value) ?? [];
  };

  it('external: our AS, no LOCAL_PREF', () => {
    const values = kinds(external);
    expect(values.map(({ kind }) => kind)).toEqual(['origin', 'as-path', 'next-hop', 'med']);
    expect(values[1]).toEqual({ kind: 'as-path', segments: [{ type: 2, asNumbers: [65001] }] });
  });

  it('internal: empty AS_PATH, LOCAL_PREF 100', () => {
    const values = kinds({ ...external, internal: true });
    expect(values[1]).toEqual({ kind: 'as-path', segments: [] });
    expect(values).toContainEqual({ kind: 'local-pref', localPref: 100 });
  });

  it('two-octet peers get AS_TRANS and AS4_PATH (RFC 6793)', () => {
    const values = kinds({ ...external, localAs: 4_200_000_001, fourOctetAs: false });
    expect(values[1]).toEqual({ kind: 'as-path', segments: [{ type: 2, asNumbers: [23456] }] });
    expect(values.at(-1)).toEqual({ kind: 'as4-path', segments: [{ type: 2, asNumbers: [4_200_000_001] }] });
    expect(kinds({ ...external, fourOctetAs: false }).some(({ kind }) => kind === 'as4-path')).toBe(false);
  });

  it('IPv6: MP_REACH_NLRI first (RFC 7606 5.1), no NEXT_HOP', () => {
    expect(kinds(external, '2001:db8::1/128').map(({ kind }) => kind)).toEqual([
      'mp-reach',
      'origin',
      'as-path',
      'med',
    ]);
  });

  it('keeps back what would have the peer itself as next hop (RFC 4271 5.1.3)', () => {
    for (const [text, own, other] of [
      ['192.0.2.1/32', '10.0.0.9', '10.0.0.8'],
      ['2001:db8::1/128', 'fd00::9', 'fd00::8'],
    ] as const) {
      const session = { ...external, peerAddress: ipAddress(own) };
      const rib = openRib(session);
      aim(rib, [wish(text, { nextHop: ipAddress(own) })]);
      expect(drain(rib, session)).toEqual([]);
      expect(refusals(rib).get(text)).toBe(
        `the next hop ${own} is the peer's own address (RFC 4271 section 5.1.3)`,
      );
      aim(rib, [wish(text, { nextHop: ipAddress(other) })]);
      expect(drain(rib, session).length).toBe(1);
      // And it goes again with the first one.
      aim(rib, [wish(text, { nextHop: ipAddress(own) })]);
      expect(drain(rib, session).flatMap(({ nlri }) => nlri)).toEqual([]);
      expect(rib.advertised.size).toBe(0);
    }
  });

  it('says each community once (RFC 8092 5)', () => {
    const session = { ...external, shuttingDown: true };
    const rib = openRib(session);
    aim(rib, [
      wish('192.0.2.1/32', {
        communities: [7, 0xffff_0000, 7],
        largeCommunities: [
          [1, 2, 3],
          [1, 2, 4],
          [1, 2, 3],
        ],
        extendedCommunities: [Uint8Array.of(0, 2, 0, 1, 0, 0, 0, 1), Uint8Array.of(0, 2, 0, 1, 0, 0, 0, 1)],
      }),
    ]);
    const values = drain(rib, session).flatMap(({ attributes }) => attributes.map(({ value }) => value));
    expect(values).toContainEqual({ kind: 'communities', communities: [7, 0xffff_0000] });
    expect(values).toContainEqual({
      kind: 'large-communities',
      communities: [
        [1, 2, 3],
        [1, 2, 4],
      ],
    });
    expect(values).toContainEqual({
      kind: 'extended-communities',
      communities: [Uint8Array.of(0, 2, 0, 1, 0, 0, 0, 1)],
    });
  });

  it('says why a prefix cannot go', () => {
    const { nextHop6, ...without } = external;
    for (const session of [without, { ...external, families: ['ipv4'] as const }]) {
      const rib = openRib(session);
      aim(rib, [wish('2001:db8::1/128')]);
      expect(refusals(rib).get('2001:db8::1/128')).toMatch(/needs nextHop6|does not carry ipv6/);
      expect(hasWork(rib)).toBe(false);
    }
  });
});

describe('route refresh', () => {
  it('re-sends a family, no more', () => {
    const rib = openRib(external);
    aim(rib, [wish('192.0.2.1/32'), wish('2001:db8::1/128')]);
    drain(rib);
    resend(rib, 'ipv4');
    expect(drain(rib).map(({ nlri }) => nlri.map(formatIpPrefix))).toEqual([['192.0.2.1/32']]);
  });
});

it('writes what the codec writes', () => {
  const octet = fc.nat(255);
  const prefixes = fc.uniqueArray(
    fc.oneof(
      fc.tuple(octet, octet, octet, fc.nat(32)).map(([a, b, c, length]) => ({ bytes: [a, b, c, 7], length })),
      fc
        .tuple(fc.array(octet, { minLength: 16, maxLength: 16 }), fc.nat(128))
        .map(([bytes, length]) => ({ bytes, length })),
    ),
    { selector: ({ bytes, length }) => `${bytes.join('.')}/${length}`, maxLength: 60 },
  );
  const sessions = fc.record({
    extendedNextHop: fc.boolean(),
    paths: fc.boolean(),
    as: fc.constantFrom(65001, 4_200_000_001),
    fourOctetAs: fc.boolean(),
    med: fc.constantFrom(undefined, 3),
  });
  fc.assert(
    fc.property(prefixes, sessions, (list, { extendedNextHop, paths, as, fourOctetAs, med }) => {
      const { nextHop4, ...without } = external;
      const session: SessionView = {
        ...(extendedNextHop ? { ...without, extendedNextHop } : external),
        pathFamilies: paths ? ['ipv4', 'ipv6'] : [],
        localAs: as,
        fourOctetAs,
      };
      const texts = new Set(
        list.map(({ bytes, length }) => {
          const kept = bytes.map(
            (byte, i) => byte & ((0xff00 >> Math.max(0, Math.min(8, length - i * 8))) & 0xff),
          );
          return formatIpPrefix({
            address: { family: kept.length === 4 ? 4 : 6, bytes: Uint8Array.from(kept) },
            length: Math.min(length, kept.length * 8),
          });
        }),
      );
      const rib = openRib(session, 200);
      const wishes = Array.from(texts, (text) => wish(text, { ...(med === undefined ? {} : { med }) }));
      for (const wanted of [wishes, []]) {
        aim(rib, wanted);
        for (const bytes of drainBytes(rib)) {
          const decoded = decodeMessage(bytes, { ...session, addPath: paths }, 200);
          expect(decoded.ok && decoded.value.type === 'update' && decoded.value.handling).toBe('accept');
          if (decoded.ok) expect(encodeMessage(decoded.value, fourOctetAs)).toEqual(bytes);
        }
        expect(rib.advertised.size).toBe(wanted.length);
      }
    }),
    { numRuns: 200 },
  );
});

const pool = ['192.0.2.1/32', '192.0.2.2/32', '192.0.2.0/24', '2001:db8::1/128', '2001:db8::/32'];
const meds = fc.constantFrom(undefined, 1, 2);
const wanted = (text: string, med: number | undefined) => wish(text, med === undefined ? {} : { med });

/** What is wanted changes, whole or by one prefix; the peer asks again; the peer takes some messages, or stalls. */
const events = fc.oneof(
  fc.record({
    kind: fc.constant('whole' as const),
    wishes: fc.uniqueArray(fc.record({ text: fc.constantFrom(...pool), med: meds }), {
      selector: ({ text }) => text,
    }),
  }),
  fc.record({ kind: fc.constant('one' as const), text: fc.constantFrom(...pool), med: meds }),
  fc.record({ kind: fc.constant('gone' as const), text: fc.constantFrom(...pool) }),
  fc.record({
    kind: fc.constant('refresh' as const),
    family: fc.constantFrom('ipv4' as const, 'ipv6' as const),
  }),
  fc.record({ kind: fc.constant('takes' as const), count: fc.nat(3) }),
);

it('any changes, any stall: the peer ends with what is wanted, in the fewest messages', () => {
  fc.assert(
    fc.property(fc.array(events, { maxLength: 40 }), (list) => {
      const rib = openRib(external);
      const peer = new Map<string, string>();
      const now = new Map<string, Wish>();
      const owed = new Set<string>();
      const take = () => {
        const update = takeUpdate(rib, external);
        if (update === undefined) return;
        apply(peer, [update]);
        for (const text of prefixesOf(update)) owed.delete(text);
      };
      for (const event of list) {
        if (event.kind === 'whole') {
          now.clear();
          for (const { text, med } of event.wishes) now.set(text, wanted(text, med));
          aim(rib, [...now.values()]);
        } else if (event.kind === 'one') {
          now.set(event.text, wanted(event.text, event.med));
          put(rib, event.text, now.get(event.text));
        } else if (event.kind === 'gone') {
          now.delete(event.text);
          put(rib, event.text, undefined);
        } else if (event.kind === 'refresh') {
          resend(rib, event.family);
          for (const text of now.keys()) if (text.includes(':') === (event.family === 'ipv6')) owed.add(text);
        } else for (let i = 0; i < event.count; i++) take();
        for (const text of owed) if (!now.has(text)) owed.delete(text);
      }
      // What differs from what the peer has, and what it has asked for: each once, and nothing else.
      const fresh = openRib(external);
      aim(fresh, [...now.values()]);
      const expected = new Map<string, string>();
      apply(expected, drain(fresh));
      const differing = [...new Set([...peer.keys(), ...expected.keys(), ...owed])].filter(
        (text) => peer.get(text) !== expected.get(text) || owed.has(text),
      );
      const kinds = new Set(differing.map((text) => `${text.includes(':')} ${expected.get(text)}`));
      const last = drain(rib);
      expect(last.flatMap(prefixesOf).sort()).toEqual([...differing].sort());
      expect(last.length).toBe(kinds.size);
      apply(peer, last);
      expect(new Map([...peer].sort())).toEqual(new Map([...expected].sort()));
      expect([...rib.advertised.keys()].sort()).toEqual([...peer.keys()].sort());
      // Nothing is kept of prefixes that nobody wants and nobody has.
      for (const text of pool) {
        expect(findSlot(rib.table, ipPrefix(text)) !== undefined).toBe(peer.has(text));
      }
      closeAdjRibOut(rib);
      aim(rib, []);
      expect(rib.table.vacant.length).toBe(rib.table.slots);
    }),
    { numRuns: 500 },
  );
});

it('a peer that takes nothing costs no memory, whatever changes', () => {
  const rib = openRib(external);
  for (let i = 0; i < 20_000; i++)
    put(rib, pool[i % 5] ?? '', i % 7 === 0 ? undefined : wish(pool[i % 5] ?? '', { med: i }));
  expect(rib.table.slots).toBeLessThanOrEqual(5);
  expect(rib.lanes.length).toBeLessThan(200);
  expect(rib.table.sets.size).toBeLessThan(200);
  expect(rib.table.gone.length).toBeLessThan(2001);
  expect(nextUpdate(rib)).toBeDefined();
});

/** All prefixes of an UPDATE, announced and withdrawn. */
function prefixesOf({ withdrawn, attributes, nlri }: UpdateMessage): string[] {
  const inAttributes = attributes.flatMap(({ value }) =>
    (value.kind === 'mp-reach' || value.kind === 'mp-unreach') && value.nlri.kind === 'prefixes'
      ? value.nlri.prefixes
      : [],
  );
  return [...withdrawn, ...nlri, ...inAttributes].map(formatIpPrefix);
}
