import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { openXdpFeatureReader } from '@l4d/kit/netlink/xdp-features.ts';

/**
 * Which interfaces send what XDP redirects to them. The kernel drops what one of them does not, after us and unseen by
 * checks, which do not pass XDP.
 */
export interface RedirectTargets {
  /** Undefined when it is not known. */
  canSend(interfaceIndex: number): boolean | undefined;
  /** Looks at once, such as after there is another target. */
  look(): void;
  stop(): void;
}

/** What the watch works with. */
export interface RedirectTargetsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Indices of the interfaces that are looked at. */
  readonly targets: () => readonly number[];
  readonly onChange: () => void;
}

/** No event of rtnetlink tells of it. */
const lookEvery = Seconds(2);

/** Looks again and again, in the network namespace of the caller. Throws SyscallError. */
export function watchRedirectTargets(options: RedirectTargetsOptions): RedirectTargets {
  const { clock, logger } = options;
  const reader = openXdpFeatureReader();
  const known = new Map<number, boolean | undefined>();
  let timer: Timer | undefined;
  let stopped = false;

  async function look(): Promise<void> {
    let changed = false;
    for (const index of options.targets()) {
      const now = await reader.canSend(index);
      if (stopped) return;
      if (known.has(index) && known.get(index) === now) continue;
      changed ||= known.get(index) !== now;
      known.set(index, now);
    }
    if (changed) options.onChange();
  }

  function lookNow(): void {
    if (stopped) return;
    timer?.cancel();
    look()
      .catch((error) => {
        if (!stopped) logger.warn({ err: error }, 'what interfaces can do with XDP could not be read');
      })
      .finally(() => {
        if (stopped) return;
        timer?.cancel();
        timer = clock.after(lookEvery, lookNow);
      });
  }

  lookNow();
  return {
    canSend: (interfaceIndex) => known.get(interfaceIndex),
    look: lookNow,
    stop() {
      if (stopped) return;
      stopped = true;
      timer?.cancel();
      reader.close();
    },
  };
}
