import { announceSchema } from '@l4d/announcer/core/config/route-attributes.ts';
import { type Check, checkSchema } from '@l4d/health/core/check.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { proxyListenerModes } from '@l4d/kit/proxy-api.ts';
import type { JsonObject } from '@l4d/kit/schema/json.ts';
import {
  choice,
  durationText,
  flag,
  integer,
  ipAddressText,
  ipPrefixText,
  list,
  notA,
  text,
  typed,
} from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import {
  type ForwardMode,
  forwardModes,
  type VipPolicy,
  vipPolicies,
} from '../forwarding/forwarding-plan.ts';
import { derivedMac, type VxlanEnd } from '../forwarding/vxlan-end.ts';
import { isPrime, maxBackendsPerVip, maxTableSize, primeAtLeast, tableSizeFor } from '../table-size.ts';
import { type Backend, backendSchema, defaultPool, poolName } from './backend.ts';
import { destinationSchema } from './destination.ts';
import { quicSchema, schedulers } from './scheduling.ts';
import { type ClassedVip, classesSchema, isForwarded, isProxied } from './vip-classes.ts';
import { vipClientFields } from './vip-clients.ts';
import { vipLimitFields } from './vip-limits.ts';
import { vipRelayFields } from './vip-relay.ts';
import { backendTlsSchema, redirectPort, vipTlsSchema } from './vip-tls.ts';
import { vipUdpSchema } from './vip-udp.ts';
import { vrrpGroupName } from './vrrp.ts';

/** How many backends must be healthy for the VIP to be announced. */
export type MinHealthy =
  | { readonly kind: 'count'; readonly count: number }
  /** Share of the weight of all backends that are not drained, 1 to 100 percent. */
  | { readonly kind: 'share'; readonly percent: number };

const minHealthyError = notA('a number of backends', 'a count of at least 1, or a share such as "50%"');

const minHealthy = z.codec(z.union([z.int(), z.string()], { error: minHealthyError }), typed<MinHealthy>(), {
  decode(input, context): MinHealthy {
    if (typeof input === 'number' && input >= 1) return { kind: 'count', count: input };
    const percent = typeof input === 'string' ? Number(/^(\d{1,3})%$/.exec(input)?.[1] ?? 0) : 0;
    if (percent >= 1 && percent <= 100) return { kind: 'share', percent };
    context.issues.push({ code: 'custom', input, message: minHealthyError({ input }) });
    return z.NEVER;
  },
  encode: (value) => (value.kind === 'count' ? value.count : `${value.percent}%`),
});

/** A rule of an l7 VIP: requests that match go to a pool. The longest path prefix wins. */
export const routeSchema = z.strictObject({
  host: text(
    'a host name',
    /^(\*\.)?[A-Za-z0-9.-]{1,253}$/,
    'such as a.example or *.example',
  ).exactOptional(),
  pathPrefix: text('a path prefix', /^\/[\x21-\x7e]*$/, 'starts with /, no spaces').exactOptional(),
  pool: poolName,
});

/** Name of a VIP. */
export const vipName = text(
  'a name',
  /^[A-Za-z0-9:][A-Za-z0-9._:-]{0,62}$/,
  '1 to 63 letters, digits, ".", "_", ":", "-"',
);

const tableSizeHint = (value: unknown) =>
  typeof value === 'number' && value < maxTableSize ? `the next prime is ${primeAtLeast(value)}` : undefined;

const tableSize = integer('a table size', 2, maxTableSize).check((context) => {
  if (isPrime(context.value)) return;
  context.issues.push({
    code: 'custom',
    input: context.value,
    message: `${context.value} is not a table size (allowed: a prime up to ${maxTableSize})`,
    params: { hint: tableSizeHint(context.value) },
  });
});

/** Port of a VIP that has every port which no other VIP of its address and protocol has; declared as `any`. */
export const anyPort = 0;

/** A VIP's port as it is declared and shown. */
export type DeclaredPort = number | 'any';

const vipPort = z.codec(
  z.union([integer('a port', 1, 65_535), z.literal('any')], { error: notA('a port', '1 to 65535, or any') }),
  typed<number>(),
  {
    decode: (input): number => (input === 'any' ? anyPort : input),
    encode: (port) => declaredPort(port),
  },
);

/** A VIP's port as it is declared and shown. */
export function declaredPort(port: number): DeclaredPort {
  return port === anyPort ? 'any' : port;
}

/** As isForwardProxy, of what may be wrong in other fields. */
function mayLackBackends(vip: {
  readonly policy: VipPolicy;
  readonly mode?: string;
  readonly classes?: unknown;
}): boolean {
  const { policy, mode } = vip;
  const classes = Array.isArray(vip.classes)
    ? vip.classes.filter((one) => typeof one?.policy === 'string')
    : [];
  return isForwardProxy({ policy, classes, ...(mode === undefined ? {} : { mode }) });
}

