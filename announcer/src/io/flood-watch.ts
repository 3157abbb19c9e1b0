import type { Clock } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';

/** Messages within a second from which on a peer is said to flood; a router with a full table sends fewer. */
export const floodMessages = 5000;

const window = Seconds(1);

/** Time between two lines. */
const quietTime = Seconds(60);

/** Makes what is told of each message of a peer, and logs when they come too fast; nothing else follows from it. */
export function createFloodWatch(clock: Clock, logger: Logger): { note(): void } {
  let windowEnd = Number.NEGATIVE_INFINITY;
  let quietUntil = Number.NEGATIVE_INFINITY;
  let count = 0;
  return {
    note() {
      const now = clock.now();
      if (now >= windowEnd) {
        windowEnd = now + window;
        count = 0;
      }
      count += 1;
      if (count !== floodMessages || now < quietUntil) return;
      quietUntil = now + quietTime;
      logger.warn({ messages: count }, 'the peer floods: so many messages within a second; it takes turns');
    },
  };
}
