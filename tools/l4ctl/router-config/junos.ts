import { hostRoutesOf, isHostRoute, type RouterFacts } from './facts.ts';
import { otherPathsNote, secretNote, title } from './frr.ts';

const group = 'set protocols bgp group L4D';

/** The snippet for Junos, as `load set terminal` takes it; from its public documentation, not tested by us. */
export function junosConfig(facts: RouterFacts): string {
  const { router, host, range, bfd } = facts;
  const families = facts.families.map((family) => (family === 'ipv4' ? 'inet' : 'inet6'));
  const lines = [
    `# ${title(facts)}; from the public documentation of Junos, not tested by l4d`,
    ...secretNote(facts, '#'),
    ...vipsAlone('L4D-IN', [], facts),
    ...(facts.showsOtherPaths
      ? [`# ${otherPathsNote}`, ...vipsAlone('L4D-OUT', ['from protocol bgp'], facts), ...toldToHosts(facts)]
      : ['set policy-options policy-statement L4D-OUT then reject']),
    // For all flows, in spite of its name: by flow.
    'set policy-options policy-statement L4D-ECMP then load-balance per-packet',
    'set routing-options forwarding-table export L4D-ECMP',
    `set routing-options autonomous-system ${router.as}`,
    `${group} type ${facts.internal ? 'internal' : 'external'}`,
    ...families.map(
      (family) => `${group} family ${family} unicast prefix-limit maximum ${facts.maximumPrefixes} teardown`,
    ),
    ...(facts.extendedNextHop ? [`${group} family inet unicast extended-nexthop`] : []),
    `${group} multipath multiple-as`,
    `${group} hold-time ${facts.holdSeconds}`,
    `${group} import L4D-IN`,
    `${group} export L4D-OUT`,
    ...(facts.password === undefined
      ? []
      : [`${group} authentication-key "${facts.password.replace(/["\\]/g, '\\$&')}"`]),
    ...(facts.routerPassive ? [`${group} passive`] : []),
    ...(facts.ttlSecurityHops === undefined ? [] : [`${group} ttl 255`]),
    ...(bfd === undefined
      ? []
      : [
          `${group} bfd-liveness-detection minimum-receive-interval ${bfd.rxMs}`,
          `${group} bfd-liveness-detection transmit-interval minimum-interval ${bfd.txMs}`,
          `${group} bfd-liveness-detection multiplier ${bfd.multiplier}`,
        ]),
    `${group} graceful-restart ${facts.gracefulRestart ? 'restart-time 120' : 'disable'}`,
    ...(range === undefined
      ? [`${group} neighbor ${host.address} peer-as ${host.as}`]
      : [
          'set policy-options as-list L4D-AS members 1-4294967294',
          `${group} dynamic-neighbor L4D allow ${range}`,
          `${group} peer-as-list L4D-AS`,
        ]),
    ...(facts.ttlSecurityHops === undefined
      ? []
      : [
          '# GTSM also needs a filter on the loopback that drops port 179 with a TTL below ' +
            `${256 - facts.ttlSecurityHops}`,
        ]),
  ];
  return `${lines.join('\n')}\n`;
}

/** A policy that accepts host routes of the VIPs, on the conditions given, and nothing else. */
function vipsAlone(name: string, conditions: readonly string[], { vips4, vips6 }: RouterFacts): string[] {
  const policy = `set policy-options policy-statement ${name} term`;
  const filters = [...vips4, ...vips6].map((prefix) => {
    const { length } = hostRoutesOf(prefix);
    const match = isHostRoute(prefix) ? 'exact' : `prefix-length-range /${length}-/${length}`;
    return `from route-filter ${prefix} ${match}`;
  });
  const accepted = filters.length === 0 ? [] : [...conditions, ...filters, 'then accept'];
  return [...accepted.map((line) => `${policy} vips ${line}`), `${policy} rest then reject`];
}

/** Junos tells neither a neighbor of the AS that a path is from, nor an internal one of another, unless it is told to. */
function toldToHosts({ internal, router }: RouterFacts): string[] {
  if (!internal) return [`${group} advertise-peer-as`];
  // A cluster has an identifier of IPv4's form.
  return router.address.includes(':')
    ? [`# add the router's own identifier: ${group} cluster ROUTER-ID`]
    : [`${group} cluster ${router.address}`];
}
