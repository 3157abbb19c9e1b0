import { describe, expect, it } from 'vitest';
import { bfdSchema, bfdSession } from './bfd-option.ts';

describe('the option', () => {
  it.each([
    ['an interval below 10 ms', { txIntervalMs: 9 }, 'txIntervalMs'],
    ['an interval above a minute', { rxIntervalMs: 60_001 }, 'rxIntervalMs'],
    ['a fraction of a millisecond', { txIntervalMs: 10.5 }, 'txIntervalMs'],
    ['a multiplier of 0', { multiplier: 0 }, 'multiplier'],
    ['a multiplier beyond its octet', { multiplier: 256 }, 'multiplier'],
    ['a TTL without multihop', { minTtl: 254 }, 'minTtl'],
    ['echo with multihop (RFC 5883)', { echo: true, multihop: true }, 'echo'],
    ['a key that is too long', { auth: { type: 'simple', key: 'x'.repeat(17) } }, 'auth.key'],
    [
      'a key of two octets a character that is too long',
      { auth: { type: 'simple', key: 'ä'.repeat(9) } },
      'auth.key',
    ],
    ['a key id beyond its octet', { auth: { type: 'simple', key: 'x', keyId: 256 } }, 'auth.keyId'],
  ])('refuses %s', (_, option, path) => {
    const { error } = bfdSchema.safeParse(option);
    expect(error?.issues.map((issue) => issue.path.join('.'))).toEqual([path]);
  });

  it('takes the least and the most', () => {
    for (const option of [
      { txIntervalMs: 10, rxIntervalMs: 10, multiplier: 1 },
      { txIntervalMs: 60_000, rxIntervalMs: 60_000, multiplier: 255, multihop: true, minTtl: 1 },
      { auth: { type: 'keyed-sha1', key: 'x'.repeat(20), keyId: 0 } },
    ])
      expect(bfdSchema.safeParse(option).success).toBe(true);
  });
});

it('a session on the link takes TTL 255 alone, one over routers what is declared, 254 by default', () => {
  const ttl = (option: unknown) => bfdSession('10.0.0.1', undefined, bfdSchema.parse(option), 0).minTtl;
  expect([ttl({}), ttl({ multihop: true }), ttl({ multihop: true, minTtl: 60 })]).toEqual([255, 254, 60]);
});
