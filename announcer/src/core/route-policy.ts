/** What is said of a prefix beside its next hop: texts of the API and values; defaults and filters of a peer. */
import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, parseIpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import { z } from 'zod';
import { asTrans } from './codec/iana.ts';

const uint32 = z.number().int().min(0).max(0xffff_ffff);

const communityText = z
  .string()
  .refine(
    (text) => /^\d{1,5}:\d{1,5}$/.test(text) && text.split(':').every((part) => Number(part) <= 0xffff),
    { message: 'must be two numbers up to 65535, such as 65000:1' },
  );

const largeCommunityText = z
  .string()
  .refine(
    (text) =>
      /^\d{1,10}:\d{1,10}:\d{1,10}$/.test(text) &&
      text.split(':').every((part) => Number(part) <= 0xffff_ffff),
    { message: 'must be three numbers up to 4294967295, such as 65000:1:2' },
  );

const extendedCommunityText = z.string().refine((text) => parseExtendedCommunity(text) !== undefined, {
  message: 'must be rt:AS:NUMBER, soo:AS:NUMBER, or 0x and 16 hexadecimal digits',
});

const prefixText = z.string().superRefine((text, context) => {
  const parsed = parseIpPrefix(text);
  if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error });
});

const addressText = z.string().superRefine((text, context) => {
  const parsed = parseIpAddress(text);
  if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error });
});

/** Attributes that a prefix may have. Bounds on communities leave room for prefixes in every UPDATE. */
const attributeShape = (communities: number) => ({
  med: uint32.optional(),
  /** Towards internal peers; default 100. */
  localPref: uint32.optional(),
  /** How often our AS is said beyond the once that it must be, to external peers. */
  prepend: z.number().int().min(0).max(20).optional(),
  communities: z.array(communityText).max(communities).optional(),
  /** RFC 8092. */
  largeCommunities: z.array(largeCommunityText).max(32).optional(),
  /** RFC 4360. */
  extendedCommunities: z.array(extendedCommunityText).max(32).optional(),
});

/** Attributes in the API's prefixes. */
export const prefixAttributesShape = {
  ...attributeShape(255),
  /** Share of traffic among equal paths, as the link bandwidth extended community. */
  linkBandwidth: z
    .strictObject({
      /** Megabits a second; only the ratio between hosts matters. */
      mbps: z.number().positive().max(1e12),
      /** Type 0x00, which goes through external sessions; false: 0x40 of the draft. */
      transitive: z.boolean().default(true),
    })
    .optional(),
  /** In place of the session's. */
  nextHop: addressText.optional(),
  /** Path identifier towards peers with ADD-PATH (RFC 7911); others get the path 1. */
  pathId: uint32.min(1).optional(),
};

/** Policy of a peer: defaults for what its prefixes leave open, communities for all, and which prefixes at all. */
export const peerPolicySchema = z.strictObject({
  ...attributeShape(64),
  /** Prefixes within any of these alone. */
  allow: z.array(prefixText).max(1000).optional(),
  /** None of the prefixes within these. */
  deny: z.array(prefixText).max(1000).optional(),
});

/** Policy of a peer, as the API has it. */
export type PeerPolicyText = z.output<typeof peerPolicySchema>;

/** Policy of a peer. */
export interface PeerPolicy {
  readonly attributes: RouteAttributes;
  readonly allow?: readonly IpPrefix[];
  readonly deny: readonly IpPrefix[];
}

/** What is said of a prefix. */
export interface RouteAttributes {
  readonly med?: number;
  readonly localPref?: number;
  readonly prepend?: number;
  /** RFC 1997, unsigned 32 bits each. */
  readonly communities: readonly number[];
  readonly largeCommunities?: readonly (readonly [number, number, number])[];
  /** Eight octets each. */
  readonly extendedCommunities?: readonly Uint8Array[];
  readonly linkBandwidth?: { readonly mbps: number; readonly transitive: boolean };
}

type AttributesText = z.output<z.ZodObject<typeof prefixAttributesShape>>;

/** The typed form of attributes that the schema has accepted. */
export function toRouteAttributes(text: Omit<AttributesText, 'nextHop' | 'pathId'>): RouteAttributes {
  return {
    communities: (text.communities ?? []).map((community) => {
      const [high = 0, low = 0] = community.split(':').map(Number);
      return high * 0x10000 + low;
    }),
    ...(text.med === undefined ? {} : { med: text.med }),
    ...(text.localPref === undefined ? {} : { localPref: text.localPref }),
    ...(text.prepend === undefined ? {} : { prepend: text.prepend }),
    ...(text.linkBandwidth === undefined ? {} : { linkBandwidth: text.linkBandwidth }),
    ...(text.largeCommunities === undefined
      ? {}
      : {
          largeCommunities: text.largeCommunities.map((community) => {
            const [global = 0, first = 0, second = 0] = community.split(':').map(Number);
            return [global, first, second] as const;
          }),
        }),
    ...(text.extendedCommunities === undefined
      ? {}
      : {
          extendedCommunities: text.extendedCommunities.flatMap((community) => {
            const bytes = parseExtendedCommunity(community);
            return bytes === undefined ? [] : [bytes];
          }),
        }),
  };
}

