import fc from 'fast-check';
import { expect, it } from 'vitest';
import { readOcspResponse } from './ocsp.ts';

const der = (tag: number, ...content: (number | readonly number[])[]): number[] => {
  const body = content.flat();
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff];
  return [tag, ...length, ...body];
};
const time = (text: string) => der(0x18, [...Buffer.from(text)]);
const sequence = (...content: number[][]) => der(0x30, ...content);

function response(status: number[], ...next: number[][]): Uint8Array {
  const id = sequence(sequence(), der(4), der(4), der(2, 0, 0xab, 0xcd));
  const single = sequence(id, status, time('20260102030405Z'), ...next);
  const data = sequence(der(0xa2, der(4)), time('20260102030405Z'), sequence(single));
  const basic = sequence(data, sequence(), der(3));
  return Uint8Array.from(sequence(der(10, 0), der(0xa0, sequence(der(6, 43), der(4, basic)))));
}

it('reads status, serial number and times', () => {
  const good = response(der(0x80), der(0xa0, time('20260103030405Z')));
  expect(readOcspResponse(good)).toEqual({
    ok: true,
    value: {
      status: 'good',
      serial: 'ABCD',
      thisUpdateMs: Date.UTC(2026, 0, 2, 3, 4, 5),
      nextUpdateMs: Date.UTC(2026, 0, 3, 3, 4, 5),
    },
  });
  const revoked = readOcspResponse(response(der(0xa1, time('20260101000000Z'))));
  expect(revoked.ok && [revoked.value.status, revoked.value.nextUpdateMs]).toEqual(['revoked', undefined]);
  const unknown = readOcspResponse(response(der(0x82)));
  expect(unknown.ok && unknown.value.status).toBe('unknown');
  const tryLater = readOcspResponse(Uint8Array.from(sequence(der(10, 3))));
  expect(tryLater.ok ? '' : tryLater.error).toContain('status 3');
});

it('refuses whatever else, cut or changed, without failing', () => {
  const good = response(der(0x80));
  for (let length = 0; length < good.length; length++)
    expect(readOcspResponse(good.subarray(0, length)).ok).toBe(false);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (any) => void readOcspResponse(any)));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
      const changed = Uint8Array.from(good);
      changed[at] = value;
      readOcspResponse(changed);
    }),
  );
});
