/**
 * What of a BFD session goes into its flight record: changes of state, the packets before them and the first after.
 * In between nothing is kept but the last few packets: at 10 ms a whole record would be full in seconds.
 */
import { ByteReader } from '@l4d/kit/bytes.ts';
import { fromHex, toHex } from '@l4d/kit/hex.ts';
import type { RecordDirection } from '../flight-recorder.ts';

/** Packets told of before and after a change of state. */
export const packetsBefore = 6;
export const packetsAfter = 4;

/** An entry of the record. Times are Unix milliseconds, so that it can go between processes. */
export type BfdTrailEntry =
  | {
      readonly kind: 'bfd-packet';
      readonly atMs: number;
      readonly direction: RecordDirection;
      /** UDP port that it went to. */
      readonly port: number;
      readonly hex: string;
    }
  | {
      readonly kind: 'bfd-state';
      readonly atMs: number;
      readonly from: string;
      readonly to: string;
      readonly why: string;
    };

/** What the runner of a session tells. */
export interface BfdTrail {
  packet(direction: RecordDirection, bytes: Uint8Array): void;
  changed(from: string, to: string, why: string): void;
  /** What goes to the trail of a successor. */
  freeze(): TrailSnapshot;
}

/** What a trail keeps. The packets are whole, secrets too. */
export interface TrailSnapshot {
  readonly recent: readonly {
    readonly atMs: number;
    readonly direction: RecordDirection;
    readonly hex: string;
  }[];
  /** Packets that are still told of. */
  readonly following: number;
}

/** A trail; `tell` is called with entries in the order they happened, `now` gives Unix milliseconds. */
export function createBfdTrail(
  now: () => number,
  port: number,
  tell: (entries: readonly BfdTrailEntry[]) => void,
  from: TrailSnapshot = { recent: [], following: 0 },
): BfdTrail {
  const recent: { atMs: number; direction: RecordDirection; bytes: Uint8Array }[] = from.recent.flatMap(
    ({ atMs, direction, hex }) => {
      const bytes = fromHex(hex);
      return bytes === undefined ? [] : [{ atMs, direction, bytes }];
    },
  );
  let { following } = from;
  return {
    packet(direction, bytes) {
      const packet = { atMs: now(), direction, bytes };
      if (following > 0) {
        following -= 1;
        tell([packetEntry(packet, port)]);
        return;
      }
      recent.push(packet);
      if (recent.length > packetsBefore) recent.shift();
    },
    changed(from, to, why) {
      const packets = recent.map((packet) => packetEntry(packet, port));
      tell([...packets, { kind: 'bfd-state', atMs: now(), from, to, why }]);
      recent.length = 0;
      following = packetsAfter;
    },
    freeze: () => ({
      recent: recent.map(({ atMs, direction, bytes }) => ({ atMs, direction, hex: toHex(bytes) })),
      following,
    }),
  };
}

function packetEntry(
  packet: { readonly atMs: number; readonly direction: RecordDirection; readonly bytes: Uint8Array },
  port: number,
): BfdTrailEntry {
  const { atMs, direction } = packet;
  const shown = withoutSecrets(packet.bytes);
  return { kind: 'bfd-packet', atMs, direction, port, hex: toHex(shown) };
}

/** Octets before the authentication section (RFC 5880 section 4.1), and before the secret in it (4.2 to 4.4). */
const sectionAt = 24;
const passwordAt = sectionAt + 3;
const digestAt = sectionAt + 8;
const simplePassword = 1;

/** A copy with the password, or the digest made with one, set to zero. */
export function withoutSecrets(bytes: Uint8Array): Uint8Array {
  const shown = Uint8Array.from(bytes);
  const type = new ByteReader(bytes, sectionAt).u8();
  if (type !== undefined) shown.fill(0, type === simplePassword ? passwordAt : digestAt);
  return shown;
}
