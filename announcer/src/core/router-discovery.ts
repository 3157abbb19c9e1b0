/**
 * Router discovery (RFC 4861) as far as unnumbered peers need it: we say that we are there, and hear who else is. The
 * advertisements that are sent carry a router lifetime of 0 (section 6.2.3): nobody takes us for a default router.
 */
import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { formatMacAddress, type MacAddress } from '@l4d/kit/mac-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { isLinkLocal } from './peer-address.ts';

/** ICMPv6 types (RFC 4861 section 4). */
export const icmpType = { routerSolicitation: 133, routerAdvertisement: 134 } as const;

/** Hop limit of what is sent, and of what is taken: it has passed no router (section 6.1). */
export const discoveryHopLimit = 255;

/** Longest message that is read; options are few. */
export const maxDiscoveryBytes = 1500;

const sourceLinkLayerAddress = 1;
const optionUnit = 8;
const macBytes = 6;

/** What a neighbour says. */
export type DiscoveryMessage =
  | { readonly kind: 'solicitation' }
  | {
      readonly kind: 'advertisement';
      readonly source: IpAddress;
      /** Link-layer address of the sender, `aa:bb:cc:dd:ee:ff`, when it says so. */
      readonly mac?: string;
    };

/** Why a message is not taken; counted under this name. */
export type DiscoveryFault = 'hop-limit' | 'source' | 'code' | 'length' | 'option' | 'type';

/** Router Advertisement (section 4.2): hop limit, times and router lifetime all unspecified or 0. */
export function encodeAdvertisement(mac: MacAddress | undefined): Uint8Array {
  // The kernel fills the checksum in (RFC 3542 section 3.1).
  const writer = new ByteWriter(24).u8(icmpType.routerAdvertisement).u8(0).u16(0);
  writer.u8(0).u8(0).u16(0).u32(0).u32(0);
  return withLinkLayer(writer, mac);
}

/** Router Solicitation (section 4.1). */
export function encodeSolicitation(mac: MacAddress | undefined): Uint8Array {
  return withLinkLayer(new ByteWriter(16).u8(icmpType.routerSolicitation).u8(0).u16(0).u32(0), mac);
}

function withLinkLayer(writer: ByteWriter, mac: MacAddress | undefined): Uint8Array {
  if (mac?.length === macBytes) writer.u8(sourceLinkLayerAddress).u8(1).raw(mac);
  return writer.finish();
}

/** Reads a message whose checksum the kernel has checked; validation of RFC 4861 sections 6.1.1 and 6.1.2. */
export function decodeDiscovery(
  bytes: Uint8Array,
  source: IpAddress,
  hopLimit: number | undefined,
): Result<DiscoveryMessage, DiscoveryFault> {
  if (hopLimit !== discoveryHopLimit) return err('hop-limit');
  const reader = new ByteReader(bytes);
  const type = reader.u8();
  if (type !== icmpType.routerAdvertisement && type !== icmpType.routerSolicitation) return err('type');
  if (reader.u8() !== 0) return err('code');
  const isAdvertisement = type === icmpType.routerAdvertisement;
  // Checksum; then what an advertisement says of hosts' configuration, which is not for us.
  if (reader.take(isAdvertisement ? 14 : 6) === undefined) return err('length');
  // A solicitation may come from the unspecified address, an advertisement may not.
  if (isAdvertisement && !isLinkLocal(source)) return err('source');
  let mac: string | undefined;
  while (reader.remaining > 0) {
    const option = reader.u8();
    const units = reader.u8();
    // "All included options have a length that is greater than zero."
    if (units === undefined || units === 0) return err('option');
    const value = reader.take(units * optionUnit - 2);
    if (value === undefined) return err('option');
    if (option === sourceLinkLayerAddress && units === 1) mac = formatMacAddress(value);
  }
  if (!isAdvertisement) return ok({ kind: 'solicitation' });
  return ok({ kind: 'advertisement', source, ...(mac === undefined ? {} : { mac }) });
}
