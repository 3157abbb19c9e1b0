import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { toHex } from './attribute-json.ts';
import { type BgpMessage, decodeMessage, encodeMessage } from './message.ts';
import { decodeStream, messageSchema, messageToJson } from './message-json.ts';

const vectors = ['tcpdump-bgp', 'exabgp-qa'].flatMap((file) =>
  readFileSync(new URL(`../../../fixtures/${file}.jsonl`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { hex: string }),
);
const octets = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));

describe('JSON of messages', () => {
  it('every message of the vectors comes back from its JSON octet by octet', () => {
    let compared = 0;
    for (const { hex } of vectors) {
      for (const context of [
        { fourOctetAs: true, internal: true },
        { fourOctetAs: false, internal: false },
        { fourOctetAs: true, internal: false, addPath: true },
      ]) {
        const decoded = decodeMessage(octets(hex), context);
        if (!decoded.ok) continue;
        const text = JSON.stringify(messageToJson(decoded.value));
        const back = messageSchema.parse(JSON.parse(text));
        const encode = (message: BgpMessage) => toHex(encodeMessage(message, context.fourOctetAs, 65_535));
        expect(encode(back), text).toBe(encode(decoded.value));
        compared += 1;
      }
    }
    expect(compared).toBeGreaterThan(1000);
  });

  it('reads as operators write', () => {
    const hex =
      'ffffffffffffffffffffffffffffffff003e0200000022400101004002060201000100014003040a000001800404' +
      '0000000ac008040001000220cb00710a';
    const decoded = decodeMessage(octets(hex), { fourOctetAs: true, internal: false });
    if (!decoded.ok) throw new Error('refused');
    expect(messageToJson(decoded.value)).toEqual({
      type: 'update',
      handling: 'accept',
      withdrawn: [],
      attributes: [
        { type: 1, name: 'origin', flags: 64, value: { kind: 'origin', origin: 'IGP' } },
        {
          type: 2,
          name: 'asPath',
          flags: 64,
          value: { kind: 'as-path', segments: [{ type: 'sequence', asNumbers: [65537] }] },
        },
        { type: 3, name: 'nextHop', flags: 64, value: { kind: 'next-hop', address: '10.0.0.1' } },
        { type: 4, name: 'med', flags: 128, value: { kind: 'med', med: 10 } },
        { type: 8, name: 'communities', flags: 192, value: { kind: 'communities', communities: ['1:2'] } },
      ],
      nlri: ['203.0.113.10/32'],
    });
  });

  it.each([
    [{ type: 'update', nlri: ['2001:db8::/32'] }, /must be an IPv4 prefix/],
    [{ type: 'update', nlri: ['10.0.0.0/8#x'] }, /no path identifier/],
    [
      {
        type: 'update',
        attributes: [{ type: 8, flags: 192, value: { kind: 'communities', communities: ['70000:1'] } }],
      },
      /70000:1.* is not a community/,
    ],
    [{ type: 'notification', code: 6, subcode: 2, hex: '0' }, /pairs of hexadecimal digits/],
    [{ type: 'open', myAs: 1 }, /holdTimeSeconds/],
    [{ type: 'greeting' }, /type/],
  ])('refuses %j', (json, expected) => {
    expect(() => messageSchema.parse(json)).toThrow(expected);
  });
});

describe('streams', () => {
  const keepalive = 'ffffffffffffffffffffffffffffffff001304';
  const stream = (...parts: string[]) =>
    decodeStream(octets(parts.join('')), { fourOctetAs: true, internal: false }).map(
      ({ offset, length, outcome }) => [offset, length, outcome],
    );

  it('tells what becomes of each message', () => {
    // ORIGIN 7 with a prefix: treat-as-withdraw; LOCAL_PREF from outside: attribute discard.
    const withdraw =
      'ffffffffffffffffffffffffffffffff002e02000000124001010740020040030' +
      '40a0000014005040000006420cb00710a';
    const fixed = (hex: string) =>
      hex.replace(/^(f{32})..../, `$1${(hex.length / 2).toString(16).padStart(4, '0')}`);
    const update = fixed(withdraw.replace('00000012', '00000015'));
    expect(stream(keepalive, update)).toEqual([
      [0, 19, 'accept'],
      [19, update.length / 2, 'treat-as-withdraw'],
    ]);
    const discard = fixed(update.replace('40010107', '40010100'));
    expect(stream(discard)).toEqual([[0, discard.length / 2, 'attribute-discard']]);
  });

  it('goes on after a message that resets the session, and stops where it cannot be framed', () => {
    const badLengths = 'ffffffffffffffffffffffffffffffff001702ffff0000';
    expect(stream(badLengths, keepalive, '00112233445566778899aabbccddeeff00112233')).toEqual([
      [0, 23, 'session-reset'],
      [23, 19, 'accept'],
      [42, 20, 'session-reset'],
    ]);
    expect(stream(keepalive, keepalive.slice(0, 20))).toEqual([
      [0, 19, 'accept'],
      [19, 10, 'incomplete'],
    ]);
  });
});
