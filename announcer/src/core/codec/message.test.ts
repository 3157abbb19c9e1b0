import { describe, expect, it } from 'vitest';
import { multiprotocolFamilies } from './capability.ts';
import { decodeMessage, encodeMessage, splitMessages } from './message.ts';
import {
  decodeShutdownText,
  describeNotification,
  encodeShutdownText,
  notification,
} from './notification.ts';
import { type OpenMessage, openCapabilities } from './open.ts';

const marker = 'ff'.repeat(16);
const external = { fourOctetAs: true, internal: false };

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
}

/** A message from its type and body, with the length filled in. */
function framed(type: number, body: string): Uint8Array {
  const content = bytes(body);
  const length = (19 + content.length).toString(16).padStart(4, '0');
  return Uint8Array.from([...bytes(marker + length), type, ...content]);
}

function refusal(message: Uint8Array): [number, number, string] | undefined {
  const decoded = decodeMessage(message, external);
  if (decoded.ok) return undefined;
  const { code, subcode, data } = decoded.error;
  return [code, subcode, Buffer.from(data).toString('hex')];
}

describe('framing', () => {
  const keepalive = framed(4, '');
  const update = framed(2, '0000 0000');

  it('finds messages whatever the pieces they come in', () => {
    const stream = Buffer.concat([keepalive, update, keepalive]);
    for (let size = 1; size <= stream.length; size++) {
      let rest: Uint8Array = new Uint8Array(0);
      const found: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += size) {
        const split = splitMessages(Buffer.concat([rest, stream.subarray(at, at + size)]));
        expect(split.error).toBeUndefined();
        found.push(...split.messages);
        rest = split.rest;
      }
      expect(Buffer.concat(found).equals(stream)).toBe(true);
      expect(found.length).toBe(3);
      expect(rest.length).toBe(0);
    }
  });

  it.each([
    ['a marker that is not all ones', `00${marker.slice(2)}001304`, [1, 1, '']],
    ['a length below 19', `${marker}001204`, [1, 2, '0012']],
    ['a length above 4096', `${marker}100102`, [1, 2, '1001']],
    ['an OPEN below 29', `${marker}001c01${'00'.repeat(9)}`, [1, 2, '001c']],
    ['an UPDATE below 23', `${marker}001602000000`, [1, 2, '0016']],
    ['a NOTIFICATION below 21', `${marker}00140301`, [1, 2, '0014']],
    ['a KEEPALIVE above 19', `${marker}00140400`, [1, 2, '0014']],
    ['a ROUTE-REFRESH below 23', `${marker}001605000100`, [1, 2, '0016']],
    ['an unknown type', `${marker}001306`, [1, 3, '06']],
  ])('refuses %s (RFC 4271 6.1)', (_name, hex, expected) => {
    expect(refusal(bytes(hex))).toEqual(expected);
    const { error, messages } = splitMessages(Buffer.concat([keepalive, bytes(hex)]));
    expect(messages.length).toBe(1);
    expect([error?.code, error?.subcode, Buffer.from(error?.data ?? []).toString('hex')]).toEqual(expected);
  });

  it('refuses before the body of a too long message is there', () => {
    expect(splitMessages(bytes(`${marker}ffff02`)).error).toMatchObject({ code: 1, subcode: 2 });
  });
});

