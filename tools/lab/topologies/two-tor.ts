import type { Topology } from '../core/topology.ts';

/** One client behind two top-of-rack routers; two l4d hosts and three backends in one subnet. */
export const twoTor: Topology = {
  name: 'two-tor',
  description: 'a client, two routers, two l4d hosts and three backends in one subnet',
  fabric: { ipv4: '10.77.0.0/24', ipv6: 'fd77::/64', mtu: 1500 },
  bgp: { keepaliveSeconds: 1, holdSeconds: 3, maximumPaths: 64 },
  vipRanges: ['203.0.113.0/24', '2001:db8:77::/64'],
  vips: [
    { name: 'web', ipv4: '203.0.113.10', ipv6: '2001:db8:77::10', port: 80 },
    { name: 'app', ipv4: '203.0.113.20', ipv6: '2001:db8:77::20', port: 80 },
  ],
  hosts: [
    {
      role: 'client',
      name: 'client',
      ipv4: '198.51.100.7',
      ipv6: '2001:db8:c::7',
      ranges: ['198.51.100.0/24', '2001:db8:c::/64'],
      links: [
        {
          router: 'tor1',
          ipv4: '10.77.101.2/30',
          ipv6: 'fd77:0:0:101::2/64',
          routerIpv4: '10.77.101.1/30',
          routerIpv6: 'fd77:0:0:101::1/64',
        },
        {
          router: 'tor2',
          ipv4: '10.77.102.2/30',
          ipv6: 'fd77:0:0:102::2/64',
          routerIpv4: '10.77.102.1/30',
          routerIpv6: 'fd77:0:0:102::1/64',
        },
      ],
    },
    { role: 'router', name: 'tor1', ipv4: '10.77.0.1', ipv6: 'fd77::1', as: 65000 },
    { role: 'router', name: 'tor2', ipv4: '10.77.0.2', ipv6: 'fd77::2', as: 65000 },
    { role: 'l4d', name: 'lb1', ipv4: '10.77.0.11', ipv6: 'fd77::11', as: 65011 },
    { role: 'l4d', name: 'lb2', ipv4: '10.77.0.12', ipv6: 'fd77::12', as: 65012 },
    { role: 'backend', name: 'b1', ipv4: '10.77.0.21', ipv6: 'fd77::21', ports: [80, 8080] },
    { role: 'backend', name: 'b2', ipv4: '10.77.0.22', ipv6: 'fd77::22', ports: [80, 8080] },
    { role: 'backend', name: 'b3', ipv4: '10.77.0.23', ipv6: 'fd77::23', ports: [80, 8080] },
  ],
};
