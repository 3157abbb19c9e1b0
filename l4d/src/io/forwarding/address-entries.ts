import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { usualSelection } from '../../core/forwarding/backend-selection.ts';
import { classesProxied, type HeldVip } from '../../core/forwarding/forwarding-plan.ts';
import type { ForwardingMaps } from './forwarding-maps.ts';
import { ipProtocol, type VipKey } from './map-codec.ts';

/** The entries by which the program knows an address that has VIPs, whatever the port: for ICMP, and for ports of none. */
export interface AddressEntries {
  /** An address that the kernel has an entry of, or had a VIP at. */
  found(address: IpAddress): void;
  /** A VIP that the kernel has at it. */
  adopt(address: IpAddress, identity: string): void;
  /** After all were found: lets go of the entries of addresses without VIPs. Throws SyscallError. */
  dropEmpty(): void;
  /** Throws SyscallError. */
  add(address: IpAddress, identity: string): void;
  /** Throws SyscallError. */
  remove(address: IpAddress, identity: string): void;
}

/** Knows of none yet. `heldOf`: what the kernel holds of a VIP. */
export function createAddressEntries(
  maps: ForwardingMaps,
  heldOf: (identity: string) => HeldVip | undefined,
): AddressEntries {
  /** VIPs by the text of their address. */
  const vipsOf = new Map<string, Set<string>>();

  function setOf(address: IpAddress): Set<string> {
    const text = formatIpAddress(address);
    const set = vipsOf.get(text) ?? new Set();
    vipsOf.set(text, set);
    return set;
  }

  /**
   * Fragments for an address are the stack's when all of its VIPs are the proxy's, for whoever comes. When one is, for
   * anybody, other hosts may hand packets for it over.
   */
  function write(address: IpAddress): void {
    const helds = [...setOf(address)].flatMap((identity) => heldOf(identity) ?? []);
    const isStackOnly = helds.every(({ policy, classes }) => policy === 'l7' && classes === undefined);
    const policy = isStackOnly ? 'l7' : 'forward';
    const isProxied = helds.some((held) => held.policy === 'l7' || classesProxied(held));
    const known = maps.readVip(addressKey(address));
    if (known?.policy === policy && known.isProxied === isProxied) return;
    maps.writeVip(addressKey(address), {
      id: 0,
      policy,
      onBackendDown: 'keep',
      isAddressEntry: true,
      tableOffset: 0,
      tableSize: 0,
      idleTicks: 0,
      selection: usualSelection,
      usesNat: false,
      sourceList: 0,
      isProxied,
    });
  }

  return {
    found: (address) => void setOf(address),
    adopt: (address, identity) => void setOf(address).add(identity),
    dropEmpty() {
      for (const [text, identities] of vipsOf) if (identities.size === 0) vipsOf.delete(text);
      for (const { key, record } of maps.readAllVips()) {
        if (record.isAddressEntry && !vipsOf.has(formatIpAddress(key.address))) maps.deleteVip(key);
      }
    },
    add(address, identity) {
      setOf(address).add(identity);
      write(address);
    },
    remove(address, identity) {
      const set = setOf(address);
      set.delete(identity);
      if (set.size > 0) {
        write(address);
        return;
      }
      vipsOf.delete(formatIpAddress(address));
      maps.deleteVip(addressKey(address));
    },
  };
}

function addressKey(address: IpAddress): VipKey {
  return { address, port: 0, protocol: address.family === 4 ? ipProtocol.icmp : ipProtocol.icmp6 };
}
