import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ipAddress } from '../ip-address.ts';
import { ipPrefix } from '../ip-prefix.ts';
import { parseMacAddress } from '../mac-address.ts';
import {
  decodeAcknowledgement,
  decodeAttributes,
  decodeMessages,
  encodeMessage,
  encodePayload,
} from './codec.ts';
import { decodeAddress } from './codec-address.ts';
import { decodeLink } from './codec-link.ts';
import { decodeNeighbour, encodeNeighbour } from './codec-neighbour.ts';
import { decodeRoute, encodeRoute } from './codec-route.ts';
import { decodeRule, encodeRule } from './codec-rule.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replace(/\s/g, ''), 'hex'));

describe('messages', () => {
  it('writes the length without padding and pads the bytes to four', () => {
    const message = encodeMessage({ type: 28, flags: 5, sequence: 7, payload: Uint8Array.of(1, 2, 3) });
    expect(hex(message)).toBe('13000000 1c00 0500 07000000 00000000 010203 00'.replace(/ /g, ''));
  });

  it('reads what it writes, several in one datagram', () => {
    const one = encodeMessage({ type: 16, flags: 2, sequence: 1, payload: Uint8Array.of(9) });
    const two = encodeMessage({ type: 3, flags: 2, sequence: 1, payload: new Uint8Array(4) });
    const decoded = decodeMessages(Uint8Array.from([...one, ...two]));
    expect(decoded.ok && decoded.value.map(({ type, payload }) => [type, payload.length])).toEqual([
      [16, 1],
      [3, 4],
    ]);
  });

  it.each([
    ['a header cut short', '13000000 1c00'],
    ['a length below the header', '0f000000 1c000500 07000000 00000000'],
    ['a length beyond the datagram', '15000000 1c000500 07000000 00000000 01020304'],
  ])('refuses %s', (_, text) => {
    expect(decodeMessages(bytes(text)).ok).toBe(false);
  });
});

describe('attributes', () => {
  it('masks the nested and byte-order flags off the type', () => {
    const attributes = decodeAttributes(bytes('0800 1280 01020304'));
    expect(attributes.ok && [...attributes.value.keys()]).toEqual([0x12]);
  });

  it.each([
    ['a length below four', '0300 0100'],
    ['a length beyond the end', '0900 0100 01020304'],
    ['a tail of two bytes', '0800 0100 01020304 0400'],
  ])('refuses %s', (_, text) => {
    expect(decodeAttributes(bytes(text)).ok).toBe(false);
  });
});

describe('acknowledgements', () => {
  const answer = (type: number, flags: number, payload: Uint8Array) =>
    decodeAcknowledgement({ type, flags, sequence: 1, portId: 0, payload });
  const quoted = '14000000 18000500 01000000 00000000';

  it('tells errno and the kernel’s text, capped or with the whole request quoted', () => {
    const text = '0a000100 4e6f7065 2100 0000';
    const expected = { ok: true, value: { errno: 22, text: 'Nope!' } };
    expect(answer(2, 0x300, bytes(`eaffffff ${quoted} ${text}`))).toEqual(expected);
    expect(answer(2, 0x200, bytes(`eaffffff ${quoted} 00000000 ${text}`))).toEqual(expected);
    expect(answer(3, 0x202, bytes(`eaffffff ${text}`))).toEqual(expected);
  });

  it('knows success, with plain zero for errno', () => {
    expect(answer(2, 0, bytes(`00000000 ${quoted}`))).toEqual({
      ok: true,
      value: { errno: 0, text: undefined },
    });
    expect(answer(3, 2, new Uint8Array())).toEqual({ ok: true, value: { errno: 0, text: undefined } });
    expect(answer(16, 2, new Uint8Array())).toBeUndefined();
  });

  it('refuses an error that is cut short', () => {
    expect(answer(2, 0, bytes('ea'))).toMatchObject({ ok: false });
    expect(answer(2, 0x200, bytes('eaffffff 1400'))).toMatchObject({ ok: false });
  });
});

