import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import { parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { z } from 'zod';
import { bfdSchema } from './bfd/bfd-option.ts';
import { canonicalAddress, interfaceNamePattern, parseScopedAddress } from './peer-address.ts';
import { prefixListSchema } from './prefix-list.ts';
import { peerPolicySchema } from './route-policy.ts';
import { securityConflicts, securityShape } from './security.ts';
import { sessionConflicts, sessionShape } from './session-options.ts';
import { vrrpSchema } from './vrrp/config.ts';

const addressText = z.string().superRefine((text, context) => {
  const parsed = parseIpAddress(text);
  if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error });
});

/** As addressText; a link-local one with its interface, such as fe80::1%eth0. */
const peerAddressText = z.string().superRefine((text, context) => {
  const parsed = parseScopedAddress(text);
  if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error });
});

const addressTextOf = (family: 4 | 6) =>
  addressText.refine((text) => text.includes(':') === (family === 6), {
    message: `must be an IPv${family} address`,
  });

const prefixText = z.string().superRefine((text, context) => {
  const parsed = parseIpPrefix(text);
  if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error });
});

/** RFC 7607: AS 0 must not be used; RFC 6793: AS_TRANS stands for others; RFC 7300: the last is reserved. */
const asNumber = z
  .number()
  .int()
  .min(1)
  .max(0xffff_fffe)
  .refine((value) => value !== 23456, { message: 'AS 23456 is AS_TRANS, reserved by RFC 6793' });

/** A number, or any other AS than ours (`external`), or ours. */
const remoteAs = z.union([asNumber, z.enum(['external', 'internal'])], {
  error: 'must be an AS number from 1 to 4294967294 and not 23456, external, or internal',
});

const port = z.number().int().min(1).max(65535);

const localSchema = z.strictObject({
  as: asNumber,
  /** Dotted quad, not 0.0.0.0 (RFC 6286). */
  routerId: addressTextOf(4).refine((text) => text !== '0.0.0.0', { message: 'must not be 0.0.0.0' }),
  /** Whether peers may connect to us: port 179, or the given one. */
  listen: z.union([z.boolean(), z.strictObject({ port })]).default(true),
});

const peerSchema = z.strictObject({
  address: peerAddressText,
  port: port.default(179),
  as: remoteAs,
  /** Source address of our connections, also the only one accepted as their target. */
  localAddress: addressText.optional(),
  /** 0 (no keepalives), or 3000 to 65535000, in whole seconds on the wire (rounded up). */
  holdTimeMs: z
    .number()
    .int()
    .max(65_535_000)
    .refine((value) => value === 0 || value >= 3000, { message: 'must be 0, or 3000 or more (RFC 4271)' })
    .default(9000),
  connectRetryMs: z.number().int().min(10).max(3_600_000).default(1000),
  mode: z.enum(['active', 'passive', 'both']).default('both'),
  families: z
    .array(z.enum(['ipv4', 'ipv6']))
    .min(1)
    .default(['ipv4', 'ipv6']),
  nextHop4: addressTextOf(4).optional(),
  nextHop6: addressTextOf(6).optional(),
  /** IP TTL of what we send; default 1 to external peers (directly connected), 64 to internal ones and with `bfd.multihop`. */
  ttl: z.number().int().min(1).max(255).optional(),
  ...securityShape,
  bfd: bfdSchema.optional(),
  ...sessionShape,
  /** What goes to this peer, and how. */
  policy: peerPolicySchema.optional(),
});

/** Fields of a peer. */
export const peerShape = peerSchema.shape;

const dynamicPeersSchema = z.strictObject({
  range: z.string().superRefine((text, context) => {
    const parsed = parseIpPrefix(text);
    if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error });
  }),
  /** Peers of the range at a time. */
  limit: z.number().int().min(1).max(1000).default(100),
  /** All of a peer but where it is, and who opens the session. */
  template: peerSchema.omit({ address: true, port: true, mode: true }),
});

/**
 * An unnumbered peer: whoever advertises itself as a router on the interface (RFC 4861). IPv4 goes with IPv6 next hops
 * (RFC 8950) unless extendedNextHop is false.
 */
const interfacePeerSchema = peerSchema.omit({ address: true }).extend({
  interface: z.string().regex(interfaceNamePattern, { message: 'must be the name of an interface' }),
});