/** The typed form of a policy that the schema has accepted. */
export function toPeerPolicy(text: PeerPolicyText): PeerPolicy {
  const prefixes = (list: readonly string[]) =>
    list.flatMap((one) => {
      const parsed = parseIpPrefix(one);
      return parsed.ok ? [parsed.value] : [];
    });
  return {
    attributes: toRouteAttributes(text),
    ...(text.allow === undefined ? {} : { allow: prefixes(text.allow) }),
    deny: prefixes(text.deny ?? []),
  };
}

/** Whether a peer's policy lets a prefix out. */
export function policyAllows(policy: PeerPolicy, prefix: IpPrefix): boolean {
  const within = (range: IpPrefix) => range.length <= prefix.length && prefixContains(range, prefix.address);
  if (policy.deny.some(within)) return false;
  return policy.allow === undefined || policy.allow.some(within);
}

/** A prefix's own attributes over those of the peer; communities of both. */
export function withPolicy(own: RouteAttributes, peer: RouteAttributes | undefined): RouteAttributes {
  if (peer === undefined) return own;
  const communities = [...new Set([...own.communities, ...peer.communities])];
  const large = [...(own.largeCommunities ?? []), ...(peer.largeCommunities ?? [])];
  const extended = [...(own.extendedCommunities ?? []), ...(peer.extendedCommunities ?? [])];
  return { ...peer, ...own, communities, largeCommunities: large, extendedCommunities: extended };
}

/** Equal for equal attributes. */
export function attributesKey(attributes: RouteAttributes): string {
  const { communities, med, localPref, prepend, largeCommunities, extendedCommunities, linkBandwidth } =
    attributes;
  const plain = `${med ?? ''} ${communities.join(',')}`;
  if (
    localPref === undefined &&
    prepend === undefined &&
    largeCommunities === undefined &&
    extendedCommunities === undefined &&
    linkBandwidth === undefined
  ) {
    return plain;
  }
  const extended = extendedCommunities?.map((bytes) => bytes.join('.')).join(',') ?? '';
  const bandwidth = linkBandwidth === undefined ? '' : `${linkBandwidth.mbps}${linkBandwidth.transitive}`;
  return `${plain} ${localPref ?? ''} ${prepend ?? ''} ${largeCommunities?.join(',') ?? ''} ${extended} ${bandwidth}`;
}

/**
 * Link bandwidth (draft-ietf-idr-link-bandwidth section 2): type, sub-type 0x04, AS number of two octets, and octets
 * a second as an IEEE float.
 */
export function linkBandwidthCommunity(as: number, mbps: number, isTransitive: boolean): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  bytes[0] = isTransitive ? 0x00 : 0x40;
  bytes[1] = 0x04;
  view.setUint16(2, as > 0xffff ? asTrans : as);
  view.setFloat32(4, (mbps * 1e6) / 8);
  return bytes;
}

const extendedSubtypes: Readonly<Record<string, number>> = { rt: 0x02, soo: 0x03 };

/** Eight octets of `rt:AS:NUMBER`, `soo:AS:NUMBER` (RFC 4360, RFC 5668) or `0x...`; undefined for other text. */
export function parseExtendedCommunity(text: string): Uint8Array | undefined {
  if (/^0x[0-9a-fA-F]{16}$/.test(text)) {
    return Uint8Array.from(text.slice(2).match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  }
  const match = /^(rt|soo):(\d{1,10}):(\d{1,10})$/.exec(text);
  if (match === null) return undefined;
  const [as, number] = [Number(match[2]), Number(match[3])];
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  bytes[1] = extendedSubtypes[match[1] ?? ''] ?? 0;
  if (as <= 0xffff && number <= 0xffff_ffff) {
    view.setUint16(2, as);
    view.setUint32(4, number);
    return bytes;
  }
  // RFC 5668: an AS of four octets leaves two for the number.
  if (as > 0xffff_ffff || number > 0xffff) return undefined;
  bytes[0] = 0x02;
  view.setUint32(2, as);
  view.setUint16(6, number);
  return bytes;
}
