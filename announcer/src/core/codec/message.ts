/**
 * BGP messages: bytes to values and back.
 *
 * Standards: RFC 4271 sections 4 and 6, 2918, 4760, 5492, 6286, 6608, 6793, 7313 (framing), 7606, 7607,
 * 8092, 9003, 9072. Families other than IPv4 and IPv6 unicast, unknown attributes and capabilities are
 * kept as bytes. Nothing here throws for what a peer sends.
 *
 * Bytes come in through splitMessages (framing), then decodeMessage; they go out through encodeMessage.
 */
import { ByteWriter } from '@l4d/kit/bytes.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import type { UpdateContext } from './attribute-decode.ts';
import { errorCode, headerSubcode, messageType } from './iana.ts';
import {
  badMessageLength,
  decodeNotificationBody,
  encodeNotificationBody,
  type NotificationMessage,
  notification,
} from './notification.ts';
import { decodeOpenBody, encodeOpenBody, type OpenMessage } from './open.ts';
import { decodeRouteRefreshBody, encodeRouteRefreshBody, type RouteRefreshMessage } from './route-refresh.ts';
import { decodeUpdateBody, encodeUpdateBody, type ReceivedUpdate, type UpdateMessage } from './update.ts';

/** KEEPALIVE (RFC 4271 section 4.4): a header alone. */
export interface KeepaliveMessage {
  readonly type: 'keepalive';
}

/** What can be sent. */
export type BgpMessage =
  | OpenMessage
  | UpdateMessage
  | NotificationMessage
  | KeepaliveMessage
  | RouteRefreshMessage;

/** What can be received: an UPDATE brings how it is to be taken. */
export type ReceivedMessage = Exclude<BgpMessage, UpdateMessage> | ReceivedUpdate;

/** Octets of marker, length and type (RFC 4271 section 4.1). */
export const headerBytes = 19;

/** Longest message without Extended Message (RFC 4271 section 4.1). */
export const maxMessageBytes = 4096;

/** Longest message where both sides have Extended Message (RFC 8654 section 4). */
export const maxExtendedMessageBytes = 65_535;

/** Shortest whole message of each type; KEEPALIVE has exactly this length (RFC 4271 section 6.1). */
const minimumBytes: Readonly<Record<number, number>> = {
  [messageType.open]: 29,
  [messageType.update]: 23,
  [messageType.notification]: 21,
  [messageType.keepalive]: headerBytes,
  [messageType.routeRefresh]: 23,
};

/** Whole messages found in a stream, and what is left. */
export interface Split {
  readonly messages: readonly Uint8Array[];
  /** The beginning of the next message: fewer octets than maxMessageBytes. Shares memory with the input. */
  readonly rest: Uint8Array;
  /** The stream cannot be followed beyond `messages`: send this and close. */
  readonly error?: NotificationMessage;
}

/**
 * Cuts a byte stream into messages, at most `maxCount` of them, each of at most `maxBytes` octets. Headers are
 * checked as soon as their 19 octets are there.
 */
export function splitMessages(
  bytes: Uint8Array,
  maxBytes = maxMessageBytes,
  maxCount = Number.POSITIVE_INFINITY,
): Split {
  const messages: Uint8Array[] = [];
  let position = 0;
  while (bytes.length - position >= headerBytes && messages.length < maxCount) {
    const error = checkHeader(bytes, position, maxBytes);
    if (error !== undefined) return { messages, rest: new Uint8Array(0), error };
    const length = lengthAt(bytes, position);
    if (bytes.length - position < length) break;
    messages.push(bytes.subarray(position, position + length));
    position += length;
  }
  return { messages, rest: bytes.subarray(position) };
}

/** One whole message, header included. The error is the NOTIFICATION to send before closing. */
export function decodeMessage(
  bytes: Uint8Array,
  context: UpdateContext,
  maxBytes = maxMessageBytes,
): Result<ReceivedMessage, NotificationMessage> {
  if (bytes.length < headerBytes) return err(badMessageLength(bytes.length));
  const error = checkHeader(bytes, 0, maxBytes);
  if (error !== undefined) return err(error);
  if (lengthAt(bytes, 0) !== bytes.length) return err(badMessageLength(lengthAt(bytes, 0)));
  const body = bytes.subarray(headerBytes);
  switch (bytes[18]) {
    case messageType.open:
      return decodeOpenBody(body);
    case messageType.update:
      return decodeUpdateBody(body, context);
    case messageType.notification:
      return ok(decodeNotificationBody(body));
    case messageType.keepalive:
      return ok({ type: 'keepalive' });
    default:
      return decodeRouteRefreshBody(body, bytes);
  }
}

/**
 * One whole message. `fourOctetAs` as negotiated (RFC 6793); it matters for UPDATE alone.
 * The caller keeps an UPDATE within `maxBytes`: a longer one throws a RangeError.
 */
export function encodeMessage(
  message: BgpMessage,
  fourOctetAs = true,
  maxBytes = maxMessageBytes,
): Uint8Array {
  switch (message.type) {
    case 'open':
      return frame(messageType.open, encodeOpenBody(message));
    case 'update':
      return frame(messageType.update, encodeUpdateBody(message, fourOctetAs), maxBytes);
    case 'notification': {
      // A quoted message may be as long as the limit: the quotation gives way.
      const data = message.data.subarray(0, maxMessageBytes - headerBytes - 2);
      return frame(messageType.notification, encodeNotificationBody({ ...message, data }));
    }
    case 'keepalive':
      return frame(messageType.keepalive, new Uint8Array(0));
    case 'route-refresh':
      return frame(messageType.routeRefresh, encodeRouteRefreshBody(message));
  }
}

const allOnes = new Uint8Array(16).fill(0xff);

function frame(type: number, body: Uint8Array, maxBytes = maxMessageBytes): Uint8Array {
  const length = headerBytes + body.length;
  if (length > maxBytes) throw new RangeError(`a BGP message of ${length} octets`);
  return new ByteWriter(length).raw(allOnes).u16(length).u8(type).raw(body).finish();
}

/** RFC 4271 section 6.1; at least 19 octets are there. */
function checkHeader(bytes: Uint8Array, position: number, maxBytes: number): NotificationMessage | undefined {
  // "If the Marker field of the message header is not as expected ... Connection Not Synchronized."
  for (let i = 0; i < 16; i++) {
    if (bytes[position + i] !== 0xff) {
      return notification(errorCode.messageHeader, headerSubcode.connectionNotSynchronized);
    }
  }
  const length = lengthAt(bytes, position);
  const type = bytes[position + 18] ?? 0;
  // "If the Length field of the message header is less than 19 or greater than 4096 ... Bad Message Length."
  // RFC 8654 section 4: the longer limit is for all messages but OPEN and KEEPALIVE.
  const limit = type === messageType.open ? maxMessageBytes : maxBytes;
  if (length < headerBytes || length > limit) return badMessageLength(length);
  const minimum = minimumBytes[type];
  // "If the Type field ... is not recognized, then the Error Subcode MUST be set to Bad Message Type. The
  // Data field MUST contain the erroneous Type field."
  if (minimum === undefined) {
    return notification(errorCode.messageHeader, headerSubcode.badMessageType, Uint8Array.of(type));
  }
  // "if the Length field of an OPEN message is less than the minimum length of the OPEN message", and so on.
  if (length < minimum || (type === messageType.keepalive && length !== minimum))
    return badMessageLength(length);
  return undefined;
}

function lengthAt(bytes: Uint8Array, position: number): number {
  return ((bytes[position + 16] ?? 0) << 8) | (bytes[position + 17] ?? 0);
}
