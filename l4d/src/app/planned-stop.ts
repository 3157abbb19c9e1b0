import type { AnnouncerClient } from '@l4d/announcer/io/client.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { AnnouncerFollower } from '../io/companions.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import type { Fabric } from './fabric.ts';

/** What a planned stop is made of. */
export interface PlannedStopParts {
  readonly fabric: Pick<Fabric, 'touchStop' | 'hasLeft' | 'endAll'>;
  /** Keeps the request, so that the next daemon goes on with it. */
  readonly runtime: Pick<RuntimeStore, 'stop' | 'setStop' | 'flush'>;
  readonly announcer: Pick<AnnouncerFollower, 'stop'>;
  readonly announcerApi: Pick<AnnouncerClient, 'shutdown'>;
  /** Called when all is done. */
  readonly onStopped: (() => void) | undefined;
  readonly clock: Clock;
  readonly wallClock: () => number;
  readonly logger: Logger;
}

/** The planned stop of this host: VIPs leave, then the announcer ends, then the forwarding, then the daemon. */
export interface PlannedStop {
  /** Begins it; when one is under way, its text or its haste may become another. */
  begin(request: { readonly text?: string; readonly force?: boolean }): void;
  /** Goes on with one that a daemon before this began; nothing when there is none. */
  resume(): void;
}

const lookInterval = Milliseconds(200);

/** Without a request until `begin` or `resume`. */
export function createPlannedStop(parts: PlannedStopParts): PlannedStop {
  const { fabric, runtime, announcer, announcerApi, clock, wallClock, logger } = parts;
  /** Ends what is left once all VIPs have left: the last word to the routers, then the forwarding, then the daemon. */
  const finish = async (text: string) => {
    announcer.stop();
    await announcerApi
      .shutdown({ text })
      .catch((error: unknown) => logger.warn({ err: error }, 'the announcer did not answer to its end'));
    await fabric.endAll();
    runtime.setStop(undefined);
    await runtime.flush();
    logger.info({ text }, 'stopped: nothing is announced or forwarded any more');
    parts.onStopped?.();
  };
  const watch = () =>
    clock.after(lookInterval, () => {
      const request = runtime.stop();
      if (request === undefined) return;
      if (!fabric.hasLeft()) return void watch();
      finish(request.text).catch((error) => logger.error({ err: error }, 'the stop failed'));
    });
  return {
    begin({ text, force }) {
      const before = runtime.stop();
      runtime.setStop({
        since: before?.since ?? wallClock(),
        text: text ?? before?.text ?? 'l4d stopped',
        forced: before?.forced === true || force === true,
      });
      fabric.touchStop();
      if (before === undefined) watch();
    },
    resume() {
      if (runtime.stop() === undefined) return;
      logger.warn('a planned stop was under way: it goes on');
      watch();
    },
  };
}