/** What is said of a VIP without backends that needs some. */
export const noBackends = 'has no backends (allowed: at least one)';

/** A virtual address and what stands behind it, as declared. */
export const vipSchema = z
  .strictObject({
    name: vipName.exactOptional(),
    address: ipAddressText,
    port: vipPort,
    protocol: choice('a protocol', ['tcp', 'udp']).prefault('tcp'),
    /** forward: packets go to backends; l7: connections go to the proxy; drop: nowhere. */
    policy: choice('a policy', vipPolicies).prefault('forward'),
    /** Clients with another policy than the VIP's, by prefix of their addresses; the longest counts. */
    classes: classesSchema.exactOptional(),
    /** How packets get to the backends of a `forward` VIP; `l2` by default. */
    forward: choice('a way of forwarding', forwardModes).exactOptional(),
    enabled: flag().prefault(true),
    /** Slots of the Maglev table; a prime. Kept once chosen. */
    tableSize: tableSize.exactOptional(),
    expectedBackends: integer('a number of backends', 1, maxBackendsPerVip).exactOptional(),
    /** What happens to the TCP flows of a backend that died; UDP is always re-picked. */
    onBackendDown: choice('a choice', ['keep', 'repick', 'reset']).prefault('keep'),
    /** How a new flow finds its backend. */
    scheduler: choice('a scheduler', schedulers).prefault('maglev'),
    /** Of source-prefix: so many first bits of the client's address decide. 24 for IPv4, 56 for IPv6 by default. */
    sourcePrefixLength: integer('a prefix length', 1, 128).exactOptional(),
    /** A backend that comes back gets its weight in steps over so long. */
    slowStart: durationText(Seconds(1), Seconds(3600)).exactOptional(),
    /** false: no flow table, every packet by the hash. */
    stateful: flag().prefault(true),
    /** UDP: QUIC packets go to the server that their connection id names. */
    quic: quicSchema.exactOptional(),
    minHealthy: minHealthy.prefault(1),
    /** 900 s for TCP, 90 s for UDP by default. */
    idleTimeout: durationText(Seconds(1), Seconds(86_400)).exactOptional(),
    check: checkSchema.exactOptional(),
    /** At least one, but for a forward proxy, which has none. */
    backends: list(backendSchema, 'backends, at least one')
      .max(maxBackendsPerVip, { error: `has too many backends (allowed: at most ${maxBackendsPerVip})` })
      .prefault([]),
    /** How the address is announced to routers. */
    announce: announceSchema.exactOptional(),
    /** Group of host.vrrp that the address moves with, in place of routes. */
    vrrpGroup: vrrpGroupName.exactOptional(),
    /** l7 only: clients let in; deny wins, an empty allow lets everyone in. */
    access: z
      .strictObject({
        allow: list(ipPrefixText, 'prefixes').prefault([]),
        deny: list(ipPrefixText, 'prefixes').prefault([]),
      })
      .exactOptional(),
    /** l7 only: what is looked at; `http` by default, `udp` of protocol udp. */
    mode: choice('a mode', proxyListenerModes).exactOptional(),
    /** Modes connect and socks only: what clients may reach. */
    destinations: list(destinationSchema, 'destinations').exactOptional(),
    /** l7 only, mode udp: bounds of its sessions. */
    udp: vipUdpSchema.exactOptional(),
    /** l7 only: which requests go to which pool. */
    routes: list(routeSchema, 'routes').exactOptional(),
    /** l7 only: what comes is TLS. */
    tls: vipTlsSchema.exactOptional(),
    /** l7 only: connections to backends are TLS. */
    backendTls: backendTlsSchema.exactOptional(),
    /** l7 only: every request is sent to https at this port. */
    redirectToHttps: redirectPort.exactOptional(),
    ...vipClientFields,
    ...vipRelayFields,
    ...vipLimitFields,
  })
  .refine((vip) => vip?.backends?.length !== 0 || vip.destinations !== undefined || mayLackBackends(vip), {
    path: ['backends'],
    error: noBackends,
    // Told together with what is wrong in other fields, which may then be missing.
    when: () => true,
  });

/** A VIP as declared: what was left out is still missing. */
export type DeclaredVip = z.output<typeof vipSchema>;

/** A rule of an l7 VIP. */
export type Route = z.output<typeof routeSchema>;

/** Clients let in by an l7 VIP; deny wins, an empty allow lets everyone in. */
export type Access = NonNullable<DeclaredVip['access']>;

/** A VIP with everything filled in. `access` and `routes` are there exactly when some clients' policy is l7. */
export type Vip = DeclaredVip & Required<Pick<DeclaredVip, 'name' | 'tableSize' | 'idleTimeout' | 'check'>>;

