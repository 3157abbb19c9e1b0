import { SyscallError } from '@l4d/kit/errors.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import type { InterfaceAddress } from '@l4d/kit/netlink/codec-address.ts';
import type { Link } from '@l4d/kit/netlink/codec-link.ts';
import { eventGroup } from '@l4d/kit/netlink/constants.ts';
import { watchNetlinkEvents } from '@l4d/kit/netlink/events.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** An interface that works. */
export interface InterfaceView {
  readonly name: string;
  readonly index: number;
  readonly mac: MacAddress;
  readonly mtu: number;
  /** Its IPv4 addresses, the primary one first. */
  readonly ipv4: readonly IpAddress[];
  /** Its IPv6 link-local addresses, once they are known to be unique. */
  readonly linkLocals: readonly IpAddress[];
}

/** Told of each interface that is asked for, at first and whenever it changes: the view, or why there is none. */
export type OnInterface = (
  name: string,
  view: InterfaceView | undefined,
  problem: string | undefined,
) => void;

/** A watch over some interfaces of this network namespace. */
export interface InterfaceWatch {
  /** Which are looked at; each is told anew. */
  follow(names: readonly string[]): void;
  close(): void;
}

/** Events of one change come in a row. */
const settleMs = 20;

/** Starts without an interface to look at. Throws SyscallError. */
export function watchInterfaces(onInterface: OnInterface): InterfaceWatch {
  const rtnetlink = openRtnetlink();
  let names: readonly string[] = [];
  const told = new Map<string, string>();
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  const later = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      void look();
    }, settleMs);
  };

  async function look(): Promise<void> {
    if (names.length === 0) return;
    try {
      const [links, addresses] = [await rtnetlink.links(), await rtnetlink.addresses()];
      if (isClosed) return;
      for (const name of names) tell(name, links, addresses);
    } catch (error) {
      // A dump that was interrupted by a change is repeated.
      if (!(error instanceof SyscallError)) throw error;
      if (!isClosed) later();
    }
  }

  function tell(name: string, links: readonly Link[], addresses: readonly InterfaceAddress[]): void {
    const found = viewOf(name, links, addresses);
    const text = JSON.stringify(found);
    if (told.get(name) === text) return;
    told.set(name, text);
    if (typeof found === 'string') onInterface(name, undefined, found);
    else onInterface(name, found, undefined);
  }

  const unwatch = watchNetlinkEvents({
    groups: [eventGroup.LINK, eventGroup.IPV4_ADDRESS, eventGroup.IPV6_ADDRESS],
    onMessage: later,
    onLost: later,
  });
  return {
    follow(wanted) {
      for (const name of wanted) if (!names.includes(name)) told.delete(name);
      names = wanted;
      void look();
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      unwatch();
      rtnetlink.close();
    },
  };
}

function viewOf(
  name: string,
  links: readonly Link[],
  addresses: readonly InterfaceAddress[],
): InterfaceView | string {
  const link = links.find((candidate) => candidate.name === name);
  if (link === undefined) return `there is no interface ${name}`;
  if (link.mac?.length !== 6) return `${name} has no Ethernet address`;
  if (!link.up) return `${name} is down`;
  if (!['up', 'unknown'].includes(link.operationalState)) return `${name} has no carrier`;
  const own = addresses.filter(
    ({ interfaceIndex, tentative }) => interfaceIndex === link.index && !tentative,
  );
  return {
    name,
    index: link.index,
    mac: link.mac,
    mtu: link.mtu,
    ipv4: own.filter(({ address }) => address.family === 4).map(({ address }) => address),
    linkLocals: own
      .filter(({ address, scope }) => address.family === 6 && scope === 'link')
      .map(({ address }) => address),
  };
}
