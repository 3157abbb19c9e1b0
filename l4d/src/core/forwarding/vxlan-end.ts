import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { formatMacAddress, type MacAddress } from '@l4d/kit/mac-address.ts';

/** Where a backend inside a tenant's network is (RFC 7348). */
export interface VxlanEnd {
  /** Address of the machine that ends the tunnel. */
  readonly remote: IpAddress;
  /** Number of the network, 24 bits. */
  readonly vni: number;
  /** Of the backend in that network. */
  readonly mac: MacAddress;
}

/** The first two bytes of derived MAC addresses: locally administered, as container networks derive theirs. */
const derivedPrefix = [0x02, 0x42] as const;

/**
 * MAC address of a backend that declares none: what its IPv6 address was made of when that is of the EUI-64 kind
 * (RFC 4291 appendix A), else 02:42 and the last four bytes of the address.
 */
export function derivedMac({ family, bytes }: IpAddress): MacAddress {
  const isEui64 = family === 6 && bytes[11] === 0xff && bytes[12] === 0xfe;
  if (!isEui64) return Uint8Array.of(...derivedPrefix, ...bytes.subarray(-4));
  return Uint8Array.of((bytes[8] ?? 0) ^ 2, ...bytes.subarray(9, 11), ...bytes.subarray(13, 16));
}

/** Whether both are the same place, or neither is one. */
export function sameVxlanEnd(one: VxlanEnd | undefined, other: VxlanEnd | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return (
    one.vni === other.vni &&
    sameIpAddress(one.remote, other.remote) &&
    formatMacAddress(one.mac) === formatMacAddress(other.mac)
  );
}

/** For people, such as `VNI 42 at 192.0.2.21, MAC 02:42:0a:00:00:15`. */
export function formatVxlanEnd({ remote, vni, mac }: VxlanEnd): string {
  return `VNI ${vni} at ${formatIpAddress(remote)}, MAC ${formatMacAddress(mac)}`;
}
