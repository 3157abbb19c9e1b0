import { asTrans } from '@l4d/announcer/core/codec/iana.ts';
import {
  choice,
  endpointText,
  flag,
  integer,
  ipv4AddressText,
  ipv6AddressText,
  notA,
  portNumber,
  text,
} from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

/**
 * An autonomous system number (RFC 6793) that a network may have, as the announcer takes it: RFC 7607 keeps 0,
 * RFC 7300 the last.
 */
export const asNumber = integer('an AS number', 1, 4_294_967_294).refine((value) => value !== asTrans, {
  error: notA('an AS number', `1 to 4294967294, but ${asTrans} stands for AS numbers of four octets`),
});

/** The local side of BGP. */
export const hostBgpSchema = z.strictObject({
  as: asNumber,
  routerId: ipv4AddressText,
  /** Whether routers may open the session towards this host. */
  listen: flag().prefault(false),
  /** Port listened on, when `listen` is true. */
  listenPort: portNumber.prefault(179),
});

/** Sizes of the kernel's tables, fixed when they are made: a change takes effect after `l4d detach --all --forget`. */
export const capacitySchema = z.strictObject({
  vips: integer('a number of VIPs', 1, 1_000_000).prefault(10_000),
  /** Backends of all VIPs together. */
  backends: integer('a number of backends', 1, 4_000_000).prefault(100_000),
  /** Slots of all Maglev tables together, with room for one more copy of the largest. */
  tableSlots: integer('a number of slots', 1024, 268_435_456).prefault(16_777_216),
  /** Flows remembered, for each address family; about 100 bytes each. */
  flows: integer('a number of flows', 1024, 16_777_216).prefault(262_144),
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
  /** Sizes of the kernel's tables. */
  capacity: capacitySchema.prefault({}),
  /** A draining host withdraws all its VIPs and goes on forwarding. */
  draining: flag().prefault(false),
});

/** What this host is, beside the VIPs that it serves. */
export type Host = z.output<typeof hostSchema>;