describe('what is written is read back', () => {
  it('neighbour', () => {
    const neighbour = {
      interfaceIndex: 3,
      address: ipAddress('fe80::4c34'),
      mac: parseMacAddress('02:6c:34:64:00:01'),
      state: 0x80,
      flags: 0,
    };
    expect(decodeNeighbour(encodeNeighbour(neighbour))).toEqual({ ok: true, value: neighbour });
  });

  it('route with everything, as iproute2 sends it', () => {
    const encoded = encodeRoute({
      destination: ipPrefix('203.0.113.0/24'),
      table: 19532,
      gateway: ipAddress('169.254.76.52'),
      onLink: true,
      interfaceIndex: 2,
      preferredSource: ipAddress('10.0.0.11'),
    });
    expect(hex(encoded)).toBe(
      '02180000 00040001 04000000 08000f00 4c4c0000 08000100 cb007100 08000500 a9fe4c34 08000400 02000000 08000700 0a00000b'.replace(
        / /g,
        '',
      ),
    );
    expect(decodeRoute(encoded)).toMatchObject({
      ok: true,
      value: { table: 19532, onLink: true, interfaceIndex: 2, type: 1 },
    });
  });

  it('multipath route: the interface of each next hop', () => {
    const rtmsg = bytes('02000000 fe030001 00000000');
    // struct rtnexthop: length, flags, hops, interface; then RTA_GATEWAY.
    const first = '1000 00 00 02000000 08000500 0a4d0001';
    const second = '1000 00 01 04000000 08000500 0a4d0002';
    const route = (nextHops: string) => decodeRoute(encodePayload(rtmsg, [[9, bytes(nextHops)]]));
    expect(route(`${first} ${second}`)).toMatchObject({
      ok: true,
      value: { interfaceIndex: undefined, pathInterfaces: [2, 4] },
    });
    expect(route(`${first} 1000 00 00 0400`)).toMatchObject({ ok: false });
    expect(route('0000 00 00 02000000')).toMatchObject({ ok: false });
    expect(route('1400 00 00 02000000 08000500 0a4d0001')).toMatchObject({ ok: false });
  });

  it('local route in the local table, scope host', () => {
    const encoded = encodeRoute({
      destination: ipPrefix('203.0.113.10/32'),
      type: 'local',
      interfaceIndex: 1,
    });
    expect(hex(encoded.subarray(0, 8))).toBe('02200000ff04fe02');
  });

  it('rule', () => {
    const rule = { family: 6, priority: 100, table: 19532, mark: 0x4c000000, markMask: 0xff000000 } as const;
    expect(decodeRule(encodeRule(rule))).toEqual({ ok: true, value: { ...rule, action: 1 } });
    const incoming = { ...rule, incoming: 'eth0.10' };
    expect(decodeRule(encodeRule(incoming))).toEqual({ ok: true, value: { ...incoming, action: 1 } });
  });
});

it('refuses misshapen addresses as values', () => {
  const ndmsg = bytes('02000000 01000000 02000000');
  expect(decodeNeighbour(encodePayload(ndmsg, [[1, Uint8Array.of(10, 0, 0)]]))).toMatchObject({ ok: false });
  const rtmsg = bytes('02210000 fe040001 00000000');
  expect(decodeRoute(encodePayload(rtmsg, [[1, Uint8Array.of(10, 0, 0, 1)]]))).toMatchObject({ ok: false });
  expect(decodeAddress(encodePayload(bytes('02180000 01000000'), [[1, new Uint8Array(16)]]))).toMatchObject({
    ok: false,
  });
});

it('no bytes make a decoder throw', () => {
  const decoders = [
    decodeMessages,
    decodeAttributes,
    decodeLink,
    decodeAddress,
    decodeNeighbour,
    decodeRoute,
    decodeRule,
  ];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 96 }), (input) => {
      for (const decode of decoders) decode(input);
      for (const family of [2, 10]) {
        const shaped = Uint8Array.from(input);
        shaped[0] = family;
        for (const decode of decoders) decode(shaped);
      }
    }),
    { numRuns: 2000 },
  );
});
