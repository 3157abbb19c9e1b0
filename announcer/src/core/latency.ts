/** How long things took, in milliseconds, by fixed bounds. */

/** Upper bounds of the buckets, in milliseconds. */
export const latencyBoundsMs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] as const;

/** Counts by bucket; the last is of what took longer than all bounds. */
export interface LatencyHistogram {
  readonly counts: number[];
  sumMs: number;
}

/** A change of what a peer is told, and how far it has come. Times are Unix milliseconds. */
export interface ChangeTiming {
  /** Counts the changes told to this peer. */
  readonly sequence: number;
  /** The first of the prefixes; empty when everything was looked at. */
  readonly prefixes: readonly string[];
  /** When the announcer was asked for it. */
  readonly askedAtMs: number;
  /** When the last UPDATE of it was written to the socket. */
  readonly writtenAtMs: number;
  /** When the peer's TCP was seen to have acknowledged it; missing while it has not. */
  readonly ackedAtMs?: number;
}

/** `GET /v1/changes`: the last changes of all peers. */
export interface ChangesAnswer {
  readonly changes: readonly (ChangeTiming & { readonly peer: string })[];
}

/** Nothing observed. */
export function emptyLatency(): LatencyHistogram {
  return { counts: new Array<number>(latencyBoundsMs.length + 1).fill(0), sumMs: 0 };
}

/** Counts one duration. */
export function observeLatency(histogram: LatencyHistogram, milliseconds: number): void {
  const index = latencyBoundsMs.findIndex((bound) => milliseconds <= bound);
  const bucket = index < 0 ? latencyBoundsMs.length : index;
  histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + 1;
  histogram.sumMs += milliseconds;
}
