import { type BfdPacket, decodePacket } from '@l4d/announcer/core/bfd/packet.ts';
import { ceaseSubcode, errorCode } from '@l4d/announcer/core/codec/iana.ts';
import { decodeMessage, maxExtendedMessageBytes } from '@l4d/announcer/core/codec/message.ts';
import { messageToJson } from '@l4d/announcer/core/codec/message-json.ts';
import {
  decodeNotificationBody,
  describeNotification,
  type NotificationMessage,
} from '@l4d/announcer/core/codec/notification.ts';
import type { ReceivedUpdate } from '@l4d/announcer/core/codec/update.ts';
import type { RecordEntry } from '@l4d/announcer/core/flight-recorder.ts';
import { commentOf } from '@l4d/announcer/core/pcap.ts';
import { entryFromJson, type RecordPage } from '@l4d/announcer/core/record-json.ts';
import { askBgp } from './bgp-source.ts';
import type { Ctl } from './ctl.ts';

/** The entries of a peer's flight record after a sequence number. */
export async function recordAfter(
  ctl: Ctl,
  peer: string,
  after: number,
): Promise<{ readonly entries: readonly RecordEntry[] } & Pick<RecordPage, 'evicted' | 'newest'>> {
  const entries: RecordEntry[] = [];
  for (let last = after; ; ) {
    const path = `/peers/${encodeURIComponent(peer)}/record?after=${last}&limit=10000`;
    const page = (await askBgp(ctl, 'GET', path)) as RecordPage;
    entries.push(...page.entries.map(entryFromJson));
    if (!page.more) return { entries, evicted: page.evicted, newest: page.newest };
    last = entries.at(-1)?.sequence ?? last;
  }
}

/** One line of an entry: time, direction, what it says. */
export function recordLine(entry: RecordEntry): string {
  const time = new Date(entry.at).toISOString();
  switch (entry.kind) {
    case 'message':
      return `${time} ${arrow(entry.direction)} ${messageText(entry.bytes)}\n`;
    case 'bfd-packet':
      return `${time} ${arrow(entry.direction)} BFD ${bfdText(entry.bytes)}\n`;
    default:
      return `${time} -- ${commentOf(entry)}\n`;
  }
}

function arrow(direction: 'sent' | 'received'): string {
  return direction === 'sent' ? '>>' : '<<';
}

/** What a session has negotiated is not in its record: a message is read as it makes the most sense. */
const contexts = [true, false].flatMap((fourOctetAs) =>
  [false, true].map((internal) => ({ fourOctetAs, internal })),
);

function decode(bytes: Uint8Array) {
  const outcomes = contexts.map((context) => decodeMessage(bytes, context, maxExtendedMessageBytes));
  const accepted = outcomes.find(
    (outcome) => outcome.ok && (outcome.value.type !== 'update' || outcome.value.handling === 'accept'),
  );
  return accepted ?? outcomes[0] ?? decodeMessage(bytes, { fourOctetAs: true, internal: false });
}

function messageText(bytes: Uint8Array): string {
  const decoded = decode(bytes);
  if (!decoded.ok)
    return `${bytes.length} octets that reset a session: ${describeNotification(decoded.error)}`;
  const message = decoded.value;
  switch (message.type) {
    case 'open': {
      const json = messageToJson(message);
      const routerId = json.type === 'open' ? json.routerId : '';
      const names = message.capabilityParameters.flat().length;
      return `OPEN AS ${message.myAs} hold ${message.holdTimeSeconds} s id ${routerId}, ${names} capabilities`;
    }
    case 'notification':
      return `NOTIFICATION ${notificationText(message)}`;
    case 'update':
      return `UPDATE ${updateText(message)}`;
    case 'keepalive':
      return 'KEEPALIVE';
    case 'route-refresh':
      return `ROUTE-REFRESH afi ${message.afi} safi ${message.safi} subtype ${message.subtype}`;
  }
}

/** RFC 8538 section 3: a Hard Reset has the true reason in its data. */
function notificationText(message: NotificationMessage): string {
  const { code, subcode, data } = message;
  const text = describeNotification(message);
  if (code !== errorCode.cease || subcode !== ceaseSubcode.hardReset || data.length < 2) return text;
  return `${text} of ${describeNotification(decodeNotificationBody(data))}`;
}

function updateText(message: ReceivedUpdate): string {
  const json = messageToJson(message);
  if (json.type !== 'update') return '';
  const parts: string[] = [];
  const list = (name: string, prefixes: readonly string[]) => {
    if (prefixes.length > 0) {
      const more = prefixes.length > 5 ? ` and ${prefixes.length - 5} more` : '';
      parts.push(`${name} ${prefixes.slice(0, 5).join(' ')}${more}`);
    }
  };
  list('withdraws', json.withdrawn ?? []);
  for (const { value } of json.attributes ?? []) {
    if (value.kind !== 'mp-reach' && value.kind !== 'mp-unreach') continue;
    const prefixes = 'prefixes' in value.nlri ? value.nlri.prefixes : [`${value.nlri.hex.length / 2} octets`];
    if (prefixes.length === 0) parts.push(`End-of-RIB afi ${value.afi} safi ${value.safi}`);
    list(value.kind === 'mp-reach' ? 'announces' : 'withdraws', prefixes);
  }
  list('announces', json.nlri ?? []);
  if (parts.length === 0) parts.push('End-of-RIB afi 1 safi 1');
  if (json.handling !== undefined && json.handling !== 'accept') parts.push(`(${json.handling})`);
  return parts.join(', ');
}

function bfdText(bytes: Uint8Array): string {
  const decoded = decodePacket(bytes);
  if (!decoded.ok) return `${bytes.length} octets (${decoded.error})`;
  const packet: BfdPacket = decoded.value;
  return `${packet.state} diagnostic ${packet.diagnostic}${packet.poll ? ' poll' : ''}${packet.final ? ' final' : ''}`;
}
