import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { eventGroup } from '@l4d/kit/netlink/constants.ts';
import { watchNetlinkEvents } from '@l4d/kit/netlink/events.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { isLinkLocal } from '../../core/peer-address.ts';

/** An interface that link-local sessions can go over. */
export interface UsableInterface {
  readonly index: number;
  readonly mac: MacAddress | undefined;
  readonly linkLocal: IpAddress;
}

/** The interfaces of this network namespace, kept up to date. */
export interface InterfaceTable {
  /** The interface of a name, or why it cannot be used now. */
  find(name: string): Result<UsableInterface, string>;
  close(): void;
}

/** Events of a moment are answered by one look at the kernel's tables. */
const gatherTime = Milliseconds(10);
const retryTime = Seconds(1);

/** Watches interfaces and their addresses; `onChange` is called after each look, the first included. Throws SyscallError. */
export function watchInterfaces(clock: Clock, logger: Logger, onChange: () => void): InterfaceTable {
  const rtnetlink = openRtnetlink();
  let found = new Map<string, Result<UsableInterface, string>>();
  let looked = false;
  let closed = false;
  let timer: Timer | undefined;

  let reading = false;
  let stale = false;

  function lookLater(delay: Duration = gatherTime): void {
    if (reading) stale = true;
    else if (!closed) timer ??= clock.after(delay, look);
  }

  function look(): void {
    timer = undefined;
    reading = true;
    stale = false;
    read().then(
      (next) => {
        found = next;
        looked = true;
        onLooked();
      },
      (error: Error) => {
        if (!closed) logger.warn({ error: error.message }, 'the interfaces cannot be read');
        onLooked(retryTime);
      },
    );
  }

  function onLooked(retry?: Duration): void {
    reading = false;
    if (closed) return;
    if (retry === undefined) onChange();
    // Events that came while the tables were read ask for another look.
    if (retry !== undefined || stale) lookLater(retry);
  }

  async function read(): Promise<typeof found> {
    const [links, addresses] = await Promise.all([rtnetlink.links(), rtnetlink.addresses()]);
    return new Map(
      links.map(({ name, index, mac, up, operationalState }): [string, Result<UsableInterface, string>] => {
        const running = up && (operationalState === 'up' || operationalState === 'unknown');
        if (!running) return [name, err(`the interface ${name} is down`)];
        const own = addresses.filter(
          ({ interfaceIndex, address }) => interfaceIndex === index && isLinkLocal(address),
        );
        const linkLocal = own.find(({ tentative }) => !tentative)?.address;
        if (linkLocal !== undefined) return [name, ok({ index, mac, linkLocal })];
        const why =
          own.length > 0 ? 'is not through duplicate address detection' : 'is missing (IPv6 disabled?)';
        return [name, err(`the link-local address of ${name} ${why}`)];
      }),
    );
  }

  const unwatch = watchNetlinkEvents({
    groups: [eventGroup.LINK, eventGroup.IPV6_ADDRESS],
    onMessage: () => lookLater(),
    onLost: () => lookLater(),
  });
  lookLater(Milliseconds(0));
  return {
    find(name) {
      if (!looked) return err(`the interface ${name} is being looked for`);
      return found.get(name) ?? err(`there is no interface ${name}`);
    },
    close() {
      closed = true;
      timer?.cancel();
      unwatch();
      rtnetlink.close();
    },
  };
}
