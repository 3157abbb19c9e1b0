import { formatIpAddress, type IpAddress, type IpFamily } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';

/** What a host does about connections for the proxy. */
export type ProxyHostState = 'active' | 'joining' | 'draining';

/** A host whose proxy serves the same VIPs. */
export interface DeclaredProxyHost {
  readonly address: IpAddress;
  readonly state: ProxyHostState;
}

/** A host as the data plane holds it. */
export interface ProxyHost {
  /** Of a host in another subnet one that is made up for it: `proxyFarMac`. */
  readonly mac: MacAddress;
  readonly isSelf: boolean;
  /** It is reached by what the data plane holds of `proxyFarNumber(mac)`. */
  readonly isFar?: boolean;
}

/** The way to a host in another subnet: packets go there within UDP. */
export interface ProxyFar {
  readonly number: number;
  /** Its declared address. */
  readonly remote: IpAddress;
  /** This host's, of the same family. */
  readonly source: IpAddress;
  /** Of the next hop; undefined while it is not known. */
  readonly mac: MacAddress | undefined;
  /** Bytes of outer packets that the way carries. */
  readonly mtu: number;
  /** UDP port at both ends. */
  readonly port: number;
}

/** Who gets the connections of a slot, and who may have older ones; indices into the hosts. */
export interface ProxySlot {
  readonly owner: number;
  /** Undefined: nobody else. */
  readonly alternate: number | undefined;
  /** The alternate had the slot before the owner, by their declared states: it is asked first for sessions of UDP. */
  readonly isAlternateFirst?: boolean;
}

/** MAX_PROXY_HOSTS of bpf/include/l4d.h. */
export const maxProxyHosts = 32;

/** PROXY_FAR_MAC of bpf/include/l4d.h, and the number of a host: the MAC address that stands for it here. */
export function proxyFarMac(number: number): MacAddress {
  return Uint8Array.of(0x02, 0x6c, 0x34, 0x64, number >> 8, number & 0xff);
}

/** UDP and the header behind it (struct proxy_tunnel_header), in bytes. */
const tunnelBytes = 16;

/** Bytes that the outer headers take of a packet that goes to a host with such an address. */
export function proxyTunnelOverhead(family: IpFamily): number {
  return tunnelBytes + (family === 4 ? 20 : 40);
}

/** PROXY_SLOTS of bpf/include/l4d.h. */
export const proxySlots = 4096;

/**
 * The slots of hosts that live, by rendezvous hashing: each slot ranks the hosts by a hash of slot and address. New
 * connections go to the first that is not draining. Older ones may be at the first that is not joining, or else at
 * the next in rank: who was first before the owner came. The result depends on addresses and states alone, not on the
 * order of `hosts`. Empty without hosts.
 */
export function proxyTable(hosts: readonly DeclaredProxyHost[]): ProxySlot[] {
  if (hosts.length === 0) return [];
  const seeds = hosts.map(({ address }) => hashText(formatIpAddress(address)));
  const order = hosts.map((_, index) => index);
  return Array.from({ length: proxySlots }, (_, slot) => {
    const scores = seeds.map((seed) => mix(seed ^ Math.imul(slot + 1, 0x9e3779b1)));
    const ranked = order.toSorted(
      (a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || (seeds[b] ?? 0) - (seeds[a] ?? 0),
    );
    const owner = ranked.find((index) => hosts[index]?.state !== 'draining') ?? ranked[0] ?? 0;
    const settled = ranked.filter((index) => hosts[index]?.state !== 'joining');
    const alternate = [...settled, ...ranked].find((index) => index !== owner);
    if (alternate === undefined) return { owner, alternate };
    const wasBefore = hosts[owner]?.state === 'joining' || ranked.indexOf(alternate) < ranked.indexOf(owner);
    return { owner, alternate, ...(wasBefore ? { isAlternateFirst: true } : {}) };
  });
}

/** FNV-1a, 32 bits. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** The finalizer of MurmurHash3: every bit of the input moves every bit of the output. */
function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
