import type { Peer } from '@l4d/announcer/core/config/peer.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import type { Host } from './host.ts';
import type { Vip } from './vip.ts';
import { isForwarded } from './vip-classes.ts';

/** The shortest that is taken for the range of a site's VIPs: shorter ones are slips of the pen that attract others' traffic. */
const shortest = { 4: 16, 6: 32 } as const;

/** The parts of a desired state that aggregates may get in the way of. */
interface Parts {
  readonly host: Host;
  readonly peers: readonly Peer[];
  readonly vips: readonly Vip[];
}

/** Rules of the covering prefixes. */
export function checkAggregates(state: Parts): PathProblem[] {
  const aggregates = state.host.bgp?.aggregates ?? [];
  const problems: PathProblem[] = [];
  for (const [index, { prefix }] of aggregates.entries()) {
    const at: PathSegment[] = ['host', 'bgp', 'aggregates', index, 'prefix'];
    const text = formatIpPrefix(prefix);
    const bits = prefix.address.bytes.length * 8;
    const least = shortest[prefix.address.family];
    if (prefix.length < least || prefix.length >= bits) {
      const what = prefix.length < least ? 'covers too much' : 'is one address, which its VIP announces';
      problems.push(
        problemAt(at, `${text} ${what} (allowed: IPv${prefix.address.family} /${least} to /${bits - 1})`),
      );
      continue;
    }
    const other = aggregates.findIndex(
      (one, place) =>
        place !== index &&
        prefixContains(one.prefix, prefix.address) &&
        one.prefix.length <= prefix.length &&
        (one.prefix.length < prefix.length || place < index),
    );
    if (other >= 0) {
      const covering = formatIpPrefix((aggregates[other] as (typeof aggregates)[number]).prefix);
      problems.push(
        problemAt(
          at,
          `${text} lies within aggregates[${other}], ${covering}`,
          'a VIP is covered by one prefix',
        ),
      );
    }
    const inside = needed(state).find(({ address }) => prefixContains(prefix, address));
    if (inside !== undefined) {
      problems.push(
        problemAt(
          at,
          `${text} covers ${formatIpAddress(inside.address)}, ${inside.role}`,
          'routers would send the packets of that address here, where they end: choose a range of VIPs alone',
        ),
      );
    }
  }
  return problems;
}

/** Addresses that must stay reachable. */
function needed({ host, peers, vips }: Parts): { readonly address: IpAddress; readonly role: string }[] {
  const hops = [host.nextHops, ...peers.map((peer) => peer.nextHops ?? {})].flatMap(({ ipv4, ipv6 }) =>
    [ipv4, ipv6].filter((hop) => hop !== undefined),
  );
  return [
    ...peers.flatMap(({ address }) => (address === undefined ? [] : [{ address, role: 'a peer' }])),
    ...hops.map((address) => ({ address, role: 'a next hop' })),
    ...vips
      .filter(isForwarded)
      .flatMap((vip) =>
        vip.backends.map(({ address }) => ({ address, role: `a backend of VIP "${vip.name}"` })),
      ),
  ];
}
