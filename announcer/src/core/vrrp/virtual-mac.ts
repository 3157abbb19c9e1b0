import { type IpAddress, type IpFamily, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';

/** The virtual router MAC address: 00-00-5E-00-01-{VRID} (IPv4) or 00-00-5E-00-02-{VRID} (RFC 9568 section 7.3). */
export function virtualMac(family: IpFamily, vrid: number): MacAddress {
  return Uint8Array.of(0x00, 0x00, 0x5e, 0x00, family === 4 ? 0x01 : 0x02, vrid);
}

/**
 * The link-local address of an IPv6 virtual router, from its virtual MAC address by EUI-64 (RFC 4291 appendix A):
 * fe80::200:5eff:fe00:2VV. RFC 9568 section 5.2.9 wants such an address first in each advertisement.
 */
export function virtualLinkLocal(vrid: number): IpAddress {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = virtualMac(6, vrid);
  return ipAddressFromBytes(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f));
}
