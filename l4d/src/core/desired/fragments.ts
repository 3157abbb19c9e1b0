import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { duplicates } from '@l4d/kit/schema/duplicates.ts';
import { type PathProblem, problemAt } from '@l4d/kit/schema/problem.ts';
import { ipAddressText, list } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { maxFragmentHosts } from '../forwarding/fragment-hosts.ts';
import type { Vip } from './vip.ts';

const countError = (what: string) =>
  `has ${what} (allowed: 2 to ${maxFragmentHosts}, the same list on all of them)`;

/** How fragments of VIPs' packets come together. */
export const hostFragmentsSchema = z.strictObject({
  /** Addresses of all balancer hosts in the interface's subnet, this one's too. */
  hosts: list(ipAddressText, 'addresses')
    .min(2, { error: countError('fewer than 2') })
    .max(maxFragmentHosts, { error: countError(`more than ${maxFragmentHosts}`) }),
});

/** How fragments of VIPs' packets come together. */
export type HostFragments = z.output<typeof hostFragmentsSchema>;

/** Hosts are told apart by their addresses, none of which is a VIP. */
export function checkFragments(fragments: HostFragments | undefined, vips: readonly Vip[]): PathProblem[] {
  const at = ['host', 'fragments', 'hosts'];
  const hosts = fragments?.hosts ?? [];
  const vipTexts = new Set(vips.map(({ address }) => formatIpAddress(address)));
  return [
    ...duplicates(
      hosts,
      formatIpAddress,
      (host, first) =>
        problemAt(
          ['host', 'fragments', ...first.at],
          `${formatIpAddress(host)} is already hosts[${first.index}]`,
        ),
      'hosts',
    ),
    ...hosts.flatMap((host, index) =>
      vipTexts.has(formatIpAddress(host))
        ? [problemAt([...at, index], `${formatIpAddress(host)} is a VIP (allowed: the hosts' own addresses)`)]
        : [],
    ),
  ];
}
