import { z } from 'zod';
import { flag, integer, ipPrefixText, list, text } from './scalars.ts';

const uint32 = 4_294_967_295;

/** Parts separated by colons, each at most `max`. */
function numbers(noun: string, count: number, max: number, example: string) {
  const pattern = new RegExp(`^\\d{1,10}(:\\d{1,10}){${count - 1}}$`);
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
const extendedCommunity = text(
  'an extended community',
  /^((rt|soo):\d{1,10}:\d{1,10}|0x[0-9a-fA-F]{16})$/,
  'rt:AS:NUMBER, soo:AS:NUMBER, or 0x and 16 hexadecimal digits',
);

const attributes = {
  /** MULTI_EXIT_DISC: lower is better to a router of one neighbouring AS. */
  med: integer('a MED', 0, uint32).exactOptional(),
  /** LOCAL_PREF, to internal peers alone. */
  localPref: integer('a local preference', 0, uint32).exactOptional(),
  /** How often our AS is said beyond once: longer paths are worse. */
  prepend: integer('a number of prepends', 0, 20).exactOptional(),
  communities: list(community, 'communities').max(64).exactOptional(),
  /** RFC 8092. */
  largeCommunities: list(largeCommunity, 'large communities').max(32).exactOptional(),
  /** RFC 4360. */
  extendedCommunities: list(extendedCommunity, 'extended communities').max(32).exactOptional(),
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

/** What a peer is told of all VIPs, where they leave it open, and of which VIPs at all. */
export const policySchema = z.strictObject({
  ...attributes,
  /** VIPs within these prefixes alone. */
  allow: list(ipPrefixText, 'prefixes').exactOptional(),
  /** None of the VIPs within these prefixes. */
  deny: list(ipPrefixText, 'prefixes').exactOptional(),
});

/** How a VIP's address is announced. */
export type Announce = z.output<typeof announceSchema>;

/** Policy of a peer. */
export type Policy = z.output<typeof policySchema>;
