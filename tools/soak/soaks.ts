import { longTest } from './long-test.ts';
import type { Soak } from './soak.ts';

/** All soaks by name. */
export const soaks: readonly Soak[] = [
  {
    name: 'bgp-fuzz',
    summary: '1,000,000 mutated BGP messages: no exception, and what is accepted re-encodes alike',
    load: () => import('./bgp-fuzz.ts'),
  },
  {
    name: 'bgp-flood',
    summary: 'a peer announces 10,000,000 routes, 2,000 connections say nothing: memory, latency for others',
    load: () => import('./bgp-flood.ts'),
  },
  {
    name: 'bfd-fuzz',
    summary: '1,000,000 mutated BFD packets: no exception, and none that is not authentic changes a session',
    load: () => import('./bfd-fuzz.ts'),
  },
  {
    name: 'bfd',
    summary: '10 minutes of BFD at 3 x 50 ms while the daemon rebuilds 1,000 VIPs: no flap (root)',
    load: () => import('./bfd.ts'),
  },
  {
    name: 'vrrp',
    summary:
      'kills the owner of an address again and again: take-over times beside those of keepalived (root)',
    load: () => import('./vrrp.ts'),
  },
  {
    name: 'vrrp-fuzz',
    summary: '1,000,000 mutated advertisements, ARP requests and solicitations: no exception',
    load: () => import('./vrrp-fuzz.ts'),
  },
  {
    name: 'restarts',
    summary: '60 times: kill a daemon or an announcer under load in the lab; no request may fail (root)',
    load: () => import('./restarts.ts'),
  },
  {
    name: 'l7',
    summary:
      'a day of the proxy in 5 minutes: clients of every kind, changes, killed workers; nothing may be left (root)',
    load: () => import('./l7/l7-day.ts'),
  },
  {
    name: 'l7-idle',
    summary:
      '100,000 idle connections of the proxy, 20,000 in TLS: memory of each, latency, all given back (root)',
    load: () => import('./l7/l7-idle.ts'),
  },
  {
    name: 'interrupts',
    summary: 'Ctrl-C at many moments of the demo and of "lab up": nothing may be left (root)',
    load: async () => longTest('test/integration/fabric-cleanup.test.ts'),
  },
  {
    name: 'endings',
    summary:
      'VIPs leave under load with slow routers; the guard and a drain that waits for another host (root)',
    load: async () => longTest('test/integration/ending.test.ts'),
  },
  {
    name: 'bfd-cut',
    summary: 'BFD at 3 x 50 ms and 3 x 10 ms notices a cut link; prints how fast (root; a quiet machine)',
    load: async () => longTest('test/interop/bfd.test.ts'),
  },
  {
    name: 'kernel-6.1',
    summary: "all packets of the tests through the programs on Debian 12's kernel, booted by qemu (root)",
    load: async () => (await import('./kernel.ts')).packets,
  },
  {
    name: 'kernel-devices',
    summary: "the daemon with bonds, VLANs and the kernel's own tunnel devices, on that kernel (root)",
    load: async () => (await import('./kernel.ts')).devices,
  },
];
