/**
 * BFD control packets (RFC 5880 section 4): bytes to values and back.
 *
 * Files of this folder: packet (wire), authentication (section 4.2 to 4.4 and 6.7), session-types,
 * session (section 6.8: one machine a session), timing (section 6.8.2 to 6.8.7), echo (section 6.4),
 * packet-filter (what the kernel keeps away).
 * Standards: RFC 5880, 5881, 5882, 5883; RFC 9384 is in the BGP machine. Demand mode is honoured when the
 * other side asks for it, never asked for; echo packets of the other side are looped back where wanted, none are sent.
 */
import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { type AuthSection, decodeAuthSection, encodeAuthSection } from './authentication.ts';

/** Session states, in the order of their numbers (RFC 5880 section 4.1). */
export const bfdStates = ['AdminDown', 'Down', 'Init', 'Up'] as const;

/** State of a session. */
export type BfdSessionState = (typeof bfdStates)[number];

/** Diagnostic codes, in the order of their numbers (RFC 5880 section 4.1). */
export const diagnostics = [
  'none',
  'control detection time expired',
  'echo function failed',
  'neighbor signaled session down',
  'forwarding plane reset',
  'path down',
  'concatenated path down',
  'administratively down',
  'reverse concatenated path down',
] as const;

/** Numbers of the diagnostic codes that l4d sets itself. */
export const diagnostic = {
  none: 0,
  detectionTimeExpired: 1,
  neighborSignaledDown: 3,
  administrativelyDown: 7,
} as const;

/** Name of a diagnostic code; its number where RFC 5880 has no name. */
export function diagnosticName(code: number): string {
  return diagnostics[code] ?? `diagnostic ${code}`;
}

/** A control packet. All intervals are microseconds, unsigned 32 bits. */
export interface BfdPacket {
  /** 0 to 31. */
  readonly diagnostic: number;
  readonly state: BfdSessionState;
  readonly poll: boolean;
  readonly final: boolean;
  /** C: the sender's BFD does not share fate with its control plane. */
  readonly controlPlaneIndependent: boolean;
  /** D: the sender wants no periodic packets while both are Up. */
  readonly demand: boolean;
  /** Detect Mult, 1 to 255. */
  readonly multiplier: number;
  /** Not 0. */
  readonly myDiscriminator: number;
  /** 0 when not known. */
  readonly yourDiscriminator: number;
  readonly desiredMinTx: number;
  readonly requiredMinRx: number;
  readonly requiredMinEchoRx: number;
  /** There when the A bit is set. */
  readonly auth?: AuthSection;
}

/** Why a datagram is no packet (the names under which drops are counted). */
export type PacketDrop =
  | 'bad-length'
  | 'bad-version'
  | 'bad-multiplier'
  | 'multipoint'
  | 'zero-discriminator'
  | 'bad-state'
  | 'bad-auth-section';

/** Octets of a packet without authentication. */
export const packetBytes = 24;

const version = 1;

const flag = {
  poll: 0x20,
  final: 0x10,
  independent: 0x08,
  auth: 0x04,
  demand: 0x02,
  multipoint: 0x01,
} as const;

/**
 * Decodes the payload of a UDP datagram by the checks of RFC 5880 section 6.8.6 that need no session.
 * Octets behind Length are ignored, as there.
 */
export function decodePacket(bytes: Uint8Array): Result<BfdPacket, PacketDrop> {
  const reader = new ByteReader(bytes);
  const first = reader.u8();
  const second = reader.u8();
  const multiplier = reader.u8();
  const length = reader.u8();
  if (first === undefined || second === undefined || multiplier === undefined || length === undefined) {
    return err('bad-length');
  }
  // "If the version number is not correct (1), the packet MUST be discarded."
  if (first >> 5 !== version) return err('bad-version');
  // "If the Length field is less than the minimum correct value (24 if the A bit is clear, or 26 if the A bit
  // is set), the packet MUST be discarded."
  const hasAuth = (second & flag.auth) !== 0;
  if (length < packetBytes + (hasAuth ? 2 : 0)) return err('bad-length');
  // "If the Length field is greater than the payload of the encapsulating protocol": discarded.
  if (length > bytes.length) return err('bad-length');
  // "If the Detect Mult field is zero, the packet MUST be discarded."
  if (multiplier === 0) return err('bad-multiplier');
  // "If the Multipoint (M) bit is nonzero, the packet MUST be discarded."
  if ((second & flag.multipoint) !== 0) return err('multipoint');
  const [
    myDiscriminator = 0,
    yourDiscriminator = 0,
    desiredMinTx = 0,
    requiredMinRx = 0,
    requiredMinEchoRx = 0,
  ] = [reader.u32(), reader.u32(), reader.u32(), reader.u32(), reader.u32()];
  // "If the My Discriminator field is zero, the packet MUST be discarded."
  if (myDiscriminator === 0) return err('zero-discriminator');
  const state = bfdStates[second >> 6] ?? 'AdminDown';
  // "If the Your Discriminator field is zero and the State field is not Down or AdminDown": discarded.
  if (yourDiscriminator === 0 && state !== 'Down' && state !== 'AdminDown') return err('bad-state');
  let auth: AuthSection | undefined;
  if (hasAuth) {
    auth = decodeAuthSection(bytes.subarray(packetBytes, length));
    if (auth === undefined) return err('bad-auth-section');
  }
  return ok({
    diagnostic: first & 0x1f,
    state,
    poll: (second & flag.poll) !== 0,
    final: (second & flag.final) !== 0,
    controlPlaneIndependent: (second & flag.independent) !== 0,
    demand: (second & flag.demand) !== 0,
    multiplier,
    myDiscriminator,
    yourDiscriminator,
    desiredMinTx,
    requiredMinRx,
    requiredMinEchoRx,
    ...(auth === undefined ? {} : { auth }),
  });
}

/** The octets of a packet. */
export function encodePacket(packet: BfdPacket): Uint8Array {
  const auth = packet.auth === undefined ? undefined : encodeAuthSection(packet.auth);
  const flags =
    (packet.poll ? flag.poll : 0) |
    (packet.final ? flag.final : 0) |
    (packet.controlPlaneIndependent ? flag.independent : 0) |
    (auth === undefined ? 0 : flag.auth) |
    (packet.demand ? flag.demand : 0);
  const length = packetBytes + (auth?.length ?? 0);
  const writer = new ByteWriter(length)
    .u8((version << 5) | packet.diagnostic)
    .u8((bfdStates.indexOf(packet.state) << 6) | flags)
    .u8(packet.multiplier)
    .u8(length)
    .u32(packet.myDiscriminator)
    .u32(packet.yourDiscriminator)
    .u32(packet.desiredMinTx)
    .u32(packet.requiredMinRx)
    .u32(packet.requiredMinEchoRx);
  if (auth !== undefined) writer.raw(auth);
  return writer.finish();
}
