import { Resolver } from 'node:dns/promises';
import { type IpAddress, ipAddress } from '@l4d/kit/ip-address.ts';

/** Finds the addresses of a name; empty or a rejection: there are none. */
export type ResolveName = (name: string) => Promise<readonly IpAddress[]>;

/** Of a server that does not answer; it is asked twice. */
const timeoutMs = 2000;

/**
 * Asks the name servers of /etc/resolv.conf (not /etc/hosts: what a client of a forward proxy names is no
 * business of this machine's own names) for A and AAAA records; the addresses of IPv4 first.
 */
export function createResolver(): ResolveName {
  const resolver = new Resolver({ timeout: timeoutMs, tries: 2 });
  return async (name) => {
    const found = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    return found.flatMap((one) => (one.status === 'fulfilled' ? one.value.map(ipAddress) : []));
  };
}
