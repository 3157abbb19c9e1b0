import { integer, ipPrefixText, portNumber } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

/** The smallest MTU in which IPv6's least (1280 bytes, RFC 8200) goes through tunnels of IPv6 other than VXLAN. */
const leastMtu = 1332;
/** Alike with VXLAN over IPv6. */
export const leastVxlanMtu = 1350;

/** How packets are wrapped for backends with `forward: ipip`, `gue` or `vxlan`. */
export const hostTunnelSchema = z.strictObject({
  /** Outer sources: an address of it by the flow; by default the interface's own. */
  sourceIpv4: ipPrefixText.exactOptional(),
  sourceIpv6: ipPrefixText.exactOptional(),
  /** Of the ways to the backends; by default the interface's. */
  mtu: integer('an MTU', leastMtu, 65_535).exactOptional(),
  guePort: portNumber.prefault(6080),
  /** 1: the packet follows UDP at once; 0: behind a header of 4 bytes. */
  gueVariant: integer('a variant', 0, 1).prefault(1),
  /** UDP port of VXLAN at the backends' ends. */
  vxlanPort: portNumber.prefault(4789),
});

/** How packets are wrapped for tunnelled backends. */
export type HostTunnel = z.output<typeof hostTunnelSchema>;
