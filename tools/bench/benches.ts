import type { BenchResult } from './core/rows.ts';
import type { Selection } from './core/selection.ts';

/** A bench: measures, and tells its progress line by line. */
export interface Bench {
  readonly name: string;
  readonly summary: string;
  /** Loads the bench's module on demand, so that one bench needs nothing of the others. */
  load(): Promise<{ run(progress: (line: string) => void, selection: Selection): Promise<BenchResult> }>;
  /** Whether it can be asked for a part of it. */
  readonly selective?: boolean;
}

/** All benches by name. */
export const benches: readonly Bench[] = [
  {
    name: 'datapath',
    summary: 'the next three, one after the other',
    load: () => import('./datapath.ts'),
  },
  {
    name: 'datapath-packets',
    summary: 'nanoseconds a packet of the XDP program, against the cost of measuring',
    load: () => import('./datapath-packets.ts'),
  },
  {
    name: 'datapath-frames',
    summary: 'frames a second through one core, against swapping MAC addresses, the kernel and nftables DNAT',
    load: () => import('./datapath-frames.ts'),
  },
  {
    name: 'datapath-tcp',
    summary: 'connections a second and bulk by way of the balancer, against the kernel and nftables DNAT',
    load: () => import('./datapath-tcp.ts'),
  },
  {
    name: 'relay',
    summary:
      'bulk and new connections through one proxy core that looks at nothing, against HAProxy and nginx',
    load: () => import('./relay.ts'),
    selective: true,
  },
  {
    name: 'bgp',
    summary: 'milliseconds from a change to the router, against BIRD, GoBGP and ExaBGP',
    load: () => import('./bgp.ts'),
  },
  {
    name: 'control',
    summary: 'what loading, a change, a restart and memory cost at 10, 1,000 and 10,000 VIPs',
    load: () => import('./control.ts'),
  },
  {
    name: 'sidecar',
    summary: 'requests lost and time to withdraw when a replica fails, against ExaBGP with its health check',
    load: () => import('./sidecar.ts'),
  },
  {
    name: 'l7',
    summary:
      'HTTP/1.1 requests a second and their processor time through one core, against nginx and HAProxy',
    load: () => import('./l7.ts'),
    selective: true,
  },
];
