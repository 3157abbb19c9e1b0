import { hostsOf, type RouterHost, type Topology } from './topology.ts';

/** Configuration of zebra: forwarding on, log where told (`file PATH` or `syslog`). */
export function zebraConfig(router: RouterHost, log: string): string {
  return `hostname ${router.name}
log ${log}
ip forwarding
ipv6 forwarding
`;
}

/**
 * Configuration of bgpd: one session a host of the fabric, both address families in it. The l4d hosts are
 * known by address and connect to the router; any other speaker in the fabric's subnet may as well.
 */
export function bgpdConfig(topology: Topology, router: RouterHost, log: string): string {
  const { keepaliveSeconds, holdSeconds, maximumPaths } = topology.bgp;
  const neighbours = hostsOf(topology, 'l4d').map((host) => ` neighbor ${host.ipv4} peer-group L4D\n`);
  const family = (name: string) => ` address-family ${name} unicast
  neighbor L4D activate
  maximum-paths ${maximumPaths}
 exit-address-family
`;
  return `hostname ${router.name}
log ${log}
router bgp ${router.as}
 bgp router-id ${router.ipv4}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 bgp listen limit 200
 neighbor L4D peer-group
 neighbor L4D remote-as external
 neighbor L4D passive
 neighbor L4D timers ${keepaliveSeconds} ${holdSeconds}
 neighbor L4D timers connect 1
 neighbor L4D advertisement-interval 0
${neighbours.join('')} bgp listen range ${topology.fabric.ipv4} peer-group L4D
 bgp listen range ${topology.fabric.ipv6} peer-group L4D
${family('ipv4')}${family('ipv6')}exit
`;
}

/** One file for all daemons, as Debian's service reads it from /etc/frr/frr.conf. */
export function integratedFrrConfig(topology: Topology, router: RouterHost): string {
  const bgpd = bgpdConfig(topology, router, 'syslog informational');
  const withoutHeader = bgpd.split('\n').slice(2).join('\n');
  return `frr defaults traditional\n${zebraConfig(router, 'syslog informational')}${withoutHeader}`;
}
