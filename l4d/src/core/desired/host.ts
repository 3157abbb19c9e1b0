import { z } from 'zod';
import {
  choice,
  endpointText,
  flag,
  integer,
  ipv4AddressText,
  ipv6AddressText,
  portNumber,
  text,
} from './scalars.ts';

/** An autonomous system number (RFC 6793). */
export const asNumber = integer('an AS number', 1, 4_294_967_295);

/** The local side of BGP. */
export const hostBgpSchema = z.strictObject({
  as: asNumber,
  routerId: ipv4AddressText,
  /** Whether routers may open the session towards this host. */
  listen: flag().prefault(false),
  /** Port listened on, when `listen` is true. */
  listenPort: portNumber.prefault(179),
});

/** What this host is, beside the VIPs that it serves. */
export const hostSchema = z.strictObject({
  /** Where VIP traffic arrives; `auto` is the interface of the default route. */
  interface: text(
    'an interface name',
    /^[^\s/:]{1,15}$/,
    '1 to 15 characters, such as eth0, or auto',
  ).prefault('auto'),
  /** `auto` is native, else generic with a warning. */
  xdpMode: choice('an XDP mode', ['auto', 'native', 'generic']).prefault('auto'),
  /** Without it nothing is announced. */
  bgp: hostBgpSchema.exactOptional(),
  /** Next hops announced; by default the interface's first global addresses. */
  nextHops: z
    .strictObject({ ipv4: ipv4AddressText.exactOptional(), ipv6: ipv6AddressText.exactOptional() })
    .prefault({}),
  /** Where /metrics listens beside the unix socket. */
  metrics: endpointText.exactOptional(),
  /** A draining host withdraws all its VIPs and goes on forwarding. */
  draining: flag().prefault(false),
});

/** What this host is, beside the VIPs that it serves. */
export type Host = z.output<typeof hostSchema>;
