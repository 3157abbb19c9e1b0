import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { type ChangeTiming, emptyLatency, type LatencyHistogram, observeLatency } from '../core/latency.ts';
import type { Wire } from './wire.ts';

/** Changes that are kept to be looked at. */
const keptChanges = 64;

/** Prefixes named of one change. */
const namedPrefixes = 16;

/** Looks at the acknowledgement end after so long: the session has other means for a peer that is gone. */
const giveUpMs = 10_000;

/** How fast changes reach one peer. */
export interface ChangeTimings {
  /** A change was asked for; `nameOf` gives the prefixes of it. One that sends nothing is superseded by the next. */
  asked(count: number, nameOf: (index: number) => string): void;
  /** UPDATEs of it were handed to the socket; `isAll`: there are no more. */
  wrote(wire: Wire, isAll: boolean): void;
  readonly written: LatencyHistogram;
  readonly acked: LatencyHistogram;
  /** The last changes, the oldest first. */
  changes(): readonly ChangeTiming[];
}

interface OpenChange {
  readonly askedAt: number;
  readonly prefixes: readonly string[];
}

/**
 * Timings that begin now. The acknowledgement is looked for 1 ms after the write, then at twice the distance each
 * time up to 64 ms: what is told is never too little, and too much by no more than the distance, which is about the
 * time itself at most (and 1 ms at least).
 */
export function createChangeTimings(clock: Clock, wallClock: () => number): ChangeTimings {
  const written = emptyLatency();
  const acked = emptyLatency();
  const kept: ChangeTiming[] = [];
  let open: OpenChange | undefined;
  let sequence = 0;

  function awaitAck(wire: Wire, change: OpenChange, writtenAt: number, index: number): void {
    const target = wire.writtenBytes();
    const look = (delay: number) => {
      clock.after(Milliseconds(delay), () => {
        const reached = wire.ackedBytes();
        const now = clock.now();
        if (reached === undefined || now - writtenAt > giveUpMs) return;
        if (reached < target) {
          look(Math.min(64, delay * 2));
          return;
        }
        observeLatency(acked, now - change.askedAt);
        const at = kept.findIndex((one) => one.sequence === index);
        const known = kept[at];
        if (known !== undefined) kept[at] = { ...known, ackedAtMs: wallClock() };
      });
    };
    look(1);
  }

  return {
    written,
    acked,
    asked(count, nameOf) {
      const prefixes = Array.from({ length: Math.min(count, namedPrefixes) }, (_, index) => nameOf(index));
      open = { askedAt: clock.now(), prefixes };
    },
    wrote(wire, isAll) {
      const change = open;
      if (change === undefined) return;
      if (!isAll) return;
      open = undefined;
      const now = clock.now();
      observeLatency(written, now - change.askedAt);
      sequence += 1;
      const wall = wallClock();
      const askedAtMs = wall - (now - change.askedAt);
      kept.push({ sequence, prefixes: change.prefixes, askedAtMs, writtenAtMs: wall });
      if (kept.length > keptChanges) kept.shift();
      awaitAck(wire, change, now, sequence);
    },
    changes: () => kept,
  };
}
