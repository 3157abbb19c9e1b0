import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { type Capability, decodeCapabilities, encodeCapabilities } from './capability.ts';
import { errorCode, openSubcode, optionalParameter } from './iana.ts';
import { badMessageLength, type NotificationMessage, notification } from './notification.ts';

/** OPEN (RFC 4271 section 4.2). */
export interface OpenMessage {
  readonly type: 'open';
  /** The two-octet field: AS_TRANS when the speaker's AS needs four octets (RFC 6793). */
  readonly myAs: number;
  /** Seconds: 0, or 3 to 65535. */
  readonly holdTimeSeconds: number;
  /** Unsigned 32 bits, not 0 (RFC 6286). */
  readonly routerId: number;
  /**
   * Capabilities, one array for each Capabilities Optional Parameter: some speakers send one
   * parameter a capability, others one for all, and both are kept as they came (RFC 5492 section 4).
   */
  readonly capabilityParameters: readonly (readonly Capability[])[];
  /** Whether parameter lengths take two octets (RFC 9072). Chosen by itself when they must. */
  readonly extendedLength: boolean;
}

/** The only version there is. */
const bgpVersion = 4;

/** All capabilities of an OPEN, whatever parameter they came in. */
export function openCapabilities(open: OpenMessage): Capability[] {
  return open.capabilityParameters.flat();
}

/** The body (after the header) of an OPEN. Checks what RFC 4271 section 6.2 asks without knowing the peer. */
export function decodeOpenBody(body: Uint8Array): Result<OpenMessage, NotificationMessage> {
  const reader = new ByteReader(body);
  const version = reader.u8();
  const myAs = reader.u16();
  const holdTimeSeconds = reader.u16();
  const routerId = reader.u32();
  const length = reader.u8();
  if (
    version === undefined ||
    myAs === undefined ||
    holdTimeSeconds === undefined ||
    routerId === undefined ||
    length === undefined
  ) {
    return err(badMessageLength(body.length + 19));
  }
  // RFC 4271 section 6.2: Unsupported Version Number; data is "the largest, locally-supported version
  // number less than the version the remote BGP peer bid", as two octets.
  if (version !== bgpVersion) {
    return err(openError(openSubcode.unsupportedVersion, new ByteWriter(2).u16(bgpVersion).finish()));
  }
  // RFC 7607 section 2: AS 0 in OPEN: "Bad Peer AS".
  if (myAs === 0) return err(openError(openSubcode.badPeerAs));
  // RFC 4271 section 6.2: "An implementation MUST reject Hold Time values of one or two seconds."
  if (holdTimeSeconds === 1 || holdTimeSeconds === 2) return err(openError(openSubcode.unacceptableHoldTime));
  // RFC 6286 section 2.2: "If the BGP Identifier field of the OPEN message is zero": Bad BGP Identifier.
  if (routerId === 0) return err(openError(openSubcode.badBgpIdentifier));

  // RFC 9072 section 2: a first parameter of type 255 says that an extended length follows.
  const extendedLength = length !== 0 && body[reader.position] === optionalParameter.extendedLength;
  if (extendedLength) reader.u8();
  const total = extendedLength ? reader.u16() : length;
  // RFC 4271 section 6.2: "If one of the Optional Parameters ... is recognized, but is malformed,
  // then the Error Subcode MUST be set to 0 (Unspecific)." The total must fill the message exactly.
  if (total === undefined || total !== reader.remaining) return err(openError(openSubcode.unspecific));

  const capabilityParameters: Capability[][] = [];
  while (reader.remaining > 0) {
    const type = reader.u8() ?? 0;
    const value = extendedLength ? extendedValue(reader, body) : shortValue(reader);
    if (value === undefined) return err(openError(openSubcode.unspecific));
    // RFC 4271 section 6.2: "If one of the Optional Parameters in the OPEN message is not recognized,
    // then the Error Subcode MUST be set to Unsupported Optional Parameters."
    if (type !== optionalParameter.capabilities) {
      return err(openError(openSubcode.unsupportedOptionalParameter));
    }
    const capabilities = decodeCapabilities(value);
    if (capabilities === undefined) return err(openError(openSubcode.unspecific));
    capabilityParameters.push(capabilities);
  }
  return ok({ type: 'open', myAs, holdTimeSeconds, routerId, capabilityParameters, extendedLength });
}

function shortValue(reader: ByteReader): ByteReader | undefined {
  const size = reader.u8();
  return size === undefined ? undefined : reader.sub(size);
}

/**
 * The value of a parameter with a length of two octets (RFC 9072 section 2). FRR 8.4 with local-role and
 * extended-optional-parameters writes that of the Role capability in one octet all the same. As two octets it reaches
 * past the end of the message, so reading it as one octet takes nothing that would be read otherwise.
 */
function extendedValue(reader: ByteReader, body: Uint8Array): ByteReader | undefined {
  const high = body[reader.position] ?? 0;
  const low = body[reader.position + 1] ?? 0;
  if (reader.remaining >= 2 && high * 256 + low > reader.remaining - 2) return shortValue(reader);
  const size = reader.u16();
  return size === undefined ? undefined : reader.sub(size);
}

/** The body (after the header) of an OPEN. */
export function encodeOpenBody(open: OpenMessage): Uint8Array {
  const parameters = open.capabilityParameters.map((capabilities) => {
    const writer = new ByteWriter(32);
    encodeCapabilities(writer, capabilities);
    return writer.finish();
  });
  const shortTotal = parameters.reduce((sum, value) => sum + 2 + value.length, 0);
  // RFC 9072 section 2: the extended form is for what does not fit in 255 octets. A short total of 255
  // is left to the extended form as well, because that length announces it.
  const extended = open.extendedLength || shortTotal > 254 || parameters.some((value) => value.length > 255);
  const writer = new ByteWriter(64);
  writer.u8(bgpVersion).u16(open.myAs).u16(open.holdTimeSeconds).u32(open.routerId);
  if (extended) {
    const total = parameters.reduce((sum, value) => sum + 3 + value.length, 0);
    writer.u8(255).u8(optionalParameter.extendedLength).u16(total);
  } else {
    writer.u8(shortTotal);
  }
  for (const value of parameters) {
    writer.u8(optionalParameter.capabilities);
    if (extended) writer.u16(value.length);
    else writer.u8(value.length);
    writer.raw(value);
  }
  return writer.finish();
}

function openError(subcode: number, data?: Uint8Array): NotificationMessage {
  return notification(errorCode.open, subcode, data);
}
