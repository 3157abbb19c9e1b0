/**
 * The flight recorder of a peer: what was said on its sessions, and what became of them, kept when they have ended.
 *
 * Three rings bounded in octets, so that the frequent does not push out the rare: UPDATEs, KEEPALIVEs and
 * ROUTE-REFRESHes in one; OPENs, NOTIFICATIONs, connections, states and errors in another, because without them the
 * first cannot be read; BFD in the third. Entries are numbered over all three, and told in that order.
 *
 * On the path of a message there is one copy of its octets into a ring, and nothing is allocated.
 */
import { createByteRing } from './byte-ring.ts';
import { messageType } from './codec/iana.ts';

/** Who has said it. */
export type RecordDirection = 'sent' | 'received';

/** The two ends of a connection, or of a BFD session. */
export interface RecordedEnds {
  readonly local: string;
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
}

/** What is recorded beside messages. */
export type RecordedEvent =
  | ({ readonly kind: 'connected'; readonly connection: number; readonly incoming: boolean } & RecordedEnds)
  | { readonly kind: 'closed'; readonly connection: number; readonly reason: string }
  | { readonly kind: 'state'; readonly from: string; readonly to: string }
  | { readonly kind: 'error'; readonly text: string }
  | { readonly kind: 'bfd-state'; readonly from: string; readonly to: string; readonly why: string };

/** A message of BGP as it was on the wire; what cannot be framed is cut and told as it came. */
export interface RecordedMessage {
  readonly kind: 'message';
  readonly direction: RecordDirection;
  readonly connection: number;
  readonly bytes: Uint8Array;
}

/** A control packet of BFD, without what authenticates it. */
export interface RecordedBfdPacket {
  readonly kind: 'bfd-packet';
  readonly direction: RecordDirection;
  /** UDP port that it went to. */
  readonly port: number;
  readonly bytes: Uint8Array;
}

/** An entry; `sequence` counts from 1, `at` is the time that it was recorded with. */
export type RecordEntry = { readonly sequence: number; readonly at: number } & (
  | RecordedMessage
  | RecordedBfdPacket
  | RecordedEvent
);

/** Bounds of the rings, in octets. */
export interface RecorderBounds {
  /** UPDATE, KEEPALIVE, ROUTE-REFRESH; one of the greatest length must fit. */
  readonly messages: number;
  readonly events: number;
  readonly bfd: number;
}

/**
 * A keepalive takes 45 octets: at a hold time of 9 s more than an hour of them are kept, or some 30 full UPDATEs
 * of 4096 octets. With 1000 peers, 200 MB at most; a ring that is hardly used takes little.
 */
export const recorderBounds: RecorderBounds = { messages: 128 * 1024, events: 48 * 1024, bfd: 24 * 1024 };

/** Octets kept of what cannot be framed. */
const maxGarbageBytes = 512;

/** The recorder of one peer. Times are the caller's, of one clock. */
export interface FlightRecorder {
  message(at: number, direction: RecordDirection, connection: number, bytes: Uint8Array): void;
  /** `bytes` are recorded as they are: leave out secrets before. */
  bfdPacket(at: number, direction: RecordDirection, port: number, bytes: Uint8Array): void;
  event(at: number, event: RecordedEvent): void;
  /** Entries after a sequence number, at most `limit` of them, the oldest first. */
  entries(after?: number, limit?: number): RecordEntry[];
  /** Sequence number of the last entry; 0: nothing was recorded. */
  newest(): number;
  /** Entries that did not fit any more. */
  evicted(): number;
  /** Octets of memory held. */
  heldBytes(): number;
}

const kinds = { message: 0, bfdPacket: 1, event: 2 } as const;

/** Sequence and time as doubles, then kind, direction, and the connection or port in 32 bits. */
const headBytes = 22;

/** An empty recorder. */
export function createFlightRecorder(bounds: RecorderBounds = recorderBounds): FlightRecorder {
  const messages = createByteRing(bounds.messages);
  const events = createByteRing(bounds.events);
  const bfd = createByteRing(bounds.bfd);
  const rings = [messages, events, bfd];
  const head = new Uint8Array(headBytes);
  const view = new DataView(head.buffer);
  const encoder = new TextEncoder();
  let sequence = 0;

  function stamp(at: number, kind: number, direction: RecordDirection, which: number): Uint8Array {
    sequence += 1;
    view.setFloat64(0, sequence);
    view.setFloat64(8, at);
    view.setUint8(16, kind);
    view.setUint8(17, direction === 'sent' ? 1 : 0);
    view.setUint32(18, which);
    return head;
  }

  return {
    message(at, direction, connection, bytes) {
      const isGarbage = bytes[0] !== 0xff || bytes.length < 19;
      const type = isGarbage ? 0 : bytes[18];
      const isFrequent =
        type === messageType.update || type === messageType.keepalive || type === messageType.routeRefresh;
      const kept = isGarbage ? bytes.subarray(0, maxGarbageBytes) : bytes;
      (isFrequent ? messages : events).push(stamp(at, kinds.message, direction, connection), kept);
    },
    bfdPacket(at, direction, port, bytes) {
      bfd.push(stamp(at, kinds.bfdPacket, direction, port), bytes);
    },
    event(at, event) {
      const ring = event.kind === 'bfd-state' ? bfd : events;
      ring.push(stamp(at, kinds.event, 'received', 0), encoder.encode(JSON.stringify(event)));
    },
    entries(after = 0, limit = Number.POSITIVE_INFINITY) {
      return rings
        .flatMap((ring) => ring.records().map(decodeRecord))
        .filter((entry) => entry.sequence > after)
        .sort((a, b) => a.sequence - b.sequence)
        .slice(0, limit);
    },
    newest: () => sequence,
    evicted: () => rings.reduce((sum, ring) => sum + ring.evicted, 0),
    heldBytes: () => rings.reduce((sum, ring) => sum + ring.heldBytes, 0),
  };
}

function decodeRecord(record: Uint8Array): RecordEntry {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const common = { sequence: view.getFloat64(0), at: view.getFloat64(8) };
  const direction: RecordDirection = view.getUint8(17) === 1 ? 'sent' : 'received';
  const bytes = record.subarray(headBytes);
  switch (view.getUint8(16)) {
    case kinds.message:
      return { ...common, kind: 'message', direction, connection: view.getUint32(18), bytes };
    case kinds.bfdPacket:
      return { ...common, kind: 'bfd-packet', direction, port: view.getUint32(18), bytes };
    default:
      return { ...common, ...(JSON.parse(new TextDecoder().decode(bytes)) as RecordedEvent) };
  }
}
