/**
 * VRRPv3 (RFC 9568): bytes to values and back.
 *
 * Files of this folder: packet and checksum (section 5.2), neighbour-message (ARP and neighbour discovery), frame
 * (Ethernet and IP around both), state-types and state-machine (section 6.4: one machine a virtual router), timing
 * (section 6.1), group-plan (groups of VIPs to virtual routers), share-owner and answer-table (who answers which client
 * with which MAC address), config (the API's part).
 * Standards: RFC 9568, RFC 5798 (its IPv4 checksum). VRRPv2 is counted and dropped.
 */
import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { type IpAddress, ipAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { type ChecksumKind, vrrpChecksum } from './checksum.ts';

/** Where advertisements go (RFC 9568 section 5.1.1.2, 5.1.2.2). */
export const vrrpGroup = { 4: ipAddress('224.0.0.18'), 6: ipAddress('ff02::12') } as const;

/** "A VRRP Router receiving a packet with the TTL not equal to 255 MUST discard the packet" (section 5.1.1.3). */
export const vrrpTtl = 255;

/** Priorities with a meaning of their own (section 5.2.4). */
export const vrrpPriority = { leaving: 0, owner: 255 } as const;

/** An advertisement. */
export interface Advertisement {
  /** Virtual router identifier, 1 to 255. */
  readonly vrid: number;
  /** 0 to 255; 0: the sender leaves. */
  readonly priority: number;
  /** Max Advertise Interval, in centiseconds: 1 to 4095. */
  readonly intervalCs: number;
  /** 1 to 255 addresses of one family. */
  readonly addresses: readonly IpAddress[];
}

/** Where an advertisement was seen. */
export interface AdvertisementEnvelope {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** TTL or hop limit. */
  readonly ttl: number | undefined;
}

/** Why a datagram is no advertisement for us (the names under which drops are counted). */
export type VrrpDrop =
  | 'wrong-ttl'
  | 'bad-version'
  | 'bad-type'
  | 'bad-length'
  | 'bad-checksum'
  | 'bad-interval'
  | 'bad-address-count'
  | 'bad-vrid'
  | 'wrong-destination'
  | 'unknown-vrid'
  | 'own-packet'
  | 'address-owner';

const versionAndType = 0x31;
const headerBytes = 8;

/** Longest advertisement: 255 IPv6 addresses. */
export const maxAdvertisementBytes = headerBytes + 255 * 16;

/** Encodes an advertisement; all addresses must be of the family of `source`. Throws a RangeError on misuse. */
export function encodeAdvertisement(
  { vrid, priority, intervalCs, addresses }: Advertisement,
  source: IpAddress,
  kind: ChecksumKind,
): Uint8Array {
  if (addresses.length < 1 || addresses.length > 255) {
    throw new RangeError(`an advertisement has 1 to 255 addresses, not ${addresses.length}`);
  }
  const writer = new ByteWriter(headerBytes + addresses.length * 16);
  writer.u8(versionAndType).u8(vrid).u8(priority).u8(addresses.length).u16(intervalCs).u16(0);
  for (const address of addresses) {
    if (address.family !== source.family)
      throw new RangeError('an advertisement has addresses of one family');
    writer.raw(address.bytes);
  }
  const checksum = vrrpChecksum(writer.finish(), source, vrrpGroup[source.family], kind);
  return writer.patchU16(6, checksum).finish();
}

/**
 * Decodes the payload of an IP packet of protocol 112 by the checks of RFC 9568 section 7.1 that need no virtual
 * router. Both IPv4 checksums are taken.
 */
export function decodeAdvertisement(
  bytes: Uint8Array,
  { source, destination, ttl }: AdvertisementEnvelope,
): Result<Advertisement, VrrpDrop> {
  // "MUST verify that the IPv4 TTL / IPv6 Hop Limit is 255."
  if (ttl !== vrrpTtl) return err('wrong-ttl');
  const reader = new ByteReader(bytes);
  const first = reader.u8();
  if (first === undefined) return err('bad-length');
  // "MUST verify that the VRRP version is 3."
  if (first >> 4 !== 3) return err('bad-version');
  // "MUST verify that the VRRP packet type is 1 (ADVERTISEMENT)."
  if ((first & 0x0f) !== 1) return err('bad-type');
  const vrid = reader.u8();
  const priority = reader.u8();
  const count = reader.u8();
  const interval = reader.u16();
  const checksum = reader.u16();
  if (vrid === undefined || priority === undefined || count === undefined) return err('bad-length');
  // "MUST verify that the received packet contains the complete VRRP packet."
  if (interval === undefined || checksum === undefined) return err('bad-length');
  if (vrid === 0) return err('bad-vrid');
  // Section 5.2.5: "The minimum value is 1"; an advertisement of nothing is dropped.
  if (count === 0) return err('bad-address-count');
  const addressBytes = source.family === 4 ? 4 : 16;
  if (reader.remaining !== count * addressBytes) return err('bad-length');
  if (!isChecksumRight(bytes, source, destination)) return err('bad-checksum');
  // The four high bits are reserved and ignored (section 5.2.6). An interval of 0 is not one.
  const intervalCs = interval & 0x0fff;
  if (intervalCs === 0) return err('bad-interval');
  const addresses: IpAddress[] = [];
  for (let i = 0; i < count; i++) addresses.push(ipAddressFromBytes(reader.take(addressBytes) as Uint8Array));
  return ok({ vrid, priority, intervalCs, addresses });
}

function isChecksumRight(bytes: Uint8Array, source: IpAddress, destination: IpAddress): boolean {
  // Summed with its checksum, a message gives 0.
  if (vrrpChecksum(bytes, source, destination, 'rfc9568') === 0) return true;
  return source.family === 4 && vrrpChecksum(bytes, source, destination, 'rfc5798') === 0;
}
