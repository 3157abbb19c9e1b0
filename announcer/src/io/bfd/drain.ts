import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';

/** Packets taken between two looks at the timers; some 20 µs each. */
const packetsPerTurn = 64;

/**
 * Pause after a full turn. The process goes before all common ones (SCHED_RR): under a flood it must leave the
 * processor to them about half of the time.
 */
const pause = Milliseconds(1);

/** Packets taken before silence is believed: more than a socket's queue holds. */
const packetsAtOnce = 4096;

/** A socket that is read in bounded turns. */
export interface Drained {
  /** Takes all that has arrived, as far as a queue goes. */
  drain(): void;
  close(): void;
}

/** Reads a socket whenever there is something. `readOne` is false when nothing is left. */
export function drainInTurns(fd: number, clock: Clock, readOne: () => boolean): Drained {
  let unwatch: (() => void) | undefined;
  let resting: Timer | undefined;

  function take(most: number): boolean {
    try {
      for (let taken = 0; taken < most; taken++) if (!readOne()) return false;
      return true;
    } catch (error) {
      // An error pending on the socket is taken off it by the read.
      if (!(error instanceof SyscallError)) throw error;
      return false;
    }
  }

  function watch(): void {
    resting = undefined;
    unwatch = watchSocket(fd, 'readable', () => {
      if (!take(packetsPerTurn)) return;
      unwatch?.();
      unwatch = undefined;
      resting = clock.after(pause, watch);
    });
  }

  watch();
  return {
    drain: () => {
      take(packetsAtOnce);
    },
    close() {
      unwatch?.();
      resting?.cancel();
    },
  };
}
