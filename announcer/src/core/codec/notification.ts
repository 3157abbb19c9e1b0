import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { ceaseSubcode, errorCode, errorName, headerSubcode } from './iana.ts';

/**
 * NOTIFICATION (RFC 4271 section 4.5). As the error of a Result it is RFC 7606's "session reset":
 * what is to be sent before the connection is closed.
 */
export interface NotificationMessage {
  readonly type: 'notification';
  readonly code: number;
  readonly subcode: number;
  readonly data: Uint8Array;
}

const noData = new Uint8Array(0);

/** A NOTIFICATION; `data` defaults to none. */
export function notification(code: number, subcode: number, data: Uint8Array = noData): NotificationMessage {
  return { type: 'notification', code, subcode, data };
}

/** RFC 4271 section 6.1: "Bad Message Length ... The Data field MUST contain the erroneous Length field." */
export function badMessageLength(length: number): NotificationMessage {
  const data = new ByteWriter(2).u16(length).finish();
  return notification(errorCode.messageHeader, headerSubcode.badMessageLength, data);
}

/** The body (without header) of a NOTIFICATION; the caller has checked that it has two octets at least. */
export function decodeNotificationBody(body: Uint8Array): NotificationMessage {
  return notification(body[0] ?? 0, body[1] ?? 0, Uint8Array.from(body.subarray(2)));
}

/** The body (without header) of a NOTIFICATION. */
export function encodeNotificationBody(message: NotificationMessage): Uint8Array {
  return new ByteWriter(2 + message.data.length)
    .u8(message.code)
    .u8(message.subcode)
    .raw(message.data)
    .finish();
}

/** Longest shutdown communication, in octets of UTF-8 (RFC 9003 section 2). */
export const maxShutdownTextBytes = 255;

/** Data of a Cease / Administrative Shutdown or Reset that tells operators why (RFC 9003). */
export function encodeShutdownText(text: string): Uint8Array {
  const encoder = new TextEncoder();
  let kept = text;
  // Cut whole characters, so that what is sent stays valid UTF-8.
  while (encoder.encode(kept).length > maxShutdownTextBytes) kept = Array.from(kept).slice(0, -1).join('');
  const bytes = encoder.encode(kept);
  return new ByteWriter(1 + bytes.length).u8(bytes.length).raw(bytes).finish();
}

/** The shutdown communication in a Cease; undefined when there is none, `malformed` when it cannot be read. */
export function decodeShutdownText(
  message: NotificationMessage,
): { readonly text: string } | 'malformed' | undefined {
  if (message.code !== errorCode.cease) return undefined;
  // RFC 8538 section 3: a Hard Reset encapsulates the code, subcode and data of the true reason.
  if (message.subcode === ceaseSubcode.hardReset && message.data.length >= 2) {
    const inner = decodeNotificationBody(message.data);
    return inner.subcode === ceaseSubcode.hardReset ? undefined : decodeShutdownText(inner);
  }
  if (
    message.subcode !== ceaseSubcode.administrativeShutdown &&
    message.subcode !== ceaseSubcode.administrativeReset
  ) {
    return undefined;
  }
  const reader = new ByteReader(message.data);
  const bytes = reader.take(reader.u8() ?? 0);
  if (bytes === undefined) return 'malformed';
  if (bytes.length === 0) return undefined;
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return 'malformed';
  }
}

/** `Cease / Administrative Shutdown: going away`, for operators. Control characters are replaced. */
export function describeNotification(message: NotificationMessage): string {
  const name = errorName(message.code, message.subcode);
  const said = decodeShutdownText(message);
  if (said === undefined) return name;
  // RFC 9003 section 2: what is wrong with it is for the attention of the operator.
  if (said === 'malformed') return `${name}, with a shutdown communication that cannot be read`;
  // The peer chose the text: it must not be able to forge a second line or colours in a terminal.
  return `${name}: ${said.text.replace(/\p{C}/gu, '?')}`;
}
