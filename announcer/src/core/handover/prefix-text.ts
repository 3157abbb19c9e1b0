import { toHex } from '@l4d/kit/hex.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { PrefixInput } from '../prefix-list.ts';
import { type AttributeSet, type PrefixTable, prefixAt } from '../prefix-table.ts';

/** What shall be announced, as a client would send it: the form that all versions of the API agree on. */
export function prefixInputs(table: PrefixTable): PrefixInput[] {
  const texts = new Map<AttributeSet, Omit<PrefixInput, 'prefix'>>();
  const inputs: PrefixInput[] = [];
  for (let slot = 0; slot < table.slots; slot++) {
    const set = table.attributes[slot];
    if (set === undefined) continue;
    let text = texts.get(set);
    if (text === undefined) {
      text = attributesInput(set);
      texts.set(set, text);
    }
    const path = table.paths[slot] ?? 1;
    const prefix = formatIpPrefix(prefixAt(table, slot));
    inputs.push(path === 1 ? { prefix, ...text } : { prefix, ...text, pathId: path });
  }
  return inputs;
}

function attributesInput(set: AttributeSet): Omit<PrefixInput, 'prefix'> {
  const { communities, largeCommunities, extendedCommunities, nextHop } = set;
  const { med, localPref, prepend, linkBandwidth } = set;
  return {
    ...(communities.length === 0
      ? {}
      : { communities: communities.map((community) => `${community >>> 16}:${community & 0xffff}`) }),
    ...(largeCommunities === undefined
      ? {}
      : { largeCommunities: largeCommunities.map((community) => community.join(':')) }),
    ...(extendedCommunities === undefined
      ? {}
      : { extendedCommunities: extendedCommunities.map((bytes) => `0x${toHex(bytes)}`) }),
    ...(nextHop === undefined ? {} : { nextHop: formatIpAddress(nextHop) }),
    ...(med === undefined ? {} : { med }),
    ...(localPref === undefined ? {} : { localPref }),
    ...(prepend === undefined ? {} : { prepend }),
    ...(linkBandwidth === undefined ? {} : { linkBandwidth }),
  };
}
