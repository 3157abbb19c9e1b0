/** What routers say of the ways to the ends of tunnels: looked at when their reports are counted. */
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { pathErrors } from '../core/forwarding/tunnel-end.ts';
import { pathErrorText, pathStatus } from '../core/path-view.ts';
import type { PathStatus } from '../core/status.ts';
import type { DataPlane } from '../io/forwarding/data-plane.ts';

/** What is looked at. */
export interface PathWatchParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly dataPlane: Pick<DataPlane, 'maps' | 'flowTick'>;
}

/** A running watch. */
export type PathWatch = ReturnType<typeof watchPaths>;

/** Between two looks at the counters. */
const interval = Seconds(2);
/** A way is told of in the log no more often. */
const quiet = Seconds(600);
/** Ways told of at one look. */
const mostTold = 10;

/** Begins to watch; what was counted before is not told in the log. */
export function watchPaths({ clock, logger, dataPlane }: PathWatchParts) {
  const { maps } = dataPlane;
  let [seen, seenDeleted] = [-1, 0];
  let ends: ReturnType<typeof maps.readTunnelEnds> = [];
  const told = new Map<string, { sum: number; at: number }>();

  /** Reads the ends when an error was counted since, or one has gone: there may be 100,000 of them. */
  function look(): void {
    const { pass_tunnel_error = 0, tx_tunnel_error = 0 } = maps.readReasons();
    const counted = pass_tunnel_error + tx_tunnel_error;
    const deleted = maps.deletedTunnelEnds();
    const isFirst = seen < 0;
    if (counted === seen && (deleted === seenDeleted || ends.length === 0)) return;
    ends = maps.readTunnelEnds().filter(({ end }) => end.last !== undefined);
    [seen, seenDeleted] = [counted, deleted];
    tell(isFirst);
  }

  function tell(isFirst: boolean): void {
    let left = mostTold;
    for (const { remote, end } of ends) {
      const destination = formatIpAddress(remote);
      const sum = pathErrors.reduce((total, kind) => total + end.errors[kind], 0);
      const before = told.get(destination);
      if (isFirst) told.set(destination, { sum, at: Number.NEGATIVE_INFINITY });
      if (isFirst || before?.sum === sum || left === 0) continue;
      if (before !== undefined && clock.now() - before.at < quiet) continue;
      left -= 1;
      told.set(destination, { sum, at: clock.now() });
      const reporter = end.last === undefined ? undefined : formatIpAddress(end.last.reporter);
      logger.warn(
        { destination, reporter, errors: pathErrorText(end.errors), mtu: end.learned?.mtu },
        'a router reports on the way of tunnelled packets',
      );
    }
    const known = new Set(ends.map(({ remote }) => formatIpAddress(remote)));
    for (const destination of told.keys()) if (!known.has(destination)) told.delete(destination);
  }

  const safely = () => {
    try {
      look();
    } catch (error) {
      logger.warn({ err: error }, 'the ends of tunnels could not be read');
    }
    timer = clock.after(interval, safely);
  };
  let timer = clock.after(Milliseconds(0), safely);

  return {
    /** The ways of which something was reported, the last report first. */
    paths(): PathStatus[] {
      look();
      const now = dataPlane.flowTick();
      return ends
        .flatMap(({ remote, end }) => pathStatus(remote, end, now) ?? [])
        .sort((one, other) => one.last.agoMs - other.last.agoMs);
    },
    /** What was reported of the way to one end. */
    pathTo(remote: IpAddress): PathStatus | undefined {
      const end = ends.length === 0 ? undefined : maps.readTunnelEnd(remote);
      return end === undefined ? undefined : pathStatus(remote, end, dataPlane.flowTick());
    },
    stop: () => timer.cancel(),
  };
}
