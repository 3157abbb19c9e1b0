import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AuthSettings,
  type AuthType,
  type Digest,
  maxKeyBytes,
  signPacket,
  unsignedSection,
  verifySection,
} from './authentication.ts';
import { type BfdPacket, bfdStates, decodePacket, encodePacket } from './packet.ts';

const digest: Digest = (algorithm, data) => createHash(algorithm).update(data).digest();

const packet: BfdPacket = {
  diagnostic: 3,
  state: 'Init',
  poll: true,
  final: false,
  controlPlaneIndependent: true,
  demand: false,
  multiplier: 3,
  myDiscriminator: 0x01020304,
  yourDiscriminator: 0xa0b0c0d0,
  desiredMinTx: 1_000_000,
  requiredMinRx: 50_000,
  requiredMinEchoRx: 0,
};

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function changed(offset: number, value: number, base = encodePacket(packet)): Uint8Array {
  const bytes = Uint8Array.from(base);
  bytes[offset] = value;
  return bytes;
}

describe('control packet', () => {
  it('has each field where RFC 5880 section 4.1 draws it', () => {
    const bytes = encodePacket(packet);
    expect(hex(bytes)).toBe('23a80318' + '01020304' + 'a0b0c0d0' + '000f4240' + '0000c350' + '00000000');
    expect(decodePacket(bytes)).toEqual({ ok: true, value: packet });
  });

  it.each([
    ['nothing', new Uint8Array(0), 'bad-length'],
    ['23 octets', encodePacket(packet).subarray(0, 23), 'bad-length'],
    ['version 0', changed(0, 0x03), 'bad-version'],
    ['version 2', changed(0, 0x43), 'bad-version'],
    ['a Length below 24', changed(3, 23), 'bad-length'],
    ['a Length beyond the datagram', changed(3, 25), 'bad-length'],
    ['a Length below 26 with the A bit', changed(1, 0xac, changed(3, 24)), 'bad-length'],
    ['Detect Mult 0', changed(2, 0), 'bad-multiplier'],
    ['the Multipoint bit', changed(1, 0xa9), 'multipoint'],
    ['My Discriminator 0', encodePacket({ ...packet, myDiscriminator: 0 }), 'zero-discriminator'],
    ['Your Discriminator 0 in Init', encodePacket({ ...packet, yourDiscriminator: 0 }), 'bad-state'],
    [
      'Your Discriminator 0 in Up',
      encodePacket({ ...packet, state: 'Up', yourDiscriminator: 0 }),
      'bad-state',
    ],
  ])('drops %s', (_name, bytes, reason) => {
    expect(decodePacket(bytes)).toEqual({ ok: false, error: reason });
  });

  it.each(['Down', 'AdminDown'] as const)('takes Your Discriminator 0 in %s', (state) => {
    expect(decodePacket(encodePacket({ ...packet, state, yourDiscriminator: 0 })).ok).toBe(true);
  });

  it('ignores octets behind Length', () => {
    const longer = Uint8Array.from([...encodePacket(packet), 1, 2, 3]);
    expect(decodePacket(longer)).toEqual({ ok: true, value: packet });
  });

  it.each([
    ['of no known type', '0609026b6579'],
    ['shorter than it says', '01090273656372'],
    ['simple without a password', '010302'],
    ['simple of 17 octets', `011402${'61'.repeat(17)}`],
    ['MD5 of another length', `021702000000000000${'00'.repeat(14)}`],
    ['SHA1 of another length', `051802000000000000${'00'.repeat(15)}`],
  ])('drops an authentication section %s', (_name, section) => {
    const bytes = Buffer.concat([encodePacket(packet), Buffer.from(section, 'hex')]);
    bytes[1] = 0xac;
    bytes[3] = bytes.length;
    expect(decodePacket(bytes)).toEqual({ ok: false, error: 'bad-auth-section' });
  });
});

