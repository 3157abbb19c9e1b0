import { ipAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, ipPrefix } from '@l4d/kit/ip-prefix.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AdjRibOut, emptyAdjRibOut, hasWork, nextUpdate, resend, retarget } from './adj-rib-out.ts';
import { decodeMessage, encodeMessage, maxMessageBytes } from './codec/message.ts';
import type { UpdateMessage } from './codec/update.ts';
import { type DesiredPrefix, routesFor, type SessionView } from './out-routes.ts';

const external: SessionView = {
  localAs: 65001,
  internal: false,
  fourOctetAs: true,
  families: ['ipv4', 'ipv6'],
  nextHop4: ipAddress('10.0.0.1'),
  nextHop6: ipAddress('fd00::1'),
};

function wish(prefix: string, change: Partial<DesiredPrefix> = {}): DesiredPrefix {
  return { key: prefix, prefix: ipPrefix(prefix), communities: [], ...change };
}

function aim(rib: AdjRibOut, wishes: readonly DesiredPrefix[], session = external): void {
  retarget(rib, routesFor(session, wishes).routes);
}

function drain(rib: AdjRibOut): UpdateMessage[] {
  const updates: UpdateMessage[] = [];
  for (let update = nextUpdate(rib); update !== undefined; update = nextUpdate(rib)) updates.push(update);
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
    const rib = emptyAdjRibOut(true);
    const wishes = ['192.0.2.1/32', '192.0.2.2/32', '2001:db8::1/128', '2001:db8::2/128'].map((text) =>
      wish(text),
    );
    aim(rib, wishes);
    expect(drain(rib).length).toBe(2);
    aim(rib, wishes);
    expect(hasWork(rib)).toBe(false);
  });

  it('touches only what changed', () => {
    const rib = emptyAdjRibOut(true);
    aim(rib, [wish('192.0.2.1/32'), wish('192.0.2.2/32'), wish('2001:db8::1/128')]);
    drain(rib);
    aim(rib, [wish('192.0.2.2/32'), wish('192.0.2.3/32', { med: 5 })]);
    const updates = drain(rib);
    expect(updates.flatMap(({ withdrawn }) => withdrawn.map(formatIpPrefix))).toEqual(['192.0.2.1/32']);
    expect(updates.flatMap(({ nlri }) => nlri.map(formatIpPrefix))).toEqual(['192.0.2.3/32']);
    expect(updates.length).toBe(3);
  });

  it('says nothing of a change that is taken back before it was sent', () => {
    const rib = emptyAdjRibOut(true);
    aim(rib, [wish('192.0.2.1/32')]);
    aim(rib, []);
    expect(drain(rib)).toEqual([]);
  });

  it('withdraws before it announces', () => {
    const rib = emptyAdjRibOut(true);
    aim(rib, [wish('192.0.2.1/32')]);
    drain(rib);
    aim(rib, [wish('192.0.2.2/32')]);
    expect(drain(rib).map(({ withdrawn }) => withdrawn.length)).toEqual([1, 0]);
  });
});

