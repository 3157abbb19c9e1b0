import { ipAddress } from '@l4d/kit/ip-address.ts';
import { parseMacAddress } from '@l4d/kit/mac-address.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeDiscovery, encodeAdvertisement, encodeSolicitation } from './router-discovery.ts';

const source = ipAddress('fe80::1');
const mac = parseMacAddress('02:00:00:00:00:01');

/** An advertisement as FRR sends it for an unnumbered neighbour: router lifetime 0, reachable and retrans 0, MAC. */
const advertisement = Uint8Array.from([
  134, 0, 0x12, 0x34, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1,
]);

const changed = (at: number, value: number) => advertisement.with(at, value);

describe('what is sent', () => {
  it('advertises a router lifetime of 0 and nothing that hosts would configure from (RFC 4861 4.2, 6.2.3)', () => {
    const bytes = encodeAdvertisement(mac);
    expect([...bytes.subarray(0, 16)]).toEqual([134, ...new Array<number>(15).fill(0)]);
    expect([...bytes.subarray(16)]).toEqual([1, 1, 2, 0, 0, 0, 0, 1]);
  });

  it('is taken by the other side', () => {
    const heard = decodeDiscovery(encodeAdvertisement(mac), source, 255);
    expect(heard).toEqual({ ok: true, value: { kind: 'advertisement', source, mac: '02:00:00:00:00:01' } });
    const asked = decodeDiscovery(encodeSolicitation(undefined), ipAddress('::'), 255);
    expect(asked).toEqual({ ok: true, value: { kind: 'solicitation' } });
  });
});

describe('what is received (RFC 4861 6.1.2)', () => {
  it('takes an advertisement of FRR', () => {
    const heard = decodeDiscovery(advertisement, source, 255);
    expect(heard).toEqual({ ok: true, value: { kind: 'advertisement', source, mac: '02:00:00:00:00:01' } });
  });

  it.each([
    ['one that has passed a router', advertisement, source, 254, 'hop-limit'],
    ['one of unknown hop limit', advertisement, source, undefined, 'hop-limit'],
    ['a global source', advertisement, ipAddress('2001:db8::1'), 255, 'source'],
    ['the unspecified source', advertisement, ipAddress('::'), 255, 'source'],
    ['a code', changed(1, 1), source, 255, 'code'],
    ['another type', changed(0, 135), source, 255, 'type'],
    ['nothing', new Uint8Array(0), source, 255, 'type'],
    ['a short one', advertisement.subarray(0, 15), source, 255, 'length'],
    ['an option of length 0, which would be read for ever', changed(17, 0), source, 255, 'option'],
    ['an option past the end', changed(17, 2), source, 255, 'option'],
    ['half an option', advertisement.subarray(0, 17), source, 255, 'option'],
  ] as const)('refuses %s', (_name, bytes, from, hopLimit, fault) => {
    expect(decodeDiscovery(bytes, from, hopLimit)).toEqual({ ok: false, error: fault });
  });

  it('any bytes: an answer, no exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(133, 134), (bytes, type) => {
        if (bytes.length > 1) bytes.set([type, 0]);
        expect(decodeDiscovery(bytes, source, 255)).toHaveProperty('ok');
      }),
    );
  });
});
