/** Keeps the data plane's list of the hosts that fragments are spread over in line with who is there. */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { type FragmentHost, fragmentHosts } from '../core/forwarding/fragment-hosts.ts';
import type { HostInterface } from '../io/host-interface.ts';
import { watchNeighbours } from '../io/neighbours.ts';

/** What is needed. */
export interface FragmentNeighboursParts {
  readonly logger: Logger;
  readonly write: (hosts: readonly FragmentHost[]) => void;
}

/** A running watch over the other hosts. */
export interface FragmentNeighbours {
  /** Takes what is declared and the interface that it is about. Throws SyscallError. */
  follow(declared: readonly IpAddress[], on: HostInterface): void;
  /** What is not as declared, in words. */
  warnings(): string[];
  stop(): void;
}

/** Starts with an empty list. */
export function followFragmentHosts({ logger, write }: FragmentNeighboursParts): FragmentNeighbours {
  const macs = new Map<string, MacAddress>();
  let declared: readonly IpAddress[] = [];
  let on: HostInterface | undefined;
  let watch: { readonly index: number; readonly neighbours: ReturnType<typeof watchNeighbours> } | undefined;

  const isOwn = (address: IpAddress) => on?.ownAddresses.has(formatIpAddress(address)) === true;

  function refresh(): void {
    if (on === undefined) return;
    const own = { mac: on.mac, addresses: on.ownAddresses };
    write(fragmentHosts(declared, own, (address) => macs.get(formatIpAddress(address))));
  }

  function watchOn(interfaceIndex: number): void {
    if (watch?.index === interfaceIndex) return;
    watch?.neighbours.stop();
    macs.clear();
    const neighbours = watchNeighbours({
      interfaceIndex,
      logger,
      onChange(address, mac) {
        if (mac === undefined) macs.delete(formatIpAddress(address));
        else macs.set(formatIpAddress(address), mac);
        refresh();
      },
    });
    watch = { index: interfaceIndex, neighbours };
  }

  function stop(): void {
    watch?.neighbours.stop();
    watch = undefined;
  }

  return {
    follow(wanted, current) {
      declared = wanted;
      on = current;
      if (declared.length === 0) stop();
      else {
        watchOn(current.index);
        watch?.neighbours.setTargets(declared.filter((address) => !isOwn(address)));
      }
      refresh();
    },
    warnings() {
      if (on === undefined || declared.length === 0) return [];
      if (!declared.some(isOwn)) {
        return [
          `host.fragments.hosts holds no address of ${on.name} (${[...on.ownAddresses].join(', ')}): fragments that arrive here are placed here`,
        ];
      }
      const { name } = on;
      return declared
        .filter((address) => !isOwn(address) && !macs.has(formatIpAddress(address)))
        .map(
          (address) =>
            `host.fragments.hosts: ${formatIpAddress(address)} does not answer on ${name}: the other hosts take its fragments`,
        );
    },
    stop,
  };
}
