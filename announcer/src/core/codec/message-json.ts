/** BGP messages as JSON and back; and what a stream of octets is, message by message. */
import { formatIpAddress, ipAddressFromBytes, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { z } from 'zod';
import type { UpdateContext } from './attribute-decode.ts';
import {
  type AttributeJson,
  attributeName,
  attributeSchema,
  attributeToJson,
  hexSchema,
  prefix4Schema,
  prefixToJson,
  toHex,
} from './attribute-json.ts';
import { capabilityCode } from './iana.ts';
import {
  type BgpMessage,
  decodeMessage,
  maxMessageBytes,
  type ReceivedMessage,
  splitMessages,
} from './message.ts';
import { describeNotification, type NotificationMessage } from './notification.ts';

const u8 = z.number().int().min(0).max(0xff);
const u16 = z.number().int().min(0).max(0xffff);

const capabilitySchema = z
  .strictObject({
    code: u8,
    /** For people. */
    name: z.string().optional(),
    hex: hexSchema.refine((bytes) => bytes.length <= 255, 'must have at most 255 octets'),
  })
  .transform(({ code, hex }) => ({ code, value: hex }));

const routerId = z.string().transform((text, context): number => {
  const parsed = parseIpAddress(text);
  if (parsed.ok && parsed.value.family === 4) return new DataView(parsed.value.bytes.buffer).getUint32(0);
  context.addIssue({ code: 'custom', message: `"${text}" is not a router id such as 10.0.0.1` });
  return z.NEVER;
});

/** Reads one message; what is only for people (`name`, `text`, `handling`, `problems`) says nothing. */
export const messageSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('open'),
    myAs: u16,
    holdTimeSeconds: u16,
    routerId,
    capabilityParameters: z.array(z.array(capabilitySchema)),
    extendedLength: z.boolean().default(false),
  }),
  z
    .strictObject({
      type: z.literal('update'),
      handling: z.string().optional(),
      problems: z.array(z.unknown()).optional(),
      withdrawn: z.array(prefix4Schema).default([]),
      attributes: z.array(attributeSchema).default([]),
      nlri: z.array(prefix4Schema).default([]),
    })
    .transform(({ type, withdrawn, attributes, nlri }) => ({ type, withdrawn, attributes, nlri })),
  z
    .strictObject({
      type: z.literal('notification'),
      code: u8,
      subcode: u8,
      text: z.string().optional(),
      hex: hexSchema.optional(),
    })
    .transform(({ type, code, subcode, hex = new Uint8Array(0) }) => ({ type, code, subcode, data: hex })),
  z.strictObject({ type: z.literal('keepalive') }),
  z
    .strictObject({
      type: z.literal('route-refresh'),
      afi: u16,
      safi: u8,
      subtype: u8.default(0),
      hex: hexSchema.optional(),
    })
    .transform(({ hex = new Uint8Array(0), ...rest }) => ({ ...rest, filters: hex })),
]);

/** A message as JSON. */
export type MessageJson = z.input<typeof messageSchema>;

/** What became of a message: as RFC 7606 has it for UPDATEs; `session-reset` for all that ends a session. */
export type Outcome = 'accept' | 'attribute-discard' | 'treat-as-withdraw' | 'session-reset' | 'incomplete';

/** One message of a stream. */
export interface DecodedJson {
  /** Octets before it. */
  readonly offset: number;
  readonly length: number;
  readonly outcome: Outcome;
  readonly message?: MessageJson;
  /** With `session-reset`: what is sent before the connection is closed. */
  readonly notification?: MessageJson;
  /** Octets of what could not be decoded. */
  readonly hex?: string;
}

/** The JSON of a message. */
export function messageToJson(message: ReceivedMessage | BgpMessage): MessageJson {
  switch (message.type) {
    case 'open':
      return {
        type: 'open',
        myAs: message.myAs,
        holdTimeSeconds: message.holdTimeSeconds,
        routerId: formatIpAddress(ipAddressFromBytes(numberBytes(message.routerId))),
        capabilityParameters: message.capabilityParameters.map((capabilities) =>
          capabilities.map(({ code, value }) => {
            const name = Object.entries(capabilityCode).find(([, number]) => number === code)?.[0];
            return { code, ...(name === undefined ? {} : { name }), hex: toHex(value) };
          }),
        ),
        extendedLength: message.extendedLength,
      };
    case 'update': {
      const { withdrawn, attributes, nlri } = message;
      return {
        type: 'update',
        ...('handling' in message ? { handling: message.handling } : {}),
        ...('problems' in message && message.problems.length > 0
          ? {
              problems: message.problems.map(({ type, ...rest }) => ({
                type,
                name: attributeName(type),
                ...rest,
              })),
            }
          : {}),
        withdrawn: withdrawn.map(prefixToJson),
        attributes: attributes.map((attribute): AttributeJson => attributeToJson(attribute)),
        nlri: nlri.map(prefixToJson),
      };
    }
    case 'notification':
      return notificationToJson(message);
    case 'keepalive':
      return { type: 'keepalive' };
    case 'route-refresh': {
      const { afi, safi, subtype, filters } = message;
      return {
        type: 'route-refresh',
        afi,
        safi,
        subtype,
        ...(filters.length > 0 ? { hex: toHex(filters) } : {}),
      };
    }
  }
}

function notificationToJson(message: NotificationMessage): MessageJson {
  const { code, subcode, data } = message;
  const text = describeNotification(message);
  return { type: 'notification', code, subcode, text, ...(data.length > 0 ? { hex: toHex(data) } : {}) };
}

/**
 * All messages of a stream, up to the first that cannot be framed. A message that resets the session does not end
 * the list here: one looks at what came after it as well.
 */
export function decodeStream(
  bytes: Uint8Array,
  context: UpdateContext,
  maxBytes = maxMessageBytes,
): DecodedJson[] {
  const split = splitMessages(bytes, maxBytes);
  const decoded: DecodedJson[] = [];
  let offset = 0;
  for (const message of split.messages) {
    decoded.push({ offset, length: message.length, ...decodeOne(message, context, maxBytes) });
    offset += message.length;
  }
  const left = bytes.subarray(offset);
  if (split.error !== undefined) {
    const notification = notificationToJson(split.error);
    decoded.push({ offset, length: left.length, outcome: 'session-reset', notification, hex: toHex(left) });
  } else if (left.length > 0) {
    decoded.push({ offset, length: left.length, outcome: 'incomplete', hex: toHex(left) });
  }
  return decoded;
}

function decodeOne(
  bytes: Uint8Array,
  context: UpdateContext,
  maxBytes: number,
): Omit<DecodedJson, 'offset' | 'length'> {
  const result = decodeMessage(bytes, context, maxBytes);
  if (!result.ok) {
    const notification = notificationToJson(result.error);
    return { outcome: 'session-reset', notification, hex: toHex(bytes) };
  }
  const message = messageToJson(result.value);
  const outcome = result.value.type === 'update' ? result.value.handling : 'accept';
  return { outcome, message };
}

function numberBytes(number: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}
