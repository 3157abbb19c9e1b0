/**
 * Authentication of BFD control packets (RFC 5880 sections 4.2 to 4.4 and 6.7). The digests themselves are a
 * parameter, so that this stays free of platform code.
 */
import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';

/** Names of the authentication types. */
export type AuthType =
  | 'simple'
  | 'keyed-md5'
  | 'meticulous-keyed-md5'
  | 'keyed-sha1'
  | 'meticulous-keyed-sha1';

/** What both ends of a session share. */
export interface AuthSettings {
  readonly type: AuthType;
  /** 0 to 255. */
  readonly keyId: number;
  /** Octets of the key: 1 to 16 for simple and MD5, 1 to 20 for SHA1. */
  readonly key: Uint8Array;
}

/** An authentication section as it is on the wire. */
export type AuthSection =
  | { readonly type: 'simple'; readonly keyId: number; readonly password: Uint8Array }
  | {
      readonly type: Exclude<AuthType, 'simple'>;
      readonly keyId: number;
      /** Unsigned 32 bits. */
      readonly sequence: number;
      readonly digest: Uint8Array;
    };

/** A digest function: 16 octets for md5, 20 for sha1. */
export type Digest = (algorithm: 'md5' | 'sha1', data: Uint8Array) => Uint8Array;

/** Why a packet is not authentic (the names under which drops are counted). */
export type AuthDrop = 'auth-missing' | 'auth-unexpected' | 'auth-mismatch' | 'auth-sequence' | 'auth-digest';

const types: readonly (AuthType | undefined)[] = [
  undefined,
  'simple',
  'keyed-md5',
  'meticulous-keyed-md5',
  'keyed-sha1',
  'meticulous-keyed-sha1',
];

const maxPasswordBytes = 16;

/** Octets before the digest: type, length, key id, reserved, sequence number. */
const digestOffset = 8;

/** Longest key of a type, in octets. */
export function maxKeyBytes(type: AuthType): number {
  return type === 'simple' ? maxPasswordBytes : digestBytes(type);
}

/** Decodes a section, whose length must be that of `bytes`; undefined when it is malformed or of no known type. */
export function decodeAuthSection(bytes: Uint8Array): AuthSection | undefined {
  const reader = new ByteReader(bytes);
  const type = types[reader.u8() ?? 0];
  const length = reader.u8();
  const keyId = reader.u8();
  if (type === undefined || keyId === undefined || length !== bytes.length) return undefined;
  if (type === 'simple') {
    const password = Uint8Array.from(bytes.subarray(3));
    if (password.length < 1 || password.length > maxPasswordBytes) return undefined;
    return { type, keyId, password };
  }
  // RFC 5880 sections 6.7.3 and 6.7.4: discarded unless Auth Len is 24 (MD5) or 28 (SHA1). The reserved octet
  // "MUST be set to zero on transmit, and ignored on receipt".
  if (length !== digestOffset + digestBytes(type)) return undefined;
  reader.u8();
  return { type, keyId, sequence: reader.u32() ?? 0, digest: Uint8Array.from(bytes.subarray(digestOffset)) };
}

/** The octets of a section. */
export function encodeAuthSection(section: AuthSection): Uint8Array {
  const body = section.type === 'simple' ? section.password : section.digest;
  const start = section.type === 'simple' ? 3 : digestOffset;
  const writer = new ByteWriter(start + body.length)
    .u8(types.indexOf(section.type))
    .u8(start + body.length)
    .u8(section.keyId);
  if (section.type !== 'simple') writer.u8(0).u32(section.sequence);
  return writer.raw(body).finish();
}

/** The section of an outgoing packet before it is signed: where the digest goes is the key, padded with zeros. */
export function unsignedSection(settings: AuthSettings, sequence: number): AuthSection {
  const { type, keyId, key } = settings;
  if (type === 'simple') return { type, keyId, password: key };
  return { type, keyId, sequence, digest: paddedKey(settings) };
}

/** Puts the digest into an encoded packet that ends with an unsigned section; changes `bytes` in place. */
export function signPacket(bytes: Uint8Array, settings: AuthSettings, digest: Digest): void {
  if (settings.type === 'simple') return;
  bytes.set(digest(algorithmOf(settings.type), bytes), bytes.length - digestBytes(settings.type));
}

/**
 * Whether a section is what the session expects (RFC 5880 section 6.7). `bytes` is the whole packet up to
 * Length, `expected` the last sequence number that was accepted, undefined when none is known.
 */
export function verifySection(
  bytes: Uint8Array,
  section: AuthSection | undefined,
  multiplier: number,
  settings: AuthSettings | undefined,
  known: number | undefined,
  digest: Digest,
): AuthDrop | undefined {
  // Section 6.8.6: "If the A bit is set and no authentication is in use": discarded; and the other way round.
  if (settings === undefined) return section === undefined ? undefined : 'auth-unexpected';
  if (section === undefined) return 'auth-missing';
  if (section.type !== settings.type || section.keyId !== settings.keyId) return 'auth-mismatch';
  if (section.type === 'simple') return sameBytes(section.password, settings.key) ? undefined : 'auth-digest';
  // Sections 6.7.3 and 6.7.4: from the last number (keyed) or the one after it (meticulous) to
  // last + 3 * Detect Mult, in a circular 32-bit space.
  if (known !== undefined) {
    const distance = (section.sequence - known) >>> 0;
    const least = isMeticulous(section.type) ? 1 : 0;
    if (distance < least || distance > 3 * multiplier) return 'auth-sequence';
  }
  const expected = Uint8Array.from(bytes);
  expected.set(paddedKey(settings), bytes.length - digestBytes(section.type));
  return sameBytes(digest(algorithmOf(section.type), expected), section.digest) ? undefined : 'auth-digest';
}

/** Whether the sequence number grows with every packet. */
export function isMeticulous(type: AuthType): boolean {
  return type === 'meticulous-keyed-md5' || type === 'meticulous-keyed-sha1';
}

function algorithmOf(type: AuthType): 'md5' | 'sha1' {
  return type === 'keyed-md5' || type === 'meticulous-keyed-md5' ? 'md5' : 'sha1';
}

function digestBytes(type: AuthType): number {
  return algorithmOf(type) === 'md5' ? 16 : 20;
}

function paddedKey(settings: AuthSettings): Uint8Array {
  const padded = new Uint8Array(digestBytes(settings.type));
  padded.set(settings.key.subarray(0, padded.length));
  return padded;
}

/** Takes the same time wherever the difference is. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}
