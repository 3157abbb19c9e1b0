import { flag, integer, ipPrefixText, listUpTo, notA, text } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { parseExtendedCommunity } from '../route-policy.ts';

const uint32 = 4_294_967_295;

/** Parts separated by colons, each at most `max`. */
function numbers(noun: string, count: number, max: number, example: string) {
  const digits = `\\d{1,${String(max).length}}`;
  const pattern = new RegExp(`^${digits}(:${digits}){${count - 1}}$`);
  const allowed = `${count} numbers up to ${max}, such as ${example}`;
  return text(noun, pattern, allowed).refine(
    (value) => value.split(':').every((part) => Number(part) <= max),
    {
      error: ({ input }) => `"${String(input)}" is not ${noun} (allowed: ${allowed})`,
    },
  );
}

const community = numbers('a community', 2, 65_535, '65000:1');
const largeCommunity = numbers('a large community', 3, uint32, '65000:1:2');
const extendedNoun = 'an extended community';
const extendedAllowed = 'rt:AS:NUMBER, soo:AS:NUMBER with 6 octets for both, or 0x and 16 hexadecimal digits';
const extendedCommunity = text(
  extendedNoun,
  /^((rt|soo):\d{1,10}:\d{1,10}|0x[0-9a-fA-F]{16})$/,
  extendedAllowed,
).refine((value) => parseExtendedCommunity(value) !== undefined, {
  error: notA(extendedNoun, extendedAllowed),
});

const attributes = {
  /** MULTI_EXIT_DISC: lower is better to a router of one neighbouring AS. */
  med: integer('a MED', 0, uint32).exactOptional(),
  /** LOCAL_PREF, to internal peers alone. */
  localPref: integer('a local preference', 0, uint32).exactOptional(),
  /** How often our AS is said beyond once: longer paths are worse. */
  prepend: integer('a number of prepends', 0, 20).exactOptional(),
  communities: listUpTo(64, community, 'communities').exactOptional(),
  /** RFC 8092. */
  largeCommunities: listUpTo(32, largeCommunity, 'large communities').exactOptional(),
  /** RFC 4360. */
  extendedCommunities: listUpTo(32, extendedCommunity, 'extended communities').exactOptional(),
};

/** How a VIP's address is announced. VIPs that share an address must agree. */
export const announceSchema = z.strictObject({
  ...attributes,
  /** This host's share among equal paths, as link bandwidth; only the ratio between hosts matters. */
  linkBandwidth: z
    .strictObject({
      mbps: integer('a bandwidth in Mbit/s', 1, 100_000_000),
      /** Type 0x00, which FRR takes from external peers; false: 0x40 of the draft. */
      transitive: flag().prefault(true),
    })
    .exactOptional(),
});

const policyPrefixes = listUpTo(1000, ipPrefixText, 'prefixes');

/** What a peer is told of all VIPs, where they leave it open, and of which VIPs at all. */
export const policySchema = z.strictObject({
  ...attributes,
  /** VIPs within these prefixes alone. */
  allow: policyPrefixes.exactOptional(),
  /** None of the VIPs within these prefixes. */
  deny: policyPrefixes.exactOptional(),
});

/** How a VIP's address is announced. */
export type Announce = z.output<typeof announceSchema>;

/** Policy of a peer. */
export type Policy = z.output<typeof policySchema>;
