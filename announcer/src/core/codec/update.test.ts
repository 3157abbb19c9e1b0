import { ipAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { describe, expect, it } from 'vitest';
import { pathAttribute } from './attribute.ts';
import type { UpdateContext } from './attribute-decode.ts';
import { decodeUpdateBody, encodeUpdateBody, type ReceivedUpdate } from './update.ts';

const external: UpdateContext = { fourOctetAs: true, internal: false };
const internal: UpdateContext = { fourOctetAs: true, internal: true };

const origin = '40 01 01 00';
const asPath = '40 02 06 02 01 0000fde9';
const nextHop = '40 03 04 0a000001';
const good = `${origin}${asPath}${nextHop}`;
const nlri = '20 cb00710a';

function body(attributes: string, prefixes = nlri, withdrawn = ''): Uint8Array {
  const part = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
  const length = (bytes: Uint8Array) => Buffer.from([bytes.length >> 8, bytes.length & 0xff]);
  const [gone, list] = [part(withdrawn), part(attributes)];
  return Uint8Array.from(Buffer.concat([length(gone), gone, length(list), list, part(prefixes)]));
}

function decode(bytes: Uint8Array, context = external): ReceivedUpdate {
  const decoded = decodeUpdateBody(bytes, context);
  if (!decoded.ok) throw new Error(`reset ${decoded.error.code}/${decoded.error.subcode}`);
  return decoded.value;
}

function reset(bytes: Uint8Array, context = external): [number, string] | undefined {
  const decoded = decodeUpdateBody(bytes, context);
  return decoded.ok ? undefined : [decoded.error.subcode, Buffer.from(decoded.error.data).toString('hex')];
}

describe('well-formed', () => {
  it('reads the mandatory attributes and NLRI', () => {
    const update = decode(body(good));
    expect(update.handling).toBe('accept');
    expect(update.nlri.map(formatIpPrefix)).toEqual(['203.0.113.10/32']);
    expect(update.attributes.map(({ value }) => value)).toEqual([
      { kind: 'origin', origin: 0 },
      { kind: 'as-path', segments: [{ type: 2, asNumbers: [65001] }] },
      { kind: 'next-hop', address: ipAddress('10.0.0.1') },
    ]);
  });

  it('reads IPv6 prefixes from attributes 14 and 15', () => {
    const reach =
      '80 0e 26 0002 01 10 fd000000000000000000000000000001 00 80 20010db8000000000000000000000001';
    const unreach = '80 0f 08 0002 01 20 20010db8';
    const update = decode(body(`${reach}${origin}${asPath}${unreach}`, ''));
    expect(update.handling).toBe('accept');
    const [mpReach, , , mpUnreach] = update.attributes.map(({ value }) => value);
    expect(mpReach).toMatchObject({ kind: 'mp-reach', nlri: { prefixes: [ipPrefix('2001:db8::1/128')] } });
    expect(mpUnreach).toMatchObject({ kind: 'mp-unreach', nlri: { prefixes: [ipPrefix('2001:db8::/32')] } });
  });

  it('ignores the low four bits of the flags (RFC 4271 4.3)', () => {
    const update = decode(body(`4f 01 01 00${asPath}${nextHop}`));
    expect(update).toMatchObject({ handling: 'accept', problems: [] });
    expect(update.attributes[0]).toMatchObject({ flags: 0x40, type: 1 });
  });

  it('clears host bits, and knows both widths of AS numbers', () => {
    expect(decode(body(good, '0a ffff')).nlri.map(formatIpPrefix)).toEqual(['255.192.0.0/10']);
    const narrow = decode(body(`${origin}40 02 04 02 01 5ba0${nextHop}c0 11 06 02 01 000fffff`), {
      fourOctetAs: false,
      internal: false,
    });
    expect(narrow.attributes.map(({ value }) => value)).toContainEqual({
      kind: 'as4-path',
      segments: [{ type: 2, asNumbers: [0xfffff] }],
    });
  });

  it('discards an AS4_PATH of confederation segments alone (RFC 6793 6)', () => {
    const decoded = decode(body(`${origin}40 02 04 02 01 5ba0${nextHop}e0 11 06 03 01 000fffff`), {
      fourOctetAs: false,
      internal: false,
    });
    expect(decoded.handling).toBe('attribute-discard');
    expect(decoded.attributes.map(({ value }) => value.kind)).not.toContain('as4-path');
  });

  it('writes AS_TRANS where two octets do not suffice (RFC 6793)', () => {
    const path = pathAttribute({ kind: 'as-path', segments: [{ type: 2, asNumbers: [0xfffff] }] });
    const encoded = encodeUpdateBody({ type: 'update', withdrawn: [], attributes: [path], nlri: [] }, false);
    expect(Buffer.from(encoded).toString('hex')).toBe('0000000740020402015ba0');
  });

  it('takes an empty UPDATE (End-of-RIB) and withdrawals alone', () => {
    expect(decode(body('', '')).handling).toBe('accept');
    expect(decode(body('', '', nlri)).withdrawn.map(formatIpPrefix)).toEqual(['203.0.113.10/32']);
  });
});

describe('treat-as-withdraw (RFC 7606)', () => {
  it.each([
    ['7.1 ORIGIN of two octets', `40 01 02 0000${asPath}${nextHop}`],
    ['7.1 an undefined ORIGIN', `40 01 01 03${asPath}${nextHop}`],
    ['7.2 a segment type of 5', `${origin}40 02 06 05 01 0000fde9${nextHop}`],
    ['7.2 an AS_PATH overrun', `${origin}40 02 06 02 02 0000fde9${nextHop}`],
    ['7.2 an AS_PATH underrun', `${origin}40 02 07 02 01 0000fde9 02${nextHop}`],
    ['7.2 a segment of length zero', `${origin}40 02 02 02 00${nextHop}`],
    ['RFC 7607: AS 0 in AS_PATH', `${origin}40 02 06 02 01 00000000${nextHop}`],
    ['7.3 NEXT_HOP of three octets', `${origin}${asPath}40 03 03 0a0000`],
    ['7.4 MED of three octets', `${good}80 04 03 000001`],
    ['7.8 communities of five octets', `${good}c0 08 05 0000000000`],
    ['7.8 no communities', `${good}c0 08 00`],
    ['7.14 extended communities of seven octets', `${good}c0 10 07 00000000000000`],
    ['RFC 8092: large communities of 8 octets', `${good}c0 20 08 0000000000000000`],
    ['3 (c) wrong flags', `c0 01 01 00${asPath}${nextHop}`],
    ['3 (d) ORIGIN missing', `${asPath}${nextHop}`],
    ['3 (d) AS_PATH missing', `${origin}${nextHop}`],
    ['3 (d) NEXT_HOP missing', `${origin}${asPath}`],
    ['4 an attribute past the end', `${good}80 04 05 0000`],
    ['4 a header past the end', `${good}80`],
  ])('%s', (_name, attributes) => {
    const update = decode(body(attributes));
    expect(update.handling).toBe('treat-as-withdraw');
    expect(update.nlri.length).toBe(1);
  });

  it('5.2: is a session reset when no reachable NLRI was found', () => {
    expect(reset(body(`40 01 01 03${asPath}`, '', nlri))).toEqual([6, '']);
  });

  it('asks internal peers for LOCAL_PREF', () => {
    expect(decode(body(good), internal).handling).toBe('treat-as-withdraw');
    expect(decode(body(`${good}40 05 04 00000064`), internal).handling).toBe('accept');
    expect(decode(body(`${good}40 05 03 000064`), internal).handling).toBe('treat-as-withdraw');
  });
});

describe('attribute discard (RFC 7606)', () => {
  it.each([
    ['7.5 LOCAL_PREF from outside', '40 05 04 00000064'],
    ['7.6 ATOMIC_AGGREGATE with a value', '40 06 01 00'],
    ['7.7 AGGREGATOR of six octets', 'c0 07 06 fde90a000001'],
    ['7.9 ORIGINATOR_ID from outside', '80 09 04 0a000001'],
    ['7.10 CLUSTER_LIST from outside', '80 0a 04 0a000001'],
    ['RFC 6793: AS4_PATH from a four-octet speaker', 'c0 11 06 02 01 0000fde9'],
    ['3 (g) a second ORIGIN', '40 01 01 02'],
  ])('%s', (_name, attribute) => {
    const update = decode(body(`${good}${attribute}`));
    expect(update.handling).toBe('attribute-discard');
    expect(update.attributes.map(({ value }) => value.kind)).toEqual(['origin', 'as-path', 'next-hop']);
    expect(update.problems.length).toBe(1);
  });
});

describe('session reset', () => {
  it.each([
    ['withdrawn routes past the end', new Uint8Array([0, 9, 0, 0]), [1, '']],
    ['attributes past the end', new Uint8Array([0, 0, 0, 9]), [1, '']],
    ['a prefix longer than 32 bits', body(good, '21 0000000000'), [10, '']],
    ['a prefix past the end', body(good, '20 0000'), [10, '']],
    ['an unknown well-known attribute', body(`${good}40 63 01 00`), [2, '40630100']],
    ['MP_UNREACH_NLRI twice', body('80 0f 03 000201 80 0f 03 000201', ''), [1, '']],
    ['MP_REACH_NLRI cut short', body(`${good}80 0e 02 0002`), [9, '800e020002']],
    [
      'an IPv6 next hop of five octets',
      body(`${good}80 0e 0a 0002 01 05 0000000000 00`),
      [9, '800e0a000201050000000000' + '00'],
    ],
  ] as [string, Uint8Array, [number, string]][])('%s', (_name, bytes, expected) => {
    expect(reset(bytes)).toEqual(expected);
  });
});
