import { formatIpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ReceivedUpdate } from './codec/update.ts';
import { prefixListSchema, readIpv4Prefix } from './prefix-list.ts';
import { countUpdate, emptyReceivedPrefixes, maxTrackedPrefixes } from './received-prefixes.ts';

it('the short way says what the long way says', () => {
  const part = fc.oneof(fc.nat(300).map(String), fc.constantFrom('', '00', '01', 'a', '-1', '256', '0'));
  const text = fc
    .tuple(
      part,
      part,
      part,
      part,
      fc.oneof(
        fc.nat(40).map((n) => `/${n}`),
        fc.constantFrom('', '/', '/a', '/08', '/32 '),
      ),
    )
    .map(([a, b, c, d, length]) => `${a}.${b}.${c}.${d}${length}`);
  fc.assert(
    fc.property(text, (value) => {
      const found = { address: 0, length: 0 };
      const bytes = new TextEncoder().encode(value);
      const short = readIpv4Prefix(bytes, 0, bytes.length, found);
      const long = parseIpPrefix(value);
      if (short) {
        const { address, length } = found;
        const octets = [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255];
        expect(long).toEqual({
          ok: true,
          value: { address: { family: 4, bytes: Uint8Array.from(octets) }, length },
        });
        expect(long.ok && formatIpPrefix(long.value)).toBe(value);
      } else if (long.ok) expect(value.includes('/')).toBe(false);
    }),
    { numRuns: 3000 },
  );
});

it('names places, refuses duplicates, keeps paths apart', () => {
  const places = (list: unknown) =>
    prefixListSchema.safeParse(list).error?.issues.map(({ path }) => path.join('.'));
  expect(places([{ prefix: '10.0.0.1/32' }, { prefix: '10.0.0.1' }])).toEqual(['1.prefix']);
  expect(places([{ prefix: '10.0.0.1/32' }, { prefix: '10.0.0.1/32', pathId: 2 }])).toBeUndefined();
  expect(places([{ prefix: '10.0.0.1/32', metric: 1 }, 7])).toEqual(['0', '1']);
  expect(places([{ prefix: '2001:db8::1', nextHop: '10.0.0.1' }])).toEqual(['0.nextHop']);
  expect(places('all')).toEqual(['']);
});

it('takes 100,000 prefixes without a quadratic step', () => {
  const list = Array.from({ length: 100_000 }, (_, i) => ({
    prefix: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`,
  }));
  const start = performance.now();
  expect(prefixListSchema.parse(list).size).toBe(100_000);
  expect(performance.now() - start).toBeLessThan(15_000);
});

it('counts what a peer announces now, once each, and up to a bound', () => {
  const prefix = (i: number) => ({
    address: { family: 4 as const, bytes: Uint8Array.of(10, i >> 16, (i >> 8) & 255, i & 255) },
    length: 32,
  });
  const update = (
    nlri: number[],
    withdrawn: number[] = [],
    handling: ReceivedUpdate['handling'] = 'accept',
  ) => ({
    type: 'update' as const,
    nlri: nlri.map(prefix),
    withdrawn: withdrawn.map(prefix),
    attributes: [],
    handling,
    problems: [],
  });
  const received = emptyReceivedPrefixes();
  countUpdate(received, update([1, 2, 2, 3]));
  countUpdate(received, update([2], [3, 4]));
  expect(received.keys.size).toBe(2);
  countUpdate(received, update([1], [], 'treat-as-withdraw'));
  expect(received.keys.size).toBe(1);
  for (let i = 0; i < 120; i++)
    countUpdate(received, update(Array.from({ length: 1000 }, (_, j) => i * 1000 + j)));
  expect([received.keys.size, received.overflowed]).toEqual([maxTrackedPrefixes, true]);
});