/** Body of `PUT /v1/desired`. */
export const desiredSchema = z
  .strictObject({
    owner: z.string().min(1).max(200),
    /** Without a sign of life for so long, everything is withdrawn. */
    deadManMs: z.number().int().min(100).max(2_000_000_000).default(300_000),
    /** The local side of BGP; needed with peers. */
    local: localSchema.optional(),
    peers: z.array(peerSchema).max(1000),
    /** Whoever connects from these ranges becomes a passive peer; named peers go first. */
    dynamicPeers: z.array(dynamicPeersSchema).max(100).optional(),
    /** Peers that are found by router advertisements, one an interface. */
    interfacePeers: z.array(interfacePeerSchema).max(1000).optional(),
    prefixes: prefixListSchema,
    /** False: more prefixes are about to come. Routers that keep routes over a restart are not told End-of-RIB yet. */
    complete: z.boolean().default(true),
    /** Addresses of the hosts' own subnet (RFC 9568). */
    vrrp: vrrpSchema.optional(),
  })
  .superRefine((desired, context) => {
    refuseDuplicates(
      context,
      'peers',
      'address',
      desired.peers.map(({ address }) => canonicalAddress(address)),
    );
    const { peers, interfacePeers = [], dynamicPeers = [] } = desired;
    if (desired.local === undefined && peers.length + interfacePeers.length + dynamicPeers.length > 0) {
      context.addIssue({ code: 'custom', path: ['local'], message: 'is missing: peers need it' });
    }
    refuseDuplicates(
      context,
      'interfacePeers',
      'interface',
      interfacePeers.map((peer) => peer.interface),
    );
    refuseConflicts(context, peers, (index) => ['peers', index]);
    refuseConflicts(context, interfacePeers, (index) => ['interfacePeers', index]);
    const templates = dynamicPeers.map(({ template }) => template);
    refuseConflicts(context, templates, (index) => ['dynamicPeers', index, 'template']);
    for (const [index, peer] of peers.entries()) {
      const { address, localAddress } = peer;
      if (localAddress === undefined || localAddress.includes(':') === address.includes(':')) continue;
      const message = 'must be of the same family as the address of the peer';
      context.addIssue({ code: 'custom', path: ['peers', index, 'localAddress'], message });
    }
  });

/** Body of `PATCH /v1/prefixes`: what is added or changed, and what goes; the rest stays as it is. */
export const patchSchema = z.strictObject({
  add: prefixListSchema.prefault([]),
  /** Prefixes as text; a path other than 1 as `PREFIX#PATH`. */
  remove: z
    .array(
      z
        .string()
        .refine(
          (text) => /^[^#]+(#[1-9]\d{0,9})?$/.test(text) && parseIpPrefix(text.split('#')[0] ?? '').ok,
          {
            message: 'must be a prefix, such as 203.0.113.10/32',
          },
        ),
    )
    .max(1_000_000)
    .default([]),
  /** The change is refused (409) unless this is the revision in force. */
  ifRevision: z.number().int().min(0).optional(),
});

/** Body of `PATCH /v1/prefixes`. */
export type PatchInput = z.input<typeof patchSchema>;

/** A change of prefixes that the schema has accepted. */
export type Patch = z.output<typeof patchSchema>;

/** Body of `POST /v1/shutdown`, which may be empty. */
export const shutdownSchema = z.strictObject({
  /** Told to the operators of the peers (RFC 9003): at most 255 octets. */
  text: z
    .string()
    .refine((text) => new TextEncoder().encode(text).length <= 255, { message: 'must be at most 255 octets' })
    .optional(),
  /** Peers with `continuity` are left without a word and keep the routes: a restart, not a stop. */
  keepRoutes: z.boolean().default(false),
});

/** Body of `POST /v1/shutdown`. */
export type ShutdownInput = z.input<typeof shutdownSchema>;

/** Body of `POST /v1/handover`, which may be empty. */
export const handoverSchema = z.strictObject({
  /**
   * What happens when the successor cannot take the sessions: nothing, or the announcer ends as with
   * `{ "keepRoutes": true }`, for whoever starts it anew.
   */
  otherwise: z.enum(['stay', 'restart']).default('stay'),
});

/** Body of `POST /v1/handover`. */
export type HandoverInput = z.input<typeof handoverSchema>;

/** Answer of `POST /v1/handover`. */
export interface HandoverAnswer {
  /** Of the successor. */
  readonly pid: number;
  /** Milliseconds for which no session was served. */
  readonly frozenMs: number;
}

/** Body of `POST /v1/withdraw`. */
export const withdrawSchema = z.strictObject({ prefixes: z.union([z.literal('all'), z.array(prefixText)]) });

/** What a client may send: defaults may be left out. */
export type DesiredInput = z.input<typeof desiredSchema>;

/** The desired state with all defaults. */
export type Desired = z.output<typeof desiredSchema>;

/** The local side of BGP. */
export type DesiredLocal = NonNullable<Desired['local']>;

/** A peer of the desired state. */
export type DesiredPeer = Desired['peers'][number] & {
  /** There when the peer was found on it; the address is then that of the present neighbour. */
  readonly interface?: string;
  /** There when nobody named the peer: it has connected from a range. */
  readonly fromRange?: true;
  /** Of the interface that a link-local session goes over: another one needs another session. */
  readonly incarnation?: string;
};

/** Body of `POST /v1/withdraw`. */
export type WithdrawInput = z.input<typeof withdrawSchema>;

function refuseConflicts(
  context: z.core.$RefinementCtx,
  peers: readonly Omit<z.output<typeof peerSchema>, 'address' | 'port' | 'mode'>[],
  pathOf: (index: number) => (string | number)[],
): void {
  for (const [index, peer] of peers.entries()) {
    for (const { field, message } of [...securityConflicts(peer), ...sessionConflicts(peer)]) {
      context.addIssue({ code: 'custom', path: [...pathOf(index), field], message });
    }
  }
}

function refuseDuplicates(
  context: z.core.$RefinementCtx,
  list: string,
  field: string,
  values: readonly string[],
): void {
  const seen = new Set<string>();
  for (const [index, value] of values.entries()) {
    if (seen.has(value)) {
      context.addIssue({ code: 'custom', path: [list, index, field], message: 'appears more than once' });
    }
    seen.add(value);
  }
}