/** What makes a VIP the same to the packet path. */
interface VipIdentity {
  readonly address: IpAddress;
  readonly port: number;
  readonly protocol: string;
}

// The same values are asked for again and again; VIPs are immutable.
const vipKeys = new WeakMap<VipIdentity, string>();

/** Text of what makes a VIP the same: `203.0.113.10-80-tcp`; also the name of one that has none. */
export function vipKeyText(vip: VipIdentity): string {
  const known = vipKeys.get(vip);
  if (known !== undefined) return known;
  const text = `${formatIpAddress(vip.address)}-${declaredPort(vip.port)}-${vip.protocol}`;
  vipKeys.set(vip, text);
  return text;
}

/**
 * Fills in what was left out. The table size of `previous`, the same VIP as stored before, is kept:
 * a resize moves most flows, so it happens only when it is declared.
 */
export function completeVip(declared: DeclaredVip, previous?: Vip): Vip {
  const expected = declared.expectedBackends ?? declared.backends.length;
  const l7 = isProxied(declared)
    ? {
        access: declared.access ?? { allow: [], deny: [] },
        routes: declared.routes ?? [],
        ...(declared.protocol === 'udp' && declared.mode === undefined ? { mode: 'udp' as const } : {}),
      }
    : {};
  return {
    ...(previous === undefined ? declared : withoutFilledIn(declared, previous)),
    name: declared.name ?? vipKeyText(declared),
    tableSize: declared.tableSize ?? previous?.tableSize ?? tableSizeFor(expected),
    idleTimeout: declared.idleTimeout ?? (declared.protocol === 'tcp' ? Seconds(900) : Seconds(90)),
    check: declared.check ?? defaultCheck(declared.protocol),
    ...l7,
  };
}

/** Without what completeVip filled in while some clients went to the proxy, once none does any more. */
export function withoutFilledIn(declared: DeclaredVip, previous: Vip): DeclaredVip {
  if (isProxied(declared) || !isProxied(previous)) return declared;
  const { access, routes, mode, ...rest } = declared;
  const isSaid = access !== undefined && access.allow.length + access.deny.length > 0;
  return {
    ...rest,
    ...(isSaid ? { access } : {}),
    ...(routes !== undefined && routes.length > 0 ? { routes } : {}),
    ...(mode === undefined || mode === 'udp' ? {} : { mode }),
  };
}

// VIPs are immutable and edits keep those that they do not touch, so one edit encodes one VIP.
const encodedVips = new WeakMap<Vip, JsonObject>();

/** The JSON value of a VIP. Treat it as immutable: it is kept and given again. */
export function encodeVip(vip: Vip): JsonObject {
  const known = encodedVips.get(vip);
  if (known !== undefined) return known;
  const encoded = z.encode(vipSchema, vip);
  encodedVips.set(vip, encoded);
  return encoded;
}

/** The check of a VIP that declares none. */
export function defaultCheck(protocol: 'tcp' | 'udp'): Check {
  return checkSchema.decode({ type: protocol });
}

/** Port on which a backend is reached: its own (l7, nat) or the VIP's. */
export function backendPort(vip: Vip, backend: Backend): number {
  return backend.port ?? vip.port;
}

/** Pool that a backend of an l7 VIP belongs to. */
export function backendPool(backend: Backend): string {
  return backend.pool ?? defaultPool;
}

/** Where a backend with `forward: vxlan` is; undefined for others. */
export function vxlanEndOf(vip: Vip, backend: Backend): VxlanEnd | undefined {
  const { vxlan, address } = backend;
  if (forwardModeOf(vip, backend) !== 'vxlan' || vxlan === undefined) return undefined;
  return { remote: vxlan.remote, vni: vxlan.vni, mac: vxlan.mac ?? derivedMac(address) };
}

/** The address that packets to a backend of a `forward` VIP are routed by: its own, or that of the machine it is in. */
export function routedAddress(vip: Vip, backend: Backend): IpAddress {
  return vxlanEndOf(vip, backend)?.remote ?? backend.address;
}

/** Whether the proxy connects clients of a VIP to what they ask for: there are no backends. */
export function isForwardProxy(vip: ClassedVip & { readonly mode?: string }): boolean {
  return isProxied(vip) && (vip.mode === 'connect' || vip.mode === 'socks');
}

/** Backends that clients of policy `forward` reach: all, but where others go to the proxy those of the pool `default`. */
export function isDirect(vip: Vip, backend: Backend): boolean {
  return isForwarded(vip) && (!isProxied(vip) || backendPool(backend) === defaultPool);
}

/** How packets get to a backend of a `forward` VIP. */
export function forwardModeOf(vip: Vip, backend: Backend): ForwardMode {
  return backend.forward ?? vip.forward ?? 'l2';
}