describe('packets of others', () => {
  const vectors = readFileSync(new URL('../../../fixtures/tcpdump-bfd.jsonl', import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { hex: string; note: string });

  it('tcpdump: all decode, and encode to the same octets', () => {
    expect(vectors.length).toBe(28);
    for (const { hex: octets, note } of vectors) {
      const decoded = decodePacket(Buffer.from(octets, 'hex'));
      if (!decoded.ok) throw new Error(`${note}: ${decoded.error}`);
      expect(hex(encodePacket(decoded.value))).toBe(octets);
    }
  });

  it('tcpdump: the authentication sections are what the capture says', () => {
    const sections = vectors.flatMap(({ hex: octets, note }) => {
      const decoded = decodePacket(Buffer.from(octets, 'hex'));
      return decoded.ok && decoded.value.auth !== undefined && note.includes('auth')
        ? [decoded.value.auth]
        : [];
    });
    expect(sections.map(({ type, keyId }) => [type, keyId])).toEqual([
      ['keyed-md5', 2],
      ['meticulous-keyed-sha1', 2],
      ['simple', 2],
    ]);
    expect(sections[0]).toMatchObject({ sequence: 5 });
    expect(sections[2]).toMatchObject({ password: new TextEncoder().encode('secret') });
  });
});

describe('authentication', () => {
  const settings = (type: AuthType, key = 'lab'): AuthSettings => ({
    type,
    keyId: 9,
    key: new TextEncoder().encode(key),
  });

  function signed(auth: AuthSettings, sequence: number): Uint8Array {
    const bytes = encodePacket({ ...packet, auth: unsignedSection(auth, sequence) });
    signPacket(bytes, auth, digest);
    return bytes;
  }

  function check(bytes: Uint8Array, auth: AuthSettings | undefined, known?: number): string {
    const decoded = decodePacket(bytes);
    if (!decoded.ok) return decoded.error;
    return verifySection(bytes, decoded.value.auth, 3, auth, known, digest) ?? 'accepted';
  }

  it('covers the packet with the padded key in the place of the digest', () => {
    const bytes = signed(settings('keyed-md5'), 5);
    const withKey = Uint8Array.from(bytes);
    withKey.set([...new TextEncoder().encode('lab'), ...new Uint8Array(13)], 32);
    expect(hex(bytes.subarray(32))).toBe(createHash('md5').update(withKey).digest('hex'));
    expect([bytes.length, bytes[3], signed(settings('keyed-sha1'), 5).length]).toEqual([48, 48, 52]);
  });

  it.each(['simple', 'keyed-md5', 'meticulous-keyed-md5', 'keyed-sha1', 'meticulous-keyed-sha1'] as const)(
    '%s: accepts its own, and nothing that differs',
    (type) => {
      const good = signed(settings(type), 100);
      expect(check(good, settings(type))).toBe('accepted');
      expect(check(good, undefined)).toBe('auth-unexpected');
      expect(check(encodePacket(packet), settings(type))).toBe('auth-missing');
      expect(check(good, { ...settings(type), keyId: 8 })).toBe('auth-mismatch');
      expect(check(good, settings(type === 'keyed-md5' ? 'keyed-sha1' : 'keyed-md5'))).toBe('auth-mismatch');
      expect(check(good, settings(type, 'Lab'))).toBe('auth-digest');
      expect(check(good, settings(type, 'la'))).toBe('auth-digest');
      expect(maxKeyBytes(type)).toBe(type.endsWith('sha1') ? 20 : 16);
      if (type === 'simple') return;
      expect(check(changed(0, 0x20, good), settings(type))).toBe('auth-digest');
    },
  );

  it.each([
    ['keyed-md5', 0, [100, 101, 109], [99, 110]],
    ['meticulous-keyed-sha1', 1, [101, 109], [100, 99, 110]],
  ] as const)('%s: sequence numbers from last + %i to last + 3 * Detect Mult', (type, _least, good, bad) => {
    for (const sequence of good) {
      expect(check(signed(settings(type), sequence), settings(type), 100)).toBe('accepted');
    }
    for (const sequence of bad) {
      expect(check(signed(settings(type), sequence), settings(type), 100)).toBe('auth-sequence');
    }
    // Circular: 0 comes after the largest number.
    expect(check(signed(settings(type), 3), settings(type), 0xffff_fffe)).toBe('accepted');
  });
});

describe('fuzz', () => {
  const word = fc.nat(0xffff_ffff);
  const packets: fc.Arbitrary<BfdPacket> = fc.record({
    diagnostic: fc.nat(31),
    state: fc.constantFrom(...bfdStates),
    poll: fc.boolean(),
    final: fc.boolean(),
    controlPlaneIndependent: fc.boolean(),
    demand: fc.boolean(),
    multiplier: fc.integer({ min: 1, max: 255 }),
    myDiscriminator: fc.integer({ min: 1, max: 0xffff_ffff }),
    yourDiscriminator: fc.integer({ min: 1, max: 0xffff_ffff }),
    desiredMinTx: word,
    requiredMinRx: word,
    requiredMinEchoRx: word,
  });

  it('what is encoded is decoded to the same', () => {
    fc.assert(
      fc.property(packets, (one) => {
        expect(decodePacket(encodePacket(one))).toEqual({ ok: true, value: one });
      }),
      { numRuns: 2000 },
    );
  });

  it('any octets: no exception, and what is accepted encodes to what was read', () => {
    const octets = fc.uint8Array({ minLength: 0, maxLength: 60 });
    const nearly = fc.tuple(packets, octets).map(([one, noise]) => {
      const bytes = Uint8Array.from([...encodePacket(one), ...noise]);
      for (let i = 0; i + 1 < Math.min(8, noise.length); i += 2) {
        bytes[(noise[i] ?? 0) % bytes.length] = noise[i + 1] ?? 0;
      }
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(octets, nearly), (bytes) => {
        const decoded = decodePacket(bytes);
        if (!decoded.ok) return;
        const again = decodePacket(encodePacket(decoded.value));
        expect(again).toEqual(decoded);
      }),
      { numRuns: 20_000 },
    );
  });
});
