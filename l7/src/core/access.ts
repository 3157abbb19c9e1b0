import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';

/** Who may connect to a listener. */
export interface AccessList {
  readonly allow: readonly IpPrefix[];
  readonly deny: readonly IpPrefix[];
}

/**
 * Whether a client may connect. The rule, in this order:
 *
 * 1. an address in any `deny` prefix may not, whatever `allow` says;
 * 2. when `allow` is empty every other address may;
 * 3. else only addresses in an `allow` prefix may. A list of IPv4 prefixes alone therefore
 *    shuts out all IPv6 clients, and the other way round.
 *
 * The length of a prefix plays no part: a narrow `allow` does not cut a hole into a wider `deny`.
 * So adding a `deny` can only shut out, and its effect is seen without reading the rest.
 */
export function mayConnect(access: AccessList, client: IpAddress): boolean {
  if (access.deny.some((prefix) => prefixContains(prefix, client))) return false;
  return access.allow.length === 0 || access.allow.some((prefix) => prefixContains(prefix, client));
}
