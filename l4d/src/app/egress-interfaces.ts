import { OperatorError } from '@l4d/kit/errors.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { HostTunnel } from '../core/desired/tunnel.ts';
import type { Egress } from '../core/forwarding/egress.ts';
import { tunnelSettings } from '../core/forwarding/tunnel-settings.ts';
import type { EgressTable } from '../io/forwarding/egress-table.ts';
import type { HostInterface } from '../io/host-interface.ts';

/** What the interfaces are known by. */
export interface EgressInterfacesParts {
  readonly table: EgressTable;
  /** The machine's Ethernet interfaces. */
  readonly interfaces: () => readonly HostInterface[];
  /** What is declared of tunnels. */
  readonly tunnel: () => HostTunnel;
  /** Whether an interface takes what is redirected to it; undefined when it is not known. */
  readonly takesRedirected: (interfaceIndex: number) => boolean | undefined;
  /** Whether packets are redirected to an interface, by native XDP: a program in generic mode sends by any. */
  readonly redirectsNatively: (interfaceIndex: number) => boolean;
  /** Another interface was placed. */
  readonly onPlaced: () => void;
  readonly logger: Logger;
}

/** The interfaces by which packets leave: those that backends turn out to be reached by are placed in the kernel. */
export interface EgressInterfaces {
  /** Number of an interface in the kernel's tables, or why packets cannot leave by it. */
  numberOf(interfaceIndex: number): number | string;
  /** An interface as the data plane should hold it. */
  egressOf(on: HostInterface): Egress;
  /** Brings what is placed to the interfaces as they are and tunnels as they are declared. */
  rewrite(): void;
}

/**
 * Kinds of devices that send nothing that native XDP redirects, in any kernel. Since Linux 6.3 it tells so itself; an older one
 * takes them for targets and drops every packet.
 */
const neverSendRedirected: ReadonlySet<string | undefined> = new Set(
  'vlan bridge team macvlan macvtap ipvlan ipvtap dummy ifb vrf vxlan geneve'.split(' '),
);

const sendsNothing = (name: string) =>
  `the way to it leads over ${name}, which sends nothing that XDP redirects: its driver cannot, or only ` +
  'with a program on it (host.interfaces), or on the other end of a veth pair';

/** Places interfaces as they are asked for. */
export function createEgressInterfaces(parts: EgressInterfacesParts): EgressInterfaces {
  const { table, logger } = parts;

  const egressOf = (on: HostInterface): Egress => ({
    name: on.name,
    interfaceIndex: on.index,
    mac: on.mac,
    mtu: on.mtu,
    tunnel: tunnelSettings(parts.tunnel(), on),
  });

  return {
    egressOf,
    numberOf(interfaceIndex) {
      const on = parts.interfaces().find(({ index }) => index === interfaceIndex);
      if (on !== undefined && neverSendRedirected.has(on.kind) && parts.redirectsNatively(interfaceIndex))
        return sendsNothing(on.name);
      const known = table.numberOf(interfaceIndex);
      if (known !== undefined) {
        if (parts.takesRedirected(interfaceIndex) !== false) return known;
        return sendsNothing(table.placed().get(known)?.name ?? '');
      }
      if (on === undefined) return 'the way to it leads over an interface that is no Ethernet interface';
      try {
        const number = table.place(egressOf(on));
        logger.info({ interface: on.name, number }, 'packets leave by another interface');
        parts.onPlaced();
        return number;
      } catch (error) {
        if (error instanceof OperatorError) return error.message;
        logger.warn({ err: error, interface: on.name }, 'the interface could not be given to the kernel');
        return `the way to it leads over ${on.name}, which the kernel does not take for it`;
      }
    },
    rewrite() {
      const now = new Map(parts.interfaces().map((on) => [on.name, on]));
      for (const { name } of [...table.placed().values()]) {
        const on = now.get(name);
        if (on === undefined) continue;
        try {
          table.place(egressOf(on));
        } catch (error) {
          // Gone again since it was read: the next reading tells.
          logger.debug({ err: error, interface: name }, 'the interface could not be given to the kernel');
        }
      }
    },
  };
}
