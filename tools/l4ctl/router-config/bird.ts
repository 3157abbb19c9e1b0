import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { hostRoutesOf, isHostRoute, type RouterFacts } from './facts.ts';
import { otherPathsNote, secretNote, title } from './frr.ts';

/** The snippet for BIRD 2; tested as it is printed. */
export function birdConfig(facts: RouterFacts): string {
  const { router, host, range, bfd, password } = facts;
  const channel = (family: 'ipv4' | 'ipv6') => [
    `  ${family} {`,
    `    import filter l4d_${family};`,
    `    export ${exportRule(facts, family)};`,
    `    import limit ${facts.maximumPrefixes} action disable;`,
    ...(facts.extendedNextHop && family === 'ipv4' ? ['    extended next hop on;'] : []),
    '  };',
  ];
  const interval =
    bfd === undefined
      ? []
      : [`min rx interval ${bfd.rxMs} ms; min tx interval ${bfd.txMs} ms; multiplier ${bfd.multiplier};`];
  const lines = [
    `# ${title(facts)}`,
    ...secretNote(facts, '#'),
    ...(facts.showsOtherPaths ? [`# ${otherPathsNote}`] : []),
    ...filter('ipv4', facts.vips4),
    ...filter('ipv6', facts.vips6),
    ...(bfd === undefined || bfd.multihop ? [] : ['protocol bfd l4d_bfd {', '}']),
    'protocol bgp l4d {',
    `  local ${router.address} as ${router.as};`,
    range === undefined
      ? `  neighbor ${host.address}${facts.hostPort === undefined ? '' : ` port ${facts.hostPort}`} as ${host.as};`
      : `  neighbor range ${range} ${facts.internal ? 'internal' : 'external'};`,
    ...(range === undefined ? [] : ['  dynamic name "l4d_";']),
    // A router tells its internal neighbors nothing of each other otherwise (RFC 4456).
    ...(facts.showsOtherPaths && facts.internal ? ['  rr client;'] : []),
    `  hold time ${facts.holdSeconds};`,
    '  error wait time 1, 10;',
    ...(facts.routerPassive && range === undefined ? ['  passive on;'] : []),
    ...(password === undefined ? [] : [`  password ${quoted(password, router.address)};`]),
    ...(facts.ttlSecurityHops === undefined ? [] : securityLines(facts.ttlSecurityHops, facts.internal)),
    ...(bfd === undefined ? [] : ['  bfd {', ...interval.map((line) => `    ${line}`), '  };']),
    `  graceful restart ${facts.gracefulRestart ? 'aware' : 'off'};`,
    ...facts.families.flatMap(channel),
    '}',
    '# once in the whole configuration, so that equal paths are all used:',
    `# protocol kernel { ipv4 { export all; }; merge paths on limit ${facts.maximumPaths}; }`,
    `# protocol kernel { ipv6 { export all; }; merge paths on limit ${facts.maximumPaths}; }`,
  ];
  return `${lines.join('\n')}\n`;
}

function securityLines(hops: number, internal: boolean): string[] {
  // BIRD counts from the TTL of its hops: one hop is what a direct session has.
  return internal || hops === 1 ? ['  ttl security on;'] : [`  multihop ${hops};`, '  ttl security on;'];
}

/** Entries of a prefix set: host routes alone. */
function setEntries(prefixes: readonly string[]): string[] {
  return prefixes.map((prefix) => {
    const { length } = hostRoutesOf(prefix);
    return isHostRoute(prefix) ? prefix : `${prefix}{${length},${length}}`;
  });
}

/** What the host is told: paths of other hosts, never a route of the router's own to the same address. */
function exportRule({ showsOtherPaths, vips4, vips6 }: RouterFacts, family: 'ipv4' | 'ipv6'): string {
  const entries = setEntries(family === 'ipv4' ? vips4 : vips6);
  if (!showsOtherPaths || entries.length === 0) return 'none';
  return `where source = RTS_BGP && net ~ [ ${entries.join(', ')} ]`;
}

function filter(family: 'ipv4' | 'ipv6', prefixes: readonly string[]): string[] {
  const entries = setEntries(prefixes);
  const test = entries.length === 0 ? [] : [`  if net !~ [ ${entries.join(', ')} ] then reject;`];
  return [
    `filter l4d_${family} {`,
    ...(entries.length === 0 ? ['  reject;'] : test),
    ...(entries.length === 0
      ? []
      : [
          '  # GRACEFUL_SHUTDOWN (RFC 8326): the last choice while a host leaves.',
          '  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;',
          '  accept;',
        ]),
    '}',
  ];
}

/** BIRD has no way to write a quotation mark within a text. */
function quoted(password: string, router: string): string {
  if (!password.includes('"')) return `"${password}"`;
  throw new OperatorError(
    `peers[${router}].password has a ", which BIRD cannot be told: choose another`,
    exitCode.config,
  );
}