describe('packing', () => {
  const many = (count: number, change: Partial<DesiredPrefix> = {}) =>
    Array.from({ length: count }, (_, i) => wish(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`, change));

  it('fills messages up to the limit, IPv4', () => {
    const rib = emptyAdjRibOut(true);
    aim(rib, many(10_000, { communities: [0xfde80001] }));
    const sizes = drain(rib).map((update) => encodeMessage(update).length);
    expect(sizes.length).toBe(13);
    for (const size of sizes.slice(0, -1)) expect(size).toBeGreaterThan(maxMessageBytes - 5);
    for (const size of sizes) expect(size).toBeLessThanOrEqual(maxMessageBytes);
  });

  it('fills messages up to the limit, IPv6, both ways', () => {
    const rib = emptyAdjRibOut(true);
    const wishes = Array.from({ length: 1000 }, (_, i) => wish(`2001:db8::${(i + 1).toString(16)}/128`));
    aim(rib, wishes);
    const announced = drain(rib).map((update) => encodeMessage(update).length);
    aim(rib, []);
    const withdrawn = drain(rib).map((update) => encodeMessage(update).length);
    expect([announced.length, withdrawn.length]).toEqual([5, 5]);
    for (const size of [...announced.slice(0, -1), ...withdrawn.slice(0, -1)]) {
      expect(size).toBeGreaterThan(maxMessageBytes - 17);
    }
    expect(Math.max(...announced, ...withdrawn)).toBeLessThanOrEqual(maxMessageBytes);
  });

  it('has room also with all communities that the API allows', () => {
    const rib = emptyAdjRibOut(true);
    const communities = Array.from({ length: 255 }, (_, i) => i);
    aim(rib, [...many(1000, { communities }), wish('2001:db8::1/128', { communities })]);
    for (const update of drain(rib))
      expect(encodeMessage(update).length).toBeLessThanOrEqual(maxMessageBytes);
    expect(rib.advertised.size).toBe(1001);
  });

  it('never exceeds the limit, wherever the last prefix falls', () => {
    // 17 octets a prefix, 4 a community: every remainder comes up.
    for (let count = 64; count < 64 + 17; count++) {
      const rib = emptyAdjRibOut(true);
      const communities = Array.from({ length: count }, (_, i) => i);
      aim(
        rib,
        Array.from({ length: 300 }, (_, i) => wish(`2001:db8::${(i + 1).toString(16)}/128`, { communities })),
      );
      for (const update of drain(rib))
        expect(encodeMessage(update).length).toBeLessThanOrEqual(maxMessageBytes);
    }
  });

  it('packs 100,000 prefixes without a quadratic step', () => {
    const rib = emptyAdjRibOut(true);
    const wishes = many(100_000);
    const start = performance.now();
    aim(rib, wishes);
    for (const update of drain(rib)) encodeMessage(update);
    expect(performance.now() - start).toBeLessThan(15_000);
  });
});

describe('attributes', () => {
  const kinds = (session: SessionView, text = '192.0.2.1/32') => {
    const rib = emptyAdjRibOut(session.fourOctetAs);
    aim(rib, [wish(text, { med: 7 })], session);
    const [update] = drain(rib);
    if (update === undefined) throw new Error('nothing to send');
    const decoded = decodeMessage(encodeMessage(update, session.fourOctetAs), session);
    if (!decoded.ok || decoded.value.type !== 'update') throw new Error('not an UPDATE');
    expect(decoded.value.handling).toBe('accept');
    return decoded.value.attributes.map(({ value }) => value);
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

  it('says why a prefix cannot go', () => {
    const { nextHop6, ...without } = external;
    const prefixes = [wish('2001:db8::1/128')];
    expect(routesFor(without, prefixes).refused.get('2001:db8::1/128')).toMatch(/needs nextHop6/);
    expect(routesFor({ ...external, families: ['ipv4'] }, prefixes).refused.size).toBe(1);
  });
});

describe('route refresh', () => {
  it('re-sends a family, no more', () => {
    const rib = emptyAdjRibOut(true);
    aim(rib, [wish('192.0.2.1/32'), wish('2001:db8::1/128')]);
    drain(rib);
    resend(rib, 'ipv4');
    expect(drain(rib).map(({ nlri }) => nlri.map(formatIpPrefix))).toEqual([['192.0.2.1/32']]);
  });
});

it('ends where it should, whatever the order of wishes and turns', () => {
  const pool = ['192.0.2.1/32', '192.0.2.2/32', '192.0.2.0/24', '2001:db8::1/128', '2001:db8::/32'];
  const wishes = fc.uniqueArray(
    fc.record({ name: fc.constantFrom(...pool), med: fc.constantFrom(undefined, 1, 2) }),
    { selector: ({ name }) => name },
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(wishes, fc.nat(3), fc.boolean()), { maxLength: 12 }), (rounds) => {
      const rib = emptyAdjRibOut(true);
      const table = new Map<string, string>();
      let last: DesiredPrefix[] = [];
      for (const [names, turns, refresh] of rounds) {
        last = names.map(({ name, med }) => wish(name, med === undefined ? {} : { med }));
        aim(rib, last);
        if (refresh) resend(rib, 'ipv6');
        for (let i = 0; i < turns; i++) {
          const update = nextUpdate(rib);
          if (update !== undefined) apply(table, [update]);
        }
      }
      apply(table, drain(rib));
      const expected = new Map<string, string>();
      const fresh = emptyAdjRibOut(true);
      aim(fresh, last);
      apply(expected, drain(fresh));
      expect(new Map([...table].sort())).toEqual(new Map([...expected].sort()));
      expect([...rib.advertised.keys()].sort()).toEqual([...table.keys()].sort());
    }),
    { numRuns: 300 },
  );
});
