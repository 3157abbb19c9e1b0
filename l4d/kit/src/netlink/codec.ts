/**
 * The netlink layer (netlink(7)): messages and attributes, bytes to values and back.
 * Netlink speaks the byte order of the machine; all machines that l4d supports are little-endian.
 * Every length is checked against what is there: a short or overlong one is an error value.
 */
import { err, ok, type Result } from '../result.ts';
import { headerLength, messageFlag, messageType } from './constants.ts';

/** One message; `payload` is what follows the 16-byte header. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly portId: number;
  readonly payload: Uint8Array;
}

/** Attributes by type, as payload bytes. Of a type that comes twice the last one counts. */
export type AttributeMap = ReadonlyMap<number, Uint8Array>;

/** What an acknowledgement, an error or the end of a dump says. */
export interface Acknowledgement {
  /** Positive errno value; 0 is success. */
  readonly errno: number;
  /** The kernel's own words (extended acknowledgement), where it has any. */
  readonly text: string | undefined;
}

/** NLA_F_NESTED and NLA_F_NET_BYTEORDER: flags in an attribute's type field. */
const attributeTypeMask = 0x3fff;
const extendedAckMessage = 1;

/** Bytes of a message, padded to 4. */
export function encodeMessage(message: Omit<NetlinkMessage, 'portId'>): Uint8Array {
  const length = headerLength.MESSAGE + message.payload.length;
  const bytes = new Uint8Array(align(length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length, true);
  view.setUint16(4, message.type, true);
  view.setUint16(6, message.flags, true);
  view.setUint32(8, message.sequence, true);
  bytes.set(message.payload, headerLength.MESSAGE);
  return bytes;
}

/** The messages of one datagram; payloads share its memory. */
export function decodeMessages(bytes: Uint8Array): Result<NetlinkMessage[], string> {
  const view = viewOf(bytes);
  const messages: NetlinkMessage[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const left = bytes.length - offset;
    if (left < headerLength.MESSAGE) return err(`${left} bytes are no netlink header`);
    const length = view.getUint32(offset, true);
    if (length < headerLength.MESSAGE || length > left)
      return err(`message length ${length} with ${left} bytes left`);
    messages.push({
      type: view.getUint16(offset + 4, true),
      flags: view.getUint16(offset + 6, true),
      sequence: view.getUint32(offset + 8, true),
      portId: view.getUint32(offset + 12, true),
      payload: bytes.subarray(offset + headerLength.MESSAGE, offset + length),
    });
    offset += align(length);
  }
  return ok(messages);
}

/** A payload: the family's fixed header, then attributes in the order given. */
export function encodePayload(
  header: Uint8Array,
  attributes: Iterable<readonly [type: number, value: Uint8Array]>,
): Uint8Array {
  const list = [...attributes];
  const size = list.reduce(
    (sum, [, value]) => sum + align(headerLength.ATTRIBUTE + value.length),
    align(header.length),
  );
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set(header);
  let offset = align(header.length);
  for (const [type, value] of list) {
    view.setUint16(offset, headerLength.ATTRIBUTE + value.length, true);
    view.setUint16(offset + 2, type, true);
    bytes.set(value, offset + headerLength.ATTRIBUTE);
    offset += align(headerLength.ATTRIBUTE + value.length);
  }
  return bytes;
}

/** Attributes from `offset` to the end; values share memory with `bytes`. */
export function decodeAttributes(bytes: Uint8Array, start = 0): Result<AttributeMap, string> {
  if (bytes.length < start) return err(`${bytes.length} bytes are shorter than the header of ${start}`);
  const view = viewOf(bytes);
  const attributes = new Map<number, Uint8Array>();
  for (let offset = start; offset < bytes.length; ) {
    const left = bytes.length - offset;
    if (left < headerLength.ATTRIBUTE) return err(`${left} bytes are no attribute`);
    const length = view.getUint16(offset, true);
    if (length < headerLength.ATTRIBUTE || length > left)
      return err(`attribute length ${length} with ${left} bytes left`);
    const type = view.getUint16(offset + 2, true) & attributeTypeMask;
    attributes.set(type, bytes.subarray(offset + headerLength.ATTRIBUTE, offset + length));
    offset += align(length);
  }
  return ok(attributes);
}

/**
 * Reads NLMSG_ERROR (an acknowledgement when errno is 0) or NLMSG_DONE, with the extended
 * acknowledgement's text. Undefined for another type of message.
 */
export function decodeAcknowledgement(message: NetlinkMessage): Result<Acknowledgement, string> | undefined {
  if (message.type !== messageType.ERROR && message.type !== messageType.DONE) return undefined;
  const { payload, flags } = message;
  // A DONE of old kernels has no payload at all.
  if (payload.length < 4)
    return message.type === messageType.DONE ? ok({ errno: 0, text: undefined }) : err('short error');
  const errno = -viewOf(payload).getInt32(0, true);
  if ((flags & messageFlag.ACK_ATTRIBUTES) === 0)
    return ok({ errno: errno === 0 ? 0 : errno, text: undefined });
  let start = 4;
  if (message.type === messageType.ERROR) {
    if (payload.length < 4 + headerLength.MESSAGE) return err('error without the header it answers');
    const quoted = viewOf(payload).getUint32(4, true);
    // A capped answer quotes the header alone; an uncapped failure quotes the whole request.
    start += (flags & messageFlag.CAPPED) !== 0 || errno === 0 ? headerLength.MESSAGE : align(quoted);
  }
  const attributes = decodeAttributes(payload, start);
  if (!attributes.ok) return attributes;
  const text = attributes.value.get(extendedAckMessage);
  return ok({ errno: errno === 0 ? 0 : errno, text: text === undefined ? undefined : decodeText(text) });
}

/** A 32-bit attribute value. */
export function encodeU32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** A 32-bit attribute value; undefined when missing or of another length. */
export function decodeU32(value: Uint8Array | undefined): number | undefined {
  return value?.length === 4 ? viewOf(value).getUint32(0, true) : undefined;
}

/** A text up to its terminating zero, or to the end when it has none. */
export function decodeText(value: Uint8Array): string {
  const end = value.indexOf(0);
  return new TextDecoder().decode(end < 0 ? value : value.subarray(0, end));
}

/** A view over exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function align(length: number): number {
  return (length + 3) & ~3;
}
