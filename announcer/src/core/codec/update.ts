import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { encodeAttributes, type PathAttribute } from './attribute.ts';
import {
  type AttributeProblem,
  decodeAttributeValue,
  type ErrorHandling,
  type UpdateContext,
} from './attribute-decode.ts';
import { attributeFlag, attributeFlags, attributeType, errorCode, updateSubcode } from './iana.ts';
import { decodePrefixes, encodePrefix, type NlriPrefix } from './nlri.ts';
import { type NotificationMessage, notification } from './notification.ts';

/** UPDATE (RFC 4271 section 4.3). `withdrawn` and `nlri` are IPv4; other families are in attributes 14 and 15. */
export interface UpdateMessage {
  readonly type: 'update';
  readonly withdrawn: readonly NlriPrefix[];
  readonly attributes: readonly PathAttribute[];
  readonly nlri: readonly NlriPrefix[];
}

/** How an UPDATE that does not end the session is to be taken (RFC 7606 section 2). */
export type UpdateHandling = 'accept' | Exclude<ErrorHandling, 'session-reset'>;

/** An UPDATE as it came in. Attributes at fault are left out; `problems` says which and why. */
export interface ReceivedUpdate extends UpdateMessage {
  /** With `treat-as-withdraw`, all prefixes of `nlri` and of MP_REACH_NLRI count as withdrawn. */
  readonly handling: UpdateHandling;
  readonly problems: readonly AttributeProblem[];
}

/** The body (after the header) of an UPDATE; the error is what to send before closing (session reset). */
export function decodeUpdateBody(
  body: Uint8Array,
  context: UpdateContext,
): Result<ReceivedUpdate, NotificationMessage> {
  const reader = new ByteReader(body);
  const withdrawnPart = reader.sub(reader.u16() ?? -1);
  const attributesPart = withdrawnPart === undefined ? undefined : reader.sub(reader.u16() ?? -1);
  // RFC 4271 section 6.3: "If the Withdrawn Routes Length or Total Attribute Length is too large ...
  // then the Error Subcode MUST be set to Malformed Attribute List." Kept by RFC 7606 section 3 (b).
  if (withdrawnPart === undefined || attributesPart === undefined) {
    return err(updateError(updateSubcode.malformedAttributeList));
  }
  // RFC 7606 section 5.3: a Withdrawn Routes or NLRI field that cannot be parsed: session reset.
  const withdrawn = decodePrefixes(withdrawnPart, 4, context.addPath);
  const nlri = decodePrefixes(reader, 4, context.addPath);
  if (withdrawn === undefined || nlri === undefined)
    return err(updateError(updateSubcode.invalidNetworkField));

  const walked = decodeAttributes(attributesPart, context);
  if (!walked.ok) return walked;
  const { attributes, seen } = walked.value;
  const problems = [...walked.value.problems, ...missingAttributes(seen, nlri.length > 0, context)];

  // RFC 7606 section 3 (h): "the approach with the strongest action MUST be used".
  const withdraws = problems.some(({ handling }) => handling === 'treat-as-withdraw');
  const reachable =
    nlri.length > 0 ||
    attributes.some(
      ({ value }) =>
        value.kind === 'mp-reach' && (value.nlri.kind === 'opaque' || value.nlri.prefixes.length > 0),
    );
  // RFC 7606 section 5.2: attributes other than MP_UNREACH_NLRI without reachable NLRI and an error
  // stronger than attribute discard: we cannot know that the prefixes were found: session reset.
  const firstWithdraw = problems.find(({ handling }) => handling === 'treat-as-withdraw');
  if (firstWithdraw !== undefined && !reachable) return err(updateError(firstWithdraw.subcode));
  const handling = withdraws ? 'treat-as-withdraw' : problems.length > 0 ? 'attribute-discard' : 'accept';
  return ok({ type: 'update', withdrawn, attributes, nlri, handling, problems });
}

/** The body (after the header) of an UPDATE. */
export function encodeUpdateBody(update: UpdateMessage, fourOctetAs: boolean): Uint8Array {
  const withdrawn = encodePrefixes(update.withdrawn);
  const attributes = encodeAttributes(update.attributes, fourOctetAs);
  const nlri = encodePrefixes(update.nlri);
  const writer = new ByteWriter(4 + withdrawn.length + attributes.length + nlri.length);
  writer.u16(withdrawn.length).raw(withdrawn).u16(attributes.length).raw(attributes).raw(nlri);
  return writer.finish();
}

interface Walked {
  readonly attributes: readonly PathAttribute[];
  readonly problems: readonly AttributeProblem[];
  /** Type codes that were there, also those whose value was wrong. */
  readonly seen: ReadonlySet<number>;
}

