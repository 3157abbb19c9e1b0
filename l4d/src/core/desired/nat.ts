import { ipPrefixText, portRangeText } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

/** What packets to backends with `forward: nat` come from. Every host needs addresses of its own. */
export const hostNatSchema = z.strictObject({
  /** All addresses of it; by default the interface's own one. */
  sourceIpv4: ipPrefixText.exactOptional(),
  sourceIpv6: ipPrefixText.exactOptional(),
  /** Outside of net.ipv4.ip_local_port_range; by default from 10240 to below it. */
  ports: portRangeText.exactOptional(),
});

/** What packets to backends with `forward: nat` come from. */
export type HostNat = z.output<typeof hostNatSchema>;
