import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { maxProxyWorkers } from '@l4d/kit/proxy-api.ts';
import { choice, durationText, integer, ipAddressText, list, portNumber } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { maxProxyHosts } from '../forwarding/proxy-hosts.ts';

const countError = (what: string) =>
  `has ${what} (allowed: 2 to ${maxProxyHosts}, the same list on all of them)`;

/** A host whose proxy shares the connections of l7 VIPs with others. */
const proxyHostSchema = z.strictObject({
  /** Its own address on its interface, in this host's subnet or another one. */
  address: ipAddressText,
  /** `joining`: new connections, older ones are asked for elsewhere. `draining`: only those that it has. */
  state: choice('a state', ['active', 'joining', 'draining']).prefault('active'),
});

/** The proxy of this host, which serves its l7 VIPs. */
export const hostProxySchema = z.strictObject({
  /** Processes that serve connections; by default one for each core. */
  workers: integer('a number of workers', 1, maxProxyWorkers).exactOptional(),
  /** What a worker that is replaced or ended may take to finish its connections. */
  drainAtMost: durationText(Milliseconds(0), Seconds(86_400)).prefault('30s'),
  /** Hosts whose proxies share the connections of l7 VIPs, this one too; without it each keeps what it gets. */
  hosts: list(proxyHostSchema, 'hosts')
    .min(2, { error: countError('fewer than 2') })
    .max(maxProxyHosts, { error: countError(`more than ${maxProxyHosts}`) })
    .exactOptional(),
  /** UDP port by which connections are handed over between hosts of different subnets; the same on all of them. */
  handoverPort: portNumber.prefault(6080),
});

/** The proxy of this host, which serves its l7 VIPs. */
export type HostProxy = z.output<typeof hostProxySchema>;
