import { hostRoutesOf, isHostRoute, type RouterFacts } from './facts.ts';

/** The snippet for FRR's vtysh or frr.conf; tested as it is printed. */
export function frrConfig(facts: RouterFacts): string {
  const { router, host, range, bfd, password } = facts;
  const neighbor = range === undefined ? host.address : 'L4D';
  const keepalive = Math.max(1, Math.floor(facts.holdSeconds / 3));
  const perNeighbor = [
    ...(password === undefined ? [] : [`password ${password}`]),
    `timers ${keepalive} ${facts.holdSeconds}`,
    'timers connect 5',
    ...(facts.routerPassive ? ['passive'] : []),
    ...(facts.hostPort === undefined ? [] : [`port ${facts.hostPort}`]),
    ...(facts.ttlSecurityHops === undefined || facts.internal
      ? []
      : [`ttl-security hops ${facts.ttlSecurityHops}`]),
    ...(bfd === undefined ? [] : ['bfd', 'bfd profile L4D']),
    ...(facts.gracefulRestart ? ['graceful-restart-helper'] : []),
    ...(facts.extendedNextHop ? ['capability extended-nexthop'] : []),
  ];
  const lines = [
    `! ${title(facts)}`,
    ...secretNote(facts, '!'),
    ...prefixLists(facts),
    ...permitVips('L4D-IN'),
    ...(facts.showsOtherPaths
      ? [`! ${otherPathsNote}`, ...permitVips('L4D-OUT')]
      : ['route-map L4D-OUT deny 10', 'exit']),
    ...bfdNote(facts),
    ...(bfd === undefined
      ? []
      : [
          'bfd',
          ' profile L4D',
          `  detect-multiplier ${bfd.multiplier}`,
          `  receive-interval ${bfd.rxMs}`,
          `  transmit-interval ${bfd.txMs}`,
          ' exit',
          'exit',
        ]),
    `router bgp ${router.as}`,
    ' bgp bestpath as-path multipath-relax',
    ...(range === undefined
      ? [` neighbor ${neighbor} remote-as ${host.as}`]
      : [' neighbor L4D peer-group', ` neighbor L4D remote-as ${facts.internal ? 'internal' : 'external'}`]),
    ...perNeighbor.map((line) => ` neighbor ${neighbor} ${line}`),
    ...(range === undefined ? [] : [` bgp listen range ${range} peer-group L4D`]),
    ...facts.families.flatMap((family) => [
      ` address-family ${family} unicast`,
      `  neighbor ${neighbor} activate`,
      `  neighbor ${neighbor} route-map L4D-IN in`,
      `  neighbor ${neighbor} route-map L4D-OUT out`,
      // A router tells its internal neighbors nothing of each other otherwise (RFC 4456).
      ...(facts.showsOtherPaths && facts.internal ? [`  neighbor ${neighbor} route-reflector-client`] : []),
      `  neighbor ${neighbor} maximum-prefix ${facts.maximumPrefixes}`,
      `  maximum-paths ${facts.internal ? 'ibgp ' : ''}${facts.maximumPaths}`,
      ' exit-address-family',
    ]),
    'exit',
  ];
  return `${lines.join('\n')}\n`;
}

/** Why anything is exported to a host at all. */
export const otherPathsNote =
  "the host waits for another host's path before it leaves (lastAnnouncer: hold): it is told those to VIPs";

function permitVips(name: string): string[] {
  return [
    `route-map ${name} permit 10`,
    ' match ip address prefix-list L4D-VIPS4',
    'exit',
    `route-map ${name} permit 20`,
    ' match ipv6 address prefix-list L4D-VIPS6',
    'exit',
  ];
}

/** A comment about the secret that the snippet lacks. */
export function secretNote({ missingSecret }: RouterFacts, mark: '!' | '#'): string[] {
  return missingSecret === undefined ? [] : [`${mark} ${missingSecret}`];
}

/** Which router, and for whom: the first line of each snippet. */
export function title({ router, host, range }: RouterFacts): string {
  const whom = range === undefined ? `l4d host ${host.address} (AS ${host.as})` : `l4d hosts of ${range}`;
  return `router ${router.address} (AS ${router.as}), for ${whom}`;
}

/**
 * With ttl-security FRR counts a declared neighbor as one over several hops, and so does its BFD; one of a range it
 * does not (8.4).
 */
function bfdNote({ bfd, ttlSecurityHops, range }: RouterFacts): string[] {
  if (bfd === undefined || ttlSecurityHops === undefined || ttlSecurityHops > 1) return [];
  if (range !== undefined && bfd.multihop) {
    return [
      '! FRR runs BFD on UDP port 3784 with neighbors of a range: the l4d hosts leave out bfd.multihop',
    ];
  }
  if (bfd.multihop || range !== undefined) return [];
  return [
    '! FRR runs BFD on UDP port 4784 (multihop) where a neighbor has ttl-security: it will not come up until the',
    '! peer has bfd: { multihop: true, minTtl: 255 } on the l4d host',
  ];
}

/** An empty list would let everything in: nothing of a family is denied. */
function prefixLists({ vips4, vips6 }: RouterFacts): string[] {
  const list = (command: string, name: string, any: string, prefixes: readonly string[]) =>
    prefixes.length === 0
      ? [`${command} prefix-list ${name} seq 5 deny ${any}`]
      : prefixes.map((prefix, index) => {
          const { length } = hostRoutesOf(prefix);
          const bound = isHostRoute(prefix) ? '' : ` ge ${length}`;
          return `${command} prefix-list ${name} seq ${(index + 1) * 5} permit ${prefix}${bound}`;
        });
  return [
    ...list('ip', 'L4D-VIPS4', '0.0.0.0/0 le 32', vips4),
    ...list('ipv6', 'L4D-VIPS6', '::/0 le 128', vips6),
  ];
}
