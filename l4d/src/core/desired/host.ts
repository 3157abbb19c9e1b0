import { asNumber } from '@l4d/announcer/core/config/as-number.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import {
  choice,
  durationText,
  endpointText,
  flag,
  integer,
  ipv4AddressText,
  ipv6AddressText,
  list,
  listUpTo,
  percentText,
  portNumber,
  text,
} from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { aggregateSchema } from './aggregate.ts';
import { hostFragmentsSchema } from './fragments.ts';
import { hostProxySchema } from './host-proxy.ts';
import { hostNatSchema } from './nat.ts';
import { hostTunnelSchema } from './tunnel.ts';
import { hostVrrpSchema } from './vrrp.ts';

/** The local side of BGP. */
export const hostBgpSchema = z.strictObject({
  as: asNumber,
  routerId: ipv4AddressText,
  /** Whether routers may open the session towards this host. */
  listen: flag().prefault(false),
  /** Port listened on, when `listen` is true. */
  listenPort: portNumber.prefault(179),
  /** Covering prefixes, announced while any VIP within is; by default each VIP's /32 or /128 alone. */
  aggregates: list(aggregateSchema, 'aggregates').prefault([]),
});

/** How VIPs leave that are removed, disabled, drained or stopped. */
export const withdrawSchema = z.strictObject({
  /** GRACEFUL_SHUTDOWN (RFC 8326) stands so long before the withdraw; 0s: not at all. */
  gracefulShutdown: durationText(Milliseconds(0), Seconds(600)).prefault('2s'),
  /** A packet counter that rested so long is quiet. */
  quiet: durationText(Milliseconds(200), Seconds(60)).prefault('1s'),
  /** Bound of the wait for that. */
  atMost: durationText(Milliseconds(200), Seconds(86_400)).prefault('30s'),
});

/** What a change may not do unless it is forced. */
export const guardSchema = z.strictObject({
  /** Share of the VIPs to be announced that one change may take away. */
  maxWithdrawShare: percentText.prefault('50%'),
  /** The share counts from so many VIPs on. */
  minVips: integer('a number of VIPs', 1, 1_000_000).prefault(4),
  /** Of a drain, when no router shows another host's path. */
  lastAnnouncer: choice('a choice', ['warn', 'hold']).prefault('warn'),
});

/** Sizes of the kernel's tables: a change takes effect when the daemon starts the next time, and flows stay. */
export const capacitySchema = z.strictObject({
  vips: integer('a number of VIPs', 1, 1_000_000).prefault(10_000),
  /** Backends of all VIPs together. */
  backends: integer('a number of backends', 1, 4_000_000).prefault(100_000),
  /** Slots of all Maglev tables together, with room for one more copy of the largest. */
  tableSlots: integer('a number of slots', 1024, 268_435_456).prefault(16_777_216),
  /** Flows remembered, for each address family; about 100 bytes each. */
  flows: integer('a number of flows', 1024, 16_777_216).prefault(262_144),
  /** First packets remembered apart, for schedulers that do not answer the same twice; for each address family. */
  embryonicFlows: integer('a number of flows', 1024, 1_048_576).prefault(16_384),
  /** Connections of NAT at once, for each address family; about 300 bytes each, while there are any. */
  natFlows: integer('a number of connections', 1024, 16_777_216).prefault(131_072),
});

/** Interfaces have numbers in the kernel, and backends may need some. */
const maxInterfaces = 31;

/** What this host is, beside the VIPs that it serves. */
export const hostSchema = z.strictObject({
  /** Where VIP traffic arrives; `auto` is the interface of the default route. */
  interface: text(
    'an interface name',
    /^[^\s/:]{1,15}$/,
    '1 to 15 characters, such as eth0, or auto',
  ).prefault('auto'),
  /** Further interfaces where VIP traffic arrives. */
  interfaces: listUpTo(
    maxInterfaces,
    text('an interface name', /^(?!auto$)[^\s/:]{1,15}$/, '1 to 15 characters, such as eth1'),
    'interface names',
  ).prefault([]),
  /** `auto` is native, else generic with a warning. */
  xdpMode: choice('an XDP mode', ['auto', 'native', 'generic']).prefault('auto'),
  /** Without it nothing is announced. */
  bgp: hostBgpSchema.exactOptional(),
  /** VIPs of the hosts' own subnet, without a router. */
  vrrp: hostVrrpSchema.exactOptional(),
  /** Next hops announced; by default the interface's first global addresses. */
  nextHops: z
    .strictObject({ ipv4: ipv4AddressText.exactOptional(), ipv6: ipv6AddressText.exactOptional() })
    .prefault({}),
  /** Where /metrics listens beside the unix socket. */
  metrics: endpointText.exactOptional(),
  /** How packets are wrapped for backends behind routers. */
  tunnel: hostTunnelSchema.prefault({}),
  /** The proxy, which serves l7 VIPs. */
  proxy: hostProxySchema.prefault({}),
  /** Which hosts put the fragments of a packet together; without it each keeps what it gets. */
  fragments: hostFragmentsSchema.exactOptional(),
  /** What packets to backends with `forward: nat` come from. */
  nat: hostNatSchema.prefault({}),
  /** Sizes of the kernel's tables. */
  capacity: capacitySchema.prefault({}),
  /** Whether each CPU has a table of its own before the shared one. */
  flowTable: choice('a kind of flow table', ['shared', 'per-cpu']).prefault('shared'),
  /** New flows a second that may be stored, of the whole host; 0: any. By default what the table can hold. */
  flowInserts: integer('a number of flows a second', 0, 100_000_000).exactOptional(),
  /** A draining host withdraws all its VIPs and goes on forwarding. */
  draining: flag().prefault(false),
  withdraw: withdrawSchema.prefault({}),
  guard: guardSchema.prefault({}),
});

/** What this host is, beside the VIPs that it serves. */
export type Host = z.output<typeof hostSchema>;
