import { type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, ipPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import type { SourceRefusal } from '@l4d/kit/proxy-api.ts';

/** Addresses that no host has towards another. */
const unusable = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/127',
  '::ffff:0:0/96',
  'fe80::/10',
  'ff00::/8',
].map(ipPrefix);

/** What is asked of a backend that is to be spoken to from a client's address. */
export interface SourcedBackend {
  readonly address: IpAddress;
  /** Subnets that it is in, where its answers find their clients past the proxy. */
  readonly subnets: readonly IpPrefix[];
}

/** Why a connection to a backend cannot come from a client's address; undefined: it can. */
export function refuseSource(
  client: IpAddress,
  { address, subnets }: SourcedBackend,
): Exclude<SourceRefusal, 'ports' | 'kernel'> | undefined {
  if (client.family !== address.family) return 'family';
  if (sameIpAddress(client, address) || unusable.some((prefix) => prefixContains(prefix, client)))
    return 'address';
  return subnets.some((prefix) => prefixContains(prefix, client)) ? 'subnet' : undefined;
}
