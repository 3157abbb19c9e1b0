import { formatIpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { hostPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { PortRange } from '@l4d/kit/port-range.ts';
import type { HostNat } from '../desired/nat.ts';

/** What packets to backends with `forward: nat` come from. */
export interface NatSettings {
  /** Source addresses, by family: all of the prefix. Without one, no NAT to backends of that family. */
  readonly sources: { readonly ipv4?: IpPrefix; readonly ipv6?: IpPrefix };
  /** Source ports; undefined: none are free for NAT, and there is none. */
  readonly ports: PortRange | undefined;
}

/** What the host gives where nothing is declared. */
export interface NatHost {
  /** Its interface's first global addresses. */
  readonly addresses: { readonly ipv4?: string | undefined; readonly ipv6?: string | undefined };
  /** The ports that the kernel gives to programs of this host (net.ipv4.ip_local_port_range). */
  readonly localPorts: PortRange;
}

/** Where the ports begin when they are not declared, so that what usually listens lies below. */
const usualFirstPort = 10_240;
/** Fewer ports than this are no use. */
const leastPorts = 1024;

/** What is declared, else what the host has; `problem` when the ports cannot be had. */
export function natSettings(declared: HostNat, on: NatHost): { settings: NatSettings; problem?: string } {
  const ipv4 = declared.sourceIpv4 ?? ownPrefix(on.addresses.ipv4);
  const ipv6 = declared.sourceIpv6 ?? ownPrefix(on.addresses.ipv6);
  const sources = { ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) };
  const local = `${on.localPorts.first}-${on.localPorts.last}`;
  if (declared.ports !== undefined) {
    const { first, last } = declared.ports;
    if (first > on.localPorts.last || last < on.localPorts.first)
      return { settings: { sources, ports: declared.ports } };
    return {
      settings: { sources, ports: undefined },
      problem:
        `host.nat.ports ${first}-${last} overlaps the ports that the kernel gives to programs of this host, ${local} ` +
        '(allowed: a range outside); change one of the two: sysctl net.ipv4.ip_local_port_range',
    };
  }
  const range = { first: usualFirstPort, last: Math.min(on.localPorts.first, 65_536) - 1 };
  if (range.last - range.first + 1 >= leastPorts) return { settings: { sources, ports: range } };
  return {
    settings: { sources, ports: undefined },
    problem:
      `NAT has no ports: the kernel gives ${local} to programs of this host, and too few are left between ${usualFirstPort} ` +
      'and there; declare host.nat.ports outside, or: sysctl -w net.ipv4.ip_local_port_range="32768 60999"',
  };
}

/** Addresses in a prefix. */
export function addressesOf({ address, length }: IpPrefix): number {
  return 2 ** (address.bytes.length * 8 - length);
}

/** The n-th address of a prefix of 256 addresses at most, as text. */
export function sourceAddress(prefix: IpPrefix, n: number): string {
  const bytes = Uint8Array.from(prefix.address.bytes);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | n;
  return formatIpAddress({ family: prefix.address.family, bytes });
}

function ownPrefix(text: string | undefined): IpPrefix | undefined {
  const address = text === undefined ? undefined : parseIpAddress(text);
  return address?.ok === true ? hostPrefix(address.value) : undefined;
}