describe('OPEN', () => {
  it('keeps capabilities, known or not, in the parameters they came in', () => {
    const message = framed(1, '04 fde9 00b4 0a000001 12 0206 010400010001 0208 4104000fffff c900');
    const decoded = decodeMessage(message, external);
    if (!decoded.ok || decoded.value.type !== 'open') throw new Error('no OPEN');
    expect(decoded.value).toMatchObject({ myAs: 65001, holdTimeSeconds: 180, routerId: 0x0a000001 });
    expect(multiprotocolFamilies(openCapabilities(decoded.value))).toEqual([{ afi: 1, safi: 1 }]);
    expect(openCapabilities(decoded.value).map(({ code }) => code)).toEqual([1, 65, 201]);
    expect(Buffer.from(encodeMessage(decoded.value)).equals(message)).toBe(true);
  });

  it.each([
    ['another version', '03 fde9 00b4 0a000001 00', [2, 1, '0004']],
    ['AS 0 (RFC 7607)', '04 0000 00b4 0a000001 00', [2, 2, '']],
    ['router id 0 (RFC 6286)', '04 fde9 00b4 00000000 00', [2, 3, '']],
    ['a hold time of one second', '04 fde9 0001 0a000001 00', [2, 6, '']],
    ['a hold time of two seconds', '04 fde9 0002 0a000001 00', [2, 6, '']],
    ['an unknown parameter', '04 fde9 00b4 0a000001 03 010100', [2, 4, '']],
    ['parameters longer than said', '04 fde9 00b4 0a000001 01 020100', [2, 0, '']],
    ['a capability past its parameter', '04 fde9 00b4 0a000001 04 02024104', [2, 0, '']],
  ])('refuses %s', (_name, body, expected) => {
    expect(refusal(framed(1, body))).toEqual(expected);
  });

  it('reads and writes the extended form of FRR 8.4, as it came off the wire (RFC 9072)', () => {
    const open = bytes(
      `${marker}007f0104fde800090a4d0001ffff005f020006010400010001020006010400020001020002800002000202000200
       0246000200064104 0000fde8020002060002000a45080001010100020101020006490402766d000200044002c07802001047
       0e0001018000000000020180000000`.replaceAll(/\s/g, ''),
    );
    const decoded = decodeMessage(open, external);
    if (!decoded.ok || decoded.value.type !== 'open') throw new Error('no OPEN');
    expect(decoded.value).toMatchObject({ myAs: 65000, holdTimeSeconds: 9, extendedLength: true });
    expect(decoded.value.capabilityParameters.map((one) => one.map(({ code }) => code))).toEqual(
      [1, 1, 128, 2, 70, 65, 6, 69, 73, 64, 71].map((code) => [code]),
    );
    expect(Buffer.from(encodeMessage(decoded.value)).equals(open)).toBe(true);
  });

  it('takes the one-octet length that FRR 8.4 gives the Role capability in the extended form', () => {
    const open = bytes(
      `${marker}00840104fde800090a4d0001ffff00640200060104000100010200060104000200010200028000020002020002000246
       0002000641040000fde802000206000203090100
       02000a45080001010100020101020006490402766d000200044002c078020010470e0001018000000000020180000000`.replaceAll(
        /\s/g,
        '',
      ),
    );
    const decoded = decodeMessage(open, external);
    if (!decoded.ok || decoded.value.type !== 'open') throw new Error('no OPEN');
    const capabilities = openCapabilities(decoded.value);
    expect(capabilities.map(({ code }) => code)).toEqual([1, 1, 128, 2, 70, 65, 6, 9, 69, 73, 64, 71]);
    expect(capabilities.find(({ code }) => code === 9)?.value).toEqual(Uint8Array.of(0));
    // What we send is right: one octet more.
    expect(encodeMessage(decoded.value).length).toBe(open.length + 1);
    // A length that fits neither way is malformed as before.
    const cut = Uint8Array.from(open);
    cut[19 + 13 + 1] = 0xff;
    expect(refusal(cut)).toEqual([2, 0, '']);
  });

  it('leaves a total length of 255, which announces the extended form, to that form (RFC 9072 2)', () => {
    for (const [size, extendedLength] of [
      [250, false],
      [251, true],
    ] as const) {
      const open: OpenMessage = {
        type: 'open',
        myAs: 65000,
        holdTimeSeconds: 9,
        routerId: 1,
        capabilityParameters: [[{ code: 200, value: new Uint8Array(size) }]],
        extendedLength: false,
      };
      expect(decodeMessage(encodeMessage(open), external)).toEqual({
        ok: true,
        value: { ...open, extendedLength },
      });
    }
  });

  it('takes the extended length by itself when capabilities need it (RFC 9072)', () => {
    const capabilities = [1, 2].map((code) => ({ code: 200 + code, value: new Uint8Array(200).fill(code) }));
    const open = {
      type: 'open',
      myAs: 65001,
      holdTimeSeconds: 9,
      routerId: 1,
      capabilityParameters: [capabilities],
      extendedLength: false,
    } as const;
    const message = encodeMessage(open);
    expect([...message.subarray(28, 30)]).toEqual([255, 255]);
    const decoded = decodeMessage(message, external);
    expect(decoded.ok && decoded.value).toEqual({ ...open, extendedLength: true });
  });
});

describe('NOTIFICATION', () => {
  it('carries a shutdown communication (RFC 9003), also inside a hard reset (RFC 8538)', () => {
    const message = notification(6, 2, encodeShutdownText('maintenance'));
    expect(decodeShutdownText(message)).toEqual({ text: 'maintenance' });
    expect(describeNotification(message)).toBe('Cease / Administrative Shutdown: maintenance');
    const hard = notification(6, 9, Uint8Array.of(6, 2, ...message.data));
    expect(describeNotification(hard)).toBe('Cease / Hard Reset: maintenance');
  });

  it('cuts a long text at a character, and shows no control characters', () => {
    const data = encodeShutdownText('é'.repeat(200));
    expect(data[0]).toBe(254);
    expect(decodeShutdownText(notification(6, 2, data))).toEqual({ text: 'é'.repeat(127) });
    expect(describeNotification(notification(6, 2, encodeShutdownText('a\n\u001b[31mb')))).toBe(
      'Cease / Administrative Shutdown: a??[31mb',
    );
  });

  it('tells of a text that is malformed (RFC 9003 2), and nothing of one that is not there', () => {
    for (const data of [Uint8Array.of(9, 65), Uint8Array.of(1, 0xff)]) {
      expect(describeNotification(notification(6, 2, data))).toBe(
        'Cease / Administrative Shutdown, with a shutdown communication that cannot be read',
      );
    }
    for (const data of [Uint8Array.of(), Uint8Array.of(0)]) {
      expect(describeNotification(notification(6, 2, data))).toBe('Cease / Administrative Shutdown');
    }
  });
});

describe('ROUTE-REFRESH', () => {
  it('refuses begin and end markers of another length, quoting them (RFC 7313 5)', () => {
    const message = framed(5, '0001 01 01 00');
    expect(refusal(message)).toEqual([7, 1, Buffer.from(message).toString('hex')]);
    expect(refusal(framed(5, '0001 00 01'))).toBeUndefined();
  });
});
