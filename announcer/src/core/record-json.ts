/** A flight record as the API tells it, and back. */
import { fromHex, toHex } from './codec/attribute-json.ts';
import type { RecordEntry } from './flight-recorder.ts';

type Json<Entry> = Entry extends { readonly bytes: Uint8Array }
  ? Omit<Entry, 'bytes' | 'at'> & { readonly atMs: number; readonly hex: string }
  : Entry extends { readonly at: number }
    ? Omit<Entry, 'at'> & { readonly atMs: number }
    : never;

/** An entry of the record; `atMs` is Unix time in milliseconds, with fractions. */
export type RecordEntryJson = Json<RecordEntry>;

/** `GET /v1/peers/ADDRESS/record`. */
export interface RecordPage {
  readonly peer: string;
  /** Whether the peer is still declared. */
  readonly present: boolean;
  /** Entries that did not fit any more since the peer was declared first. */
  readonly evicted: number;
  /** Sequence number of the newest entry of all; a smaller one than before: the record begins anew. */
  readonly newest: number;
  readonly entries: readonly RecordEntryJson[];
  /** There is more: ask again with `after` the last sequence number here. */
  readonly more: boolean;
}

/** The JSON of an entry; `wallTimeOf` makes Unix time of the recorder's. */
export function entryToJson(entry: RecordEntry, wallTimeOf: (at: number) => number): RecordEntryJson {
  const atMs = Math.round(wallTimeOf(entry.at) * 1000) / 1000;
  if ('bytes' in entry) {
    const { bytes, at, ...rest } = entry;
    return { ...rest, atMs, hex: toHex(bytes) } as RecordEntryJson;
  }
  const { at, ...rest } = entry;
  return { ...rest, atMs } as RecordEntryJson;
}

/** The entry of its JSON; `at` is then Unix time. */
export function entryFromJson(json: RecordEntryJson): RecordEntry {
  if ('hex' in json) {
    const { hex, atMs, ...rest } = json;
    return { ...rest, at: atMs, bytes: fromHex(hex) } as RecordEntry;
  }
  const { atMs, ...rest } = json;
  return { ...rest, at: atMs } as RecordEntry;
}
