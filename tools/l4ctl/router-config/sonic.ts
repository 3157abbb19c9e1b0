import type { RouterFacts } from './facts.ts';
import { frrConfig, title } from './frr.ts';

/** FRR's snippet, and what SONiC needs around it; not tested by us on SONiC. */
export function sonicConfig(facts: RouterFacts): string {
  return `! ${title(facts)}, SONiC: the routing is FRR's, in the container bgp
! 1. Let FRR keep its own configuration: in /etc/sonic/config_db.json
!      "DEVICE_METADATA": { "localhost": { "bgp_asn": "${facts.router.as}", "docker_routing_config_mode": "split" } }
!    then: config reload (in the mode "separated", the default, bgpcfgd writes frr.conf anew at each start)
! 2. Paste what follows into: vtysh -c "configure terminal" (vtysh runs in the container), then: vtysh -c "write memory"
! 3. Hash by addresses and ports: switches do; show ip route must have all next hops of a VIP.
${frrConfig(facts)}`;
}
