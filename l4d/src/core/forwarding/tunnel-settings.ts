import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import { hostPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { HostTunnel } from '../desired/tunnel.ts';

/** How packets for tunnelled backends are wrapped. */
export interface TunnelSettings {
  /** Outer source addresses, by family: those of the prefix, chosen by the flow. Without one no tunnels of that family. */
  readonly sources: { readonly ipv4?: IpPrefix; readonly ipv6?: IpPrefix };
  /** UDP port of GUE. */
  readonly guePort: number;
  /** 0: with a header; 1: the packet follows UDP at once. */
  readonly gueVariant: 0 | 1;
  /** UDP port of VXLAN. */
  readonly vxlanPort: number;
  /** Of the ways to the backends, in bytes of IP. */
  readonly mtu: number;
}

/** What the interface gives where nothing is declared. */
export interface TunnelInterface {
  readonly mtu: number;
  /** Its first global addresses. */
  readonly addresses: { readonly ipv4?: string | undefined; readonly ipv6?: string | undefined };
}

/** The most that the length of an IP packet can say. */
const maxMtu = 65_535;

/** What is declared, else what the interface has. */
export function tunnelSettings(declared: HostTunnel, on: TunnelInterface): TunnelSettings {
  const ipv4 = declared.sourceIpv4 ?? ownPrefix(on.addresses.ipv4);
  const ipv6 = declared.sourceIpv6 ?? ownPrefix(on.addresses.ipv6);
  return {
    sources: { ...(ipv4 === undefined ? {} : { ipv4 }), ...(ipv6 === undefined ? {} : { ipv6 }) },
    guePort: declared.guePort,
    gueVariant: declared.gueVariant === 0 ? 0 : 1,
    vxlanPort: declared.vxlanPort,
    mtu: Math.min(declared.mtu ?? on.mtu, on.mtu, maxMtu),
  };
}

function ownPrefix(text: string | undefined): IpPrefix | undefined {
  const address = text === undefined ? undefined : parseIpAddress(text);
  return address?.ok === true ? hostPrefix(address.value) : undefined;
}