function decodeAttributes(reader: ByteReader, context: UpdateContext): Result<Walked, NotificationMessage> {
  const attributes: PathAttribute[] = [];
  const problems: AttributeProblem[] = [];
  const seen = new Set<number>();
  while (reader.remaining > 0) {
    const start = reader.position;
    const rawFlags = reader.u8() ?? 0;
    // RFC 4271 section 4.3: the low four bits "MUST be ignored when received".
    const flags = rawFlags & 0xf0;
    const type = reader.u8();
    const length = (flags & attributeFlag.extendedLength) === 0 ? reader.u8() : reader.u16();
    const bytes = length === undefined ? undefined : reader.take(length);
    if (type === undefined || bytes === undefined) {
      // RFC 7606 section 4: fewer octets left than a header or than the Attribute Length says: the NLRI
      // are found by Total Attribute Length alone, so treat-as-withdraw; nothing after this is read.
      problems.push({
        handling: 'treat-as-withdraw',
        subcode: updateSubcode.attributeLengthError,
        type: type ?? 0,
        message: 'runs past the end of the attributes',
      });
      break;
    }
    const whole = Uint8Array.from(reader.bytes.subarray(start, reader.position));
    if (seen.has(type)) {
      // RFC 7606 section 3 (g): MP_REACH_NLRI or MP_UNREACH_NLRI twice: "Malformed Attribute List", session
      // reset; any other attribute: "all the occurrences ... other than the first one SHALL be discarded".
      if (type === attributeType.mpReach || type === attributeType.mpUnreach) {
        return err(updateError(updateSubcode.malformedAttributeList));
      }
      problems.push({
        handling: 'attribute-discard',
        subcode: updateSubcode.malformedAttributeList,
        type,
        message: 'appears more than once',
      });
      continue;
    }
    seen.add(type);
    const expected = attributeFlags[type];
    // RFC 4271 section 6.3: "If any of the well-known mandatory attributes are not recognized, then the Error
    // Subcode MUST be set to Unrecognized Well-known Attribute. The Data field MUST contain the unrecognized
    // attribute (type, length, and value)." RFC 7606 leaves that as it is.
    if (expected === undefined && (flags & attributeFlag.optional) === 0) {
      return err(updateError(updateSubcode.unrecognizedWellKnownAttribute, whole));
    }
    const mask = attributeFlag.optional | attributeFlag.transitive;
    // RFC 7606 section 3 (c): Optional or Transitive bit "in conflict with their specified values": malformed,
    // treat-as-withdraw. The value is read all the same: MP_REACH_NLRI names what to withdraw.
    const wrongFlags = expected !== undefined && (flags & mask) !== expected;
    if (wrongFlags) {
      problems.push({
        handling: 'treat-as-withdraw',
        subcode: updateSubcode.attributeFlagsError,
        type,
        message: `flags 0x${flags.toString(16)} are not those of its type`,
      });
    }
    const value = decodeAttributeValue(type, bytes, context);
    if (!value.ok) {
      // RFC 4271 section 6.3: the data of an attribute error is the attribute at fault.
      if (value.error.handling === 'session-reset') return err(updateError(value.error.subcode, whole));
      problems.push(value.error);
    } else if (!wrongFlags || value.value.kind === 'mp-reach' || value.value.kind === 'mp-unreach') {
      attributes.push({ flags, type, value: value.value });
    }
  }
  return ok({ attributes, problems, seen });
}

/**
 * RFC 7606 section 3 (d): "If any of the well-known mandatory attributes are not present in an UPDATE
 * message, then treat-as-withdraw". NEXT_HOP goes with the NLRI field (RFC 4760 section 3 says that
 * MP_REACH_NLRI brings its own), LOCAL_PREF with internal peers (RFC 4271 section 5.1.5).
 */
function missingAttributes(
  seen: ReadonlySet<number>,
  hasNlri: boolean,
  context: UpdateContext,
): AttributeProblem[] {
  if (!hasNlri && !seen.has(attributeType.mpReach)) return [];
  const mandatory: number[] = [attributeType.origin];
  // RFC 8205 section 4: BGPsec_PATH stands in place of AS_PATH.
  if (!seen.has(attributeType.bgpsecPath)) mandatory.push(attributeType.asPath);
  if (hasNlri) mandatory.push(attributeType.nextHop);
  if (context.internal) mandatory.push(attributeType.localPref);
  return mandatory
    .filter((type) => !seen.has(type))
    .map((type) => ({
      handling: 'treat-as-withdraw',
      subcode: updateSubcode.missingWellKnownAttribute,
      type,
      message: 'is missing',
    }));
}

function encodePrefixes(prefixes: readonly NlriPrefix[]): Uint8Array {
  const writer = new ByteWriter(prefixes.length * 5);
  for (const prefix of prefixes) encodePrefix(writer, prefix);
  return writer.finish();
}

function updateError(subcode: number, data?: Uint8Array): NotificationMessage {
  return notification(errorCode.update, subcode, data);
}
