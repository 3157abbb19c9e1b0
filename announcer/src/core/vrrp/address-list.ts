import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';

/** How the addresses that another router names differ from ours. */
export interface AddressDifference {
  /** Named by it, not ours. */
  readonly foreign: readonly string[];
  /** Ours, not named by it; empty when an advertisement may not have had room for all. */
  readonly missing: readonly string[];
  /** Whether nothing that it names is ours: it is of another group. */
  readonly isOtherGroup: boolean;
}

/**
 * RFC 9568 section 7.1: a list that differs is a misconfiguration, told and no reason to drop. `own` are all of ours by
 * their texts; `isCut`: there are more than an advertisement names. Undefined when there is no difference.
 */
export function compareAddressLists(
  own: ReadonlySet<string>,
  isCut: boolean,
  named: readonly IpAddress[],
): AddressDifference | undefined {
  const theirs = new Set(named.map(formatIpAddress));
  const foreign = [...theirs].filter((address) => !own.has(address));
  if (foreign.length === 0 && (isCut || theirs.size === own.size)) return undefined;
  return {
    foreign,
    missing: isCut ? [] : [...own].filter((address) => !theirs.has(address)),
    isOtherGroup: foreign.length === theirs.size,
  };
}

/** The difference for an operator. */
export function describeDifference(router: string, vrid: number, difference: AddressDifference): string {
  const { foreign, missing, isOtherGroup } = difference;
  if (isOtherGroup) {
    return `${router} uses VRID ${vrid} for other addresses (${few(foreign)}): another group of this segment has it, take another vrid`;
  }
  const parts = [
    ...(foreign.length === 0 ? [] : [`names ${few(foreign)}, which this host does not have`]),
    ...(missing.length === 0 ? [] : [`does not name ${few(missing)}`]),
  ];
  return `${router} ${parts.join(' and ')}: the hosts are configured differently`;
}

function few(addresses: readonly string[]): string {
  const shown = addresses.slice(0, 3).join(', ');
  return addresses.length > 3 ? `${shown} and ${addresses.length - 3} more` : shown;
}
