import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { eventGroup } from '@l4d/kit/netlink/constants.ts';
import { watchNetlinkEvents } from '@l4d/kit/netlink/events.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { ethernetInterfaces, type HostInterface } from './host-interface.ts';

/** The Ethernet interfaces of this machine, kept up to date. */
export interface InterfaceWatch {
  /** As they were last read. */
  all(): readonly HostInterface[];
  stop(): void;
}

/** What the watch works with. */
export interface InterfaceWatchOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Something about one of them changed. Not called for the first reading. */
  readonly onChange: () => void;
}

/** Changes come in bursts: one look at the end. */
const settleTime = Milliseconds(100);

/** Reads them, and again when links or addresses change. Rejects with SyscallError. */
export async function watchInterfaces(options: InterfaceWatchOptions): Promise<InterfaceWatch> {
  const { clock, logger, onChange } = options;
  const rtnetlink = openRtnetlink();
  let timer: Timer | undefined;
  let stopped = false;
  let all = await ethernetInterfaces(rtnetlink);

  async function look(): Promise<void> {
    timer = undefined;
    const now = await ethernetInterfaces(rtnetlink);
    if (stopped || JSON.stringify(now) === JSON.stringify(all)) return;
    all = now;
    onChange();
  }

  const schedule = () => {
    timer ??= clock.after(settleTime, () => {
      look().catch((error) => {
        if (stopped) return;
        logger.error({ err: error }, 'the interfaces could not be read');
        schedule();
      });
    });
  };
  const stopEvents = watchNetlinkEvents({
    groups: [eventGroup.LINK, eventGroup.IPV4_ADDRESS, eventGroup.IPV6_ADDRESS],
    onMessage: schedule,
    onLost: schedule,
  });
  return {
    all: () => all,
    stop() {
      if (stopped) return;
      stopped = true;
      timer?.cancel();
      stopEvents();
      rtnetlink.close();
    },
  };
}
