import { type IpAddress, ipAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { vrrpChecksum } from './checksum.ts';
import { advertisementFrame } from './frame.ts';
import { type Advertisement, decodeAdvertisement, encodeAdvertisement, vrrpGroup } from './packet.ts';

const source = ipAddress('192.168.0.30');
const envelope = { source, destination: vrrpGroup[4], ttl: 255 };
const base: Advertisement = {
  vrid: 51,
  priority: 100,
  intervalCs: 100,
  addresses: [ipAddress('192.168.0.1')],
};

/** With one octet changed and the checksum made right again. */
function changed(
  at: number,
  value: number,
  message = encodeAdvertisement(base, source, 'rfc9568'),
): Uint8Array {
  const bytes = message.slice();
  bytes[at] = value;
  bytes.fill(0, 6, 8);
  const checksum = vrrpChecksum(bytes, source, vrrpGroup[4], 'rfc9568');
  bytes.set([checksum >> 8, checksum & 0xff], 6);
  return bytes;
}

const addressOf = (family: 4 | 6) =>
  fc
    .uint8Array({ minLength: family === 4 ? 4 : 16, maxLength: family === 4 ? 4 : 16 })
    .map((bytes): IpAddress => ipAddressFromBytes(bytes));

const anyAdvertisement = fc.constantFrom(4 as const, 6 as const).chain((family) =>
  fc.record({
    vrid: fc.integer({ min: 1, max: 255 }),
    priority: fc.integer({ min: 0, max: 255 }),
    intervalCs: fc.integer({ min: 1, max: 4095 }),
    addresses: fc.array(addressOf(family), { minLength: 1, maxLength: 20 }),
    source: addressOf(family),
    kind: fc.constantFrom('rfc9568' as const, 'rfc5798' as const),
  }),
);

describe('codec', () => {
  it('reads back what it writes, under both checksums', () => {
    fc.assert(
      fc.property(anyAdvertisement, ({ source: from, kind, ...advertisement }) => {
        const bytes = encodeAdvertisement(advertisement, from, kind);
        const seen = decodeAdvertisement(bytes, {
          source: from,
          destination: vrrpGroup[from.family],
          ttl: 255,
        });
        expect(seen).toEqual({ ok: true, value: advertisement });
      }),
    );
  });

  it('never throws, and what it accepts it writes alike but for reserved bits', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (noise) => {
        const bytes = Uint8Array.from(noise);
        if (bytes.length >= 12) bytes.set([0x31, 51, 100, Math.floor((bytes.length - 8) / 4)]);
        const decoded = decodeAdvertisement(bytes.length >= 12 ? changed(0, 0x31, bytes) : bytes, envelope);
        if (decoded.ok)
          expect(encodeAdvertisement(decoded.value, source, 'rfc9568').length).toBe(bytes.length);
      }),
    );
  });

  it('writes the octets of RFC 9568 section 5.2', () => {
    const bytes = encodeAdvertisement(base, source, 'rfc9568');
    expect(Buffer.from(bytes).toString('hex')).toBe('313364010064a9bdc0a80001');
    // RFC 1071 by hand: 3133 + 6401 + 0064 + c0a8 + 0001 = 15641, folded 5642, complement a9bd.
    // With the pseudo-header: c0a8 + 001e + e000 + 0012 + 0070 + 000c more.
    expect(sum(encodeAdvertisement(base, source, 'rfc5798'))).toBe('0868');
  });

  it.each([
    ['wrong-ttl', encodeAdvertisement(base, source, 'rfc9568'), 254],
    ['bad-version', changed(0, 0x21), 255],
    ['bad-type', changed(0, 0x32), 255],
    ['bad-vrid', changed(1, 0), 255],
    ['bad-address-count', changed(3, 0), 255],
    ['bad-length', changed(3, 2), 255],
    ['bad-length', new Uint8Array(0), 255],
    ['bad-interval', changed(5, 0), 255],
    ['bad-checksum', encodeAdvertisement(base, source, 'rfc9568').fill(0, 6, 8), 255],
  ])('drops as %s', (reason, bytes, ttl) => {
    expect(decodeAdvertisement(bytes, { ...envelope, ttl })).toEqual({ ok: false, error: reason });
  });

  it('ignores the reserved bits before the interval', () => {
    const decoded = decodeAdvertisement(changed(4, 0xf0), envelope);
    expect(decoded).toMatchObject({ ok: true, value: { intervalCs: 100 } });
  });

  it('makes a frame from the virtual MAC address to the group, with a right IPv4 header', () => {
    const mac = Uint8Array.of(0, 0, 0x5e, 0, 1, 51);
    const frame = advertisementFrame(encodeAdvertisement(base, source, 'rfc9568'), source, mac);
    expect(Buffer.from(frame.subarray(0, 14)).toString('hex')).toBe('01005e00001200005e0001330800');
    const words = new DataView(frame.buffer, frame.byteOffset + 14, 20);
    let total = 0;
    for (let at = 0; at < 20; at += 2) total += words.getUint16(at);
    expect(((total & 0xffff) + (total >> 16)) & 0xffff).toBe(0xffff);
    expect(frame[22]).toBe(255);
    expect(frame[23]).toBe(112);
  });
});

function sum(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(6, 8)).toString('hex');
}
