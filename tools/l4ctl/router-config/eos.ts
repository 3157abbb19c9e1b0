import { hostRoutesOf, isHostRoute, type RouterFacts } from './facts.ts';
import { otherPathsNote, secretNote, title } from './frr.ts';

/** The snippet for Arista EOS, from its public documentation; not tested by us. */
export function eosConfig(facts: RouterFacts): string {
  const { router, host, range, bfd, password } = facts;
  const neighbor = range === undefined ? host.address : 'L4D';
  const perNeighbor = [
    ...(range === undefined ? [`remote-as ${host.as}`] : []),
    `timers ${Math.max(1, Math.floor(facts.holdSeconds / 3))} ${facts.holdSeconds}`,
    ...(password === undefined ? [] : [`password 0 ${password}`]),
    ...(facts.routerPassive && range === undefined ? ['passive'] : []),
    ...(facts.ttlSecurityHops === undefined ? [] : [`ttl maximum-hops ${facts.ttlSecurityHops}`]),
    ...(bfd === undefined
      ? []
      : ['bfd', `bfd interval ${bfd.txMs} min-rx ${bfd.rxMs} multiplier ${bfd.multiplier}`]),
    ...(facts.gracefulRestart ? ['graceful-restart-helper'] : ['no graceful-restart-helper']),
    `maximum-routes ${facts.maximumPrefixes}`,
    'route-map L4D-IN in',
    'route-map L4D-OUT out',
    ...(facts.showsOtherPaths && facts.internal ? ['route-reflector-client'] : []),
  ];
  const list = (command: string, name: string, any: string, prefixes: readonly string[]) => [
    `${command} prefix-list ${name}`,
    ...(prefixes.length === 0
      ? [`   seq 10 deny ${any}`]
      : prefixes.map((prefix, index) => {
          const { length } = hostRoutesOf(prefix);
          return `   seq ${(index + 1) * 10} permit ${prefix}${isHostRoute(prefix) ? '' : ` eq ${length}`}`;
        })),
    '!',
  ];
  const lines = [
    `! ${title(facts)}; from the public documentation of EOS, not tested by l4d`,
    ...secretNote(facts, '!'),
    ...list('ip', 'L4D-VIPS4', '0.0.0.0/0 le 32', facts.vips4),
    ...list('ipv6', 'L4D-VIPS6', '::/0 le 128', facts.vips6),
    ...permitVips('L4D-IN'),
    ...(facts.showsOtherPaths
      ? [`! ${otherPathsNote}`, ...permitVips('L4D-OUT')]
      : ['route-map L4D-OUT deny 10']),
    '!',
    ...(range === undefined
      ? []
      : ['peer-filter L4D-AS', '   10 match as-range 1-4294967294 result accept', '!']),
    `router bgp ${router.as}`,
    `   maximum-paths ${facts.maximumPaths} ecmp ${facts.maximumPaths}`,
    '   bgp bestpath as-path multipath-relax',
    ...(range === undefined
      ? []
      : ['   neighbor L4D peer group', `   bgp listen range ${range} peer-group L4D peer-filter L4D-AS`]),
    ...perNeighbor.map((line) => `   neighbor ${neighbor} ${line}`),
    ...facts.families.flatMap((family) => [
      `   address-family ${family}`,
      `      neighbor ${neighbor} activate`,
      ...(facts.extendedNextHop && family === 'ipv4'
        ? [`      neighbor ${neighbor} next-hop address-family ipv6 originate`]
        : []),
    ]),
    '!',
  ];
  return `${lines.join('\n')}\n`;
}

function permitVips(name: string): string[] {
  return [
    `route-map ${name} permit 10`,
    '   match ip address prefix-list L4D-VIPS4',
    `route-map ${name} permit 20`,
    '   match ipv6 address prefix-list L4D-VIPS6',
  ];
}
