/** Keeps a flood of datagrams in the kernel: above a rate, what no session can mean is dropped before it is queued. */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { attachFilter, detachFilter, socketDrops } from '@l4d/kit/ffi/socket-filter.ts';

/** What passes, and how many of those a second are the sessions' own. */
export interface Expected {
  /** A program of classic BPF. */
  readonly filter: Uint8Array;
  readonly packetsPerSecond: number;
}

/** A guard of one socket. */
export interface FloodGuard {
  /** Counts a datagram that was read. */
  count(): void;
  /** What is expected has changed. */
  refresh(): void;
  /** Datagrams that the kernel has dropped at the socket: the filter, or the full queue. */
  dropped(): number;
  active(): boolean;
  /** Watches no more, and leaves the filter as it is. */
  close(): void;
}

const second = Seconds(1);

/** Above the sessions' own packets, each of which may come twice. */
const strangersPerSecond = 500;

/** A flood is over when the kernel has dropped so few a second for so many seconds. */
const quietPerSecond = 100;
const quietSeconds = 10;

/**
 * A guard that watches until the rate is passed. Without a flood each datagram is read, so that its fault is counted.
 * `wasActive`: the socket has the filter of another guard, which this one follows.
 */
export function createFloodGuard(
  fd: number,
  clock: Clock,
  expected: () => Expected,
  wasActive = false,
): FloodGuard {
  let windowStart = clock.now();
  let seen = 0;
  let active = wasActive;
  let quiet = 0;
  let lastDrops = 0;
  let timer: Timer | undefined;

  function attach(): void {
    attachFilter(fd, expected().filter);
  }

  function look(): void {
    const drops = socketDrops(fd);
    quiet = drops - lastDrops < quietPerSecond ? quiet + 1 : 0;
    lastDrops = drops;
    if (quiet < quietSeconds) {
      timer = clock.after(second, look);
      return;
    }
    active = false;
    detachFilter(fd);
  }

  if (active) {
    lastDrops = socketDrops(fd);
    timer = clock.after(second, look);
  }
  return {
    count() {
      const now = clock.now();
      if (now - windowStart >= second) {
        windowStart = now;
        seen = 0;
      }
      seen += 1;
      if (active || seen <= strangersPerSecond) return;
      if (seen <= strangersPerSecond + 2 * expected().packetsPerSecond) return;
      active = true;
      quiet = 0;
      lastDrops = socketDrops(fd);
      attach();
      timer = clock.after(second, look);
    },
    refresh() {
      if (active) attach();
    },
    dropped: () => socketDrops(fd),
    active: () => active,
    close() {
      timer?.cancel();
    },
  };
}
