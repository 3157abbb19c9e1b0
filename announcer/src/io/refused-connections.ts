import type { Clock } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';

/** Time between two lines: whoever scans the port does not fill the disk. */
const quietTime = Seconds(60);

/** Connections of those who are no peer (RFC 4271 section 8.2.1). */
export interface RefusedConnections {
  /** Takes account of one. */
  refuse(address: string): void;
  /** How often. */
  count(): number;
}

/** Makes an account that has refused nobody: the first is a line in the log, and then one a minute. */
export function createRefusedConnections(clock: Clock, logger: Logger): RefusedConnections {
  let count = 0;
  let unsaid = 0;
  let quietUntil = Number.NEGATIVE_INFINITY;
  return {
    refuse(address) {
      count += 1;
      unsaid += 1;
      if (clock.now() < quietUntil) return;
      quietUntil = clock.now() + quietTime;
      logger.warn(
        { address, connections: unsaid },
        'refused a connection: the address is no peer, and in no range that has room',
      );
      unsaid = 0;
    },
    count: () => count,
  };
}
