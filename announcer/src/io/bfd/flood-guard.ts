/** Keeps a flood of datagrams in the kernel: above a rate, what no session can mean is dropped before it is queued. */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { attachFilter, detachFilter, socketDrops } from '@l4d/kit/ffi/socket-filter.ts';

/** What passes, and how many of those a second are the sessions' own. */
export interface Expected {
  /** A program of classic BPF; `whole`: with all that is known of the sessions, else as short as it may be. */
  filter(whole: boolean): Uint8Array;
  packetsPerSecond(): number;
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
  expected: Expected,
  wasActive = false,
): FloodGuard {
  let windowStart = clock.now();
  let seen = 0;
  /** How many are no flood yet, in this window; asked for when it matters. */
  let most: number | undefined;
  let active = wasActive;
  let quiet = 0;
  let lastDrops = 0;
  let timer: Timer | undefined;

  /** A socket has room for one program, and for the next beside it, or not (net.core.optmem_max). */
  function attach(): void {
    if (tryFilter(() => attachFilter(fd, expected.filter(true)))) return;
    // In place of the one there: one that knows nothing of new sessions would keep them down.
    tryFilter(() => detachFilter(fd));
    if (tryFilter(() => attachFilter(fd, expected.filter(true)))) return;
    tryFilter(() => attachFilter(fd, expected.filter(false)));
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
    tryFilter(() => detachFilter(fd));
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
        most = undefined;
      }
      seen += 1;
      if (active || seen <= strangersPerSecond) return;
      most ??= strangersPerSecond + 2 * expected.packetsPerSecond();
      if (seen <= most) return;
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

/** Whether the kernel did it. */
function tryFilter(change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (error instanceof SyscallError) return false;
    throw error;
  }
}
