import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { shareOwner } from './share-owner.ts';
import { virtualMac } from './virtual-mac.ts';

/** How one address is answered for: plain data, so that a map of the kernel can be filled from it. */
export interface AnswerEntry {
  readonly address: IpAddress;
  /** Virtual routers that stand for the address; more than one with `share`. */
  readonly vrids: readonly number[];
  /** Undefined: the virtual MAC address of the virtual router. */
  readonly mac: MacAddress | undefined;
}

/** What an ARP request or a neighbour solicitation is answered with. */
export interface NeighbourAnswer {
  readonly vrid: number;
  readonly mac: MacAddress;
  /** Clients differ in whom they are given: nobody else may take the answer for his own. */
  readonly isShared: boolean;
}

/** By the text of the address. */
export type AnswerTable = ReadonlyMap<string, AnswerEntry>;

/** A table of these entries. */
export function answerTable(entries: readonly AnswerEntry[]): AnswerTable {
  return new Map(entries.map((entry) => [formatIpAddress(entry.address), entry]));
}

/**
 * Who answers which client with which MAC address: the owner of the virtual router that the client's address hashes to,
 * with its MAC address; undefined when that is not this host, or the address is not of the table. `owns` tells of which
 * virtual routers of that family this host is the owner now.
 */
export function answerFor(
  table: AnswerTable,
  target: IpAddress,
  client: IpAddress,
  owns: (vrid: number) => boolean,
): NeighbourAnswer | undefined {
  const entry = table.get(formatIpAddress(target));
  if (entry === undefined) return undefined;
  const vrid = shareOwner(client, entry.vrids);
  if (!owns(vrid)) return undefined;
  return { vrid, mac: entry.mac ?? virtualMac(target.family, vrid), isShared: entry.vrids.length > 1 };
}
