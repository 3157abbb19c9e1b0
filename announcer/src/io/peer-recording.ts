import type { Clock } from '@l4d/kit/clock.ts';
import type { BfdTrailEntry } from '../core/bfd/trail.ts';
import { fromHex } from '../core/codec/attribute-json.ts';
import type { FlightRecorder, RecordDirection } from '../core/flight-recorder.ts';
import { countMessage, type MessageCounters, noMessages } from '../core/message-counts.ts';
import type { Wire } from './wire.ts';

/** What a peer's runner tells its flight recorder, with the time; and counts of messages. */
export interface PeerRecording {
  readonly counters: MessageCounters;
  message(connection: number, direction: RecordDirection, bytes: Uint8Array): void;
  connected(connection: number, wire: Wire | undefined, incoming: boolean): void;
  closed(connection: number, reason: string): void;
  state(from: string, to: string): void;
  error(text: string): void;
  /** What the BFD process tells, in Unix time. */
  bfd(entries: readonly BfdTrailEntry[]): void;
}

/** A recording that begins now. */
export function createPeerRecording(
  clock: Clock,
  wallClock: () => number,
  recorder: FlightRecorder,
): PeerRecording {
  const counters = noMessages();
  return {
    counters,
    message(connection, direction, bytes) {
      countMessage(counters[direction], bytes);
      recorder.message(clock.now(), direction, connection, bytes);
    },
    connected(connection, wire, incoming) {
      const ends = wire?.ends();
      if (ends === undefined) return;
      recorder.event(clock.now(), { kind: 'connected', connection, incoming, ...ends });
    },
    closed: (connection, reason) => recorder.event(clock.now(), { kind: 'closed', connection, reason }),
    state: (from, to) => recorder.event(clock.now(), { kind: 'state', from, to }),
    bfd(entries) {
      const offset = clock.now() - wallClock();
      for (const { atMs, ...entry } of entries) {
        if (entry.kind === 'bfd-state') recorder.event(atMs + offset, entry);
        else recorder.bfdPacket(atMs + offset, entry.direction, entry.port, fromHex(entry.hex));
      }
    },
    error: (text) => recorder.event(clock.now(), { kind: 'error', text }),
  };
}
