import { readFileSync } from 'node:fs';
import { ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { maskAddress } from '@l4d/kit/ip-prefix.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AttributeValue, pathAttribute } from './attribute.ts';
import { type BgpMessage, decodeMessage, encodeMessage, splitMessages } from './message.ts';

const u8 = fc.integer({ min: 0, max: 255 });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const as = fc.integer({ min: 1, max: 0xffff_ffff });
const blob = (maxLength: number) => fc.uint8Array({ maxLength });
const address = (size: number) => fc.uint8Array({ minLength: size, maxLength: size }).map(ipAddressFromBytes);
const prefix = (size: number) =>
  fc.tuple(address(size), fc.integer({ min: 0, max: size * 8 })).map(([whole, length]) => ({
    address: maskAddress(whole, length),
    length,
  }));
const segments = fc.array(
  fc.record({ type: fc.constantFrom(1, 2), asNumbers: fc.array(as, { minLength: 1, maxLength: 10 }) }),
  { maxLength: 3 },
);

const open: fc.Arbitrary<BgpMessage> = fc.record({
  type: fc.constant('open' as const),
  myAs: fc.integer({ min: 1, max: 0xffff }),
  holdTimeSeconds: fc.oneof(fc.constant(0), fc.integer({ min: 3, max: 0xffff })),
  routerId: fc.integer({ min: 1, max: 0xffff_ffff }),
  capabilityParameters: fc.array(fc.array(fc.record({ code: u8, value: blob(40) }), { maxLength: 3 }), {
    maxLength: 2,
  }),
  extendedLength: fc.constant(false),
});

type Known = Exclude<AttributeValue, { kind: 'opaque' }>;

const optional: fc.Arbitrary<Known>[] = [
  u32.map((med) => ({ kind: 'med', med })),
  fc.array(u32, { minLength: 1, maxLength: 8 }).map((communities) => ({ kind: 'communities', communities })),
  fc.constant({ kind: 'atomic-aggregate' }),
  fc.tuple(as, address(4)).map(([number, where]) => ({ kind: 'aggregator', as: number, address: where })),
  fc.tuple(address(16), fc.array(prefix(16), { maxLength: 8 })).map(([nextHop, prefixes]) => ({
    kind: 'mp-reach',
    afi: 2,
    safi: 1,
    nextHop: nextHop.bytes,
    nlri: { kind: 'prefixes', prefixes },
  })),
  blob(60).map((bytes) => ({ kind: 'mp-unreach', afi: 25, safi: 70, nlri: { kind: 'opaque', bytes } })),
];

const update: fc.Arbitrary<BgpMessage> = fc
  .record({
    withdrawn: fc.array(prefix(4), { maxLength: 20 }),
    nlri: fc.array(prefix(4), { minLength: 1, maxLength: 20 }),
    path: segments,
    nextHop: address(4),
    localPref: u32,
    extra: fc.tuple(...optional.map((value) => fc.option(value, { nil: undefined }))),
  })
  .map(({ withdrawn, nlri, path, nextHop, localPref, extra }) => {
    const values: Known[] = [
      { kind: 'origin', origin: 0 },
      { kind: 'as-path', segments: path },
      { kind: 'next-hop', address: nextHop },
      { kind: 'local-pref', localPref },
      ...extra.filter((value) => value !== undefined),
    ];
    return { type: 'update', withdrawn, attributes: values.map(pathAttribute), nlri };
  });

const message: fc.Arbitrary<BgpMessage> = fc.oneof(
  open,
  update,
  fc.record({ type: fc.constant('notification' as const), code: u8, subcode: u8, data: blob(300) }),
  fc.constant({ type: 'keepalive' as const }),
  fc.record({
    type: fc.constant('route-refresh' as const),
    afi: u16,
    safi: u8,
    subtype: fc.constant(0),
    filters: blob(20),
  }),
);

const internal = { fourOctetAs: true, internal: true };

describe('codec properties', () => {
  it('what is encoded decodes to the same value', () => {
    fc.assert(
      fc.property(message, (value) => {
        const decoded = decodeMessage(encodeMessage(value), internal);
        const expected = value.type === 'update' ? { ...value, handling: 'accept', problems: [] } : value;
        expect(decoded).toEqual({ ok: true, value: expected });
      }),
      { numRuns: 500 },
    );
  });

  it('a stream of messages is cut where they end', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), u8, (values, cut) => {
        const encoded = values.map((value) => encodeMessage(value));
        const split = splitMessages(
          Buffer.concat([...encoded, encodeMessage({ type: 'keepalive' }).subarray(0, cut % 19)]),
        );
        expect(split.messages.map((bytes) => [...bytes])).toEqual(encoded.map((bytes) => [...bytes]));
        expect(split.rest.length).toBe(cut % 19);
      }),
      { numRuns: 100 },
    );
  });
});

describe('fuzz', () => {
  /** A fixed generator: a failure is the same on every run. */
  function generator(seed: number): (bound: number) => number {
    let state = seed;
    return (bound) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * bound);
    };
  }

  const corpus = ['tcpdump-bgp', 'exabgp-qa'].flatMap((file) =>
    readFileSync(new URL(`../../../fixtures/${file}.jsonl`, import.meta.url), 'utf8')
      .trim()
      .split('\n')
      .map((line) => Buffer.from((JSON.parse(line) as { hex: string }).hex, 'hex')),
  );

  it('50,000 mutated messages: no exception, and what is accepted re-encodes to an equal value', () => {
    const random = generator(4271);
    const start = performance.now();
    let accepted = 0;
    for (let i = 0; i < 50_000; i++) {
      const mutated = mutate(corpus[random(corpus.length)] ?? Buffer.alloc(0), random);
      const context = { fourOctetAs: random(2) === 0, internal: random(2) === 0, addPath: random(8) === 0 };
      splitMessages(mutated);
      const decoded = decodeMessage(mutated, context);
      if (!decoded.ok) {
        encodeMessage(decoded.error);
        continue;
      }
      accepted += 1;
      if (decoded.value.type === 'update' && decoded.value.handling !== 'accept') continue;
      const bytes = encodeMessage(decoded.value, context.fourOctetAs);
      const again = decodeMessage(bytes, context);
      if (!again.ok || !Buffer.from(encodeMessage(again.value, context.fourOctetAs)).equals(bytes)) {
        throw new Error(`does not round-trip: ${mutated.toString('hex')}`);
      }
    }
    expect(accepted).toBeGreaterThan(5000);
    expect(performance.now() - start).toBeLessThan(20_000);
  }, 30_000);

  function mutate(source: Buffer, random: (bound: number) => number): Buffer {
    let bytes = Buffer.from(source);
    for (let rounds = 1 + random(4); rounds > 0; rounds--) {
      // Mostly behind the header: a broken marker ends the decoder at once.
      const at = Math.min(bytes.length, 18 + random(Math.max(1, bytes.length - 18)));
      switch (random(5)) {
        case 0:
          bytes[at] = random(256);
          break;
        case 1:
          if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
          break;
        case 2:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(8))]);
          break;
        case 3:
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            Buffer.alloc(random(8), random(256)),
            bytes.subarray(at),
          ]);
          break;
        default:
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            (corpus[random(corpus.length)] ?? bytes).subarray(19),
          ]);
      }
    }
    // A true length lets the mutation reach the body.
    if (random(4) !== 0 && bytes.length >= 19) bytes.writeUInt16BE(Math.min(bytes.length, 0xffff), 16);
    return bytes;
  }
});
