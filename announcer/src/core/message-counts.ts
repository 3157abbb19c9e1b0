import { messageType } from './codec/iana.ts';

/** Messages by type, one way. */
export interface MessageCounts {
  open: number;
  update: number;
  notification: number;
  keepalive: number;
  routeRefresh: number;
  /** Of no known type, or not even framed. */
  other: number;
}

/** Messages of a peer since it was declared, both ways. */
export interface MessageCounters {
  readonly sent: MessageCounts;
  readonly received: MessageCounts;
}

/** All zero. */
export function noMessages(): MessageCounters {
  const none = { open: 0, update: 0, notification: 0, keepalive: 0, routeRefresh: 0, other: 0 };
  return { sent: { ...none }, received: { ...none } };
}

const names: Readonly<Record<number, keyof MessageCounts>> = {
  [messageType.open]: 'open',
  [messageType.update]: 'update',
  [messageType.notification]: 'notification',
  [messageType.keepalive]: 'keepalive',
  [messageType.routeRefresh]: 'routeRefresh',
};

/** Counts one message by its octet of type. */
export function countMessage(counts: MessageCounts, bytes: Uint8Array): void {
  counts[names[bytes[18] ?? 0] ?? 'other'] += 1;
}

/** The sum over all types. */
export function totalMessages(counts: MessageCounts): number {
  return Object.values(counts).reduce((sum: number, count: number) => sum + count, 0);
}
