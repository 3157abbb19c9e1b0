import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds } from '@l4d/kit/duration.ts';
import type { TimerName, TimerSnapshot } from '../core/handover/snapshot.ts';

/** The timers of a peer and of its connections; those of the peer itself have the connection 0. */
export interface PeerTimers {
  /** Starts or restarts a timer. */
  set(name: TimerName, connection: number, delay: Duration): void;
  clear(name: TimerName, connection: number): void;
  clearConnection(connection: number): void;
  /** Stops all; tells which ran, and how long they had left. */
  stop(): TimerSnapshot[];
}

interface Running {
  readonly name: TimerName;
  readonly connection: number;
  readonly dueAt: number;
  readonly timer: Timer;
}

/** Makes timers; `onExpired` is told of each that ran out. */
export function createPeerTimers(
  clock: Clock,
  onExpired: (name: TimerName, connection: number) => void,
): PeerTimers {
  const running = new Map<string, Running>();
  const keyOf = (name: TimerName, connection: number) => `${connection} ${name}`;

  function start(name: TimerName, connection: number, delay: Duration, action: () => void): void {
    clear(name, connection);
    running.set(keyOf(name, connection), {
      name,
      connection,
      dueAt: clock.now() + delay,
      timer: clock.after(delay, action),
    });
  }

  function clear(name: TimerName, connection: number): void {
    const key = keyOf(name, connection);
    running.get(key)?.timer.cancel();
    running.delete(key);
  }

  return {
    set(name, connection, delay) {
      const expire = () => {
        running.delete(keyOf(name, connection));
        onExpired(name, connection);
      };
      // After the machine or this process stood still, the hold timer is due before the octets that would have
      // re-armed it are read. One more turn of the event loop reads them.
      const again = () => start(name, connection, Milliseconds(1), expire);
      start(name, connection, delay, name === 'hold' ? again : expire);
    },
    clear,
    clearConnection(connection) {
      for (const one of [...running.values()]) if (one.connection === connection) clear(one.name, connection);
    },
    stop() {
      const now = clock.now();
      const left = Array.from(running.values(), ({ name, connection, dueAt, timer }) => {
        timer.cancel();
        return { name, connection, remainingMs: Math.max(0, dueAt - now) };
      });
      running.clear();
      return left;
    },
  };
}
