import { stringify } from 'yaml';
import { hostsOf, type L4dHost, type LabVip, type Topology } from './topology.ts';

/**
 * A first desired state for an l4d host of the lab: its interface, its BGP speaker and the routers as peers;
 * each of the given VIPs for both families over all backends.
 */
export function starterConfig(
  topology: Topology,
  host: L4dHost,
  options: { readonly interfaceName: string; readonly vips?: readonly LabVip[] },
): string {
  const backends = hostsOf(topology, 'backend');
  const vips = (options.vips ?? []).flatMap((vip) =>
    ([4, 6] as const).map((family) => ({
      name: family === 4 ? vip.name : `${vip.name}-ipv6`,
      address: family === 4 ? vip.ipv4 : vip.ipv6,
      port: vip.port,
      protocol: 'tcp',
      check: { type: 'http', path: '/health', interval: '1s', timeout: '1s', rise: 2, fall: 2 },
      backends: backends.map((backend) => ({ address: family === 4 ? backend.ipv4 : backend.ipv6 })),
    })),
  );
  return stringify({
    version: 1,
    host: { interface: options.interfaceName, bgp: { as: host.as, routerId: host.ipv4 } },
    peers: hostsOf(topology, 'router').map((router) => ({
      address: router.ipv4,
      as: router.as,
      holdTime: `${topology.bgp.holdSeconds}s`,
    })),
    vips,
  });
}
