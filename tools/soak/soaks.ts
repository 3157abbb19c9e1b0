import type { Soak } from './soak.ts';

/** All soaks by name. */
export const soaks: readonly Soak[] = [
  {
    name: 'bgp-fuzz',
    summary: '1,000,000 mutated BGP messages: no exception, and what is accepted re-encodes alike',
    load: () => import('./bgp-fuzz.ts'),
  },
  {
    name: 'restarts',
    summary: '60 times: kill a daemon or an announcer under load in the lab; no request may fail (root)',
    load: () => import('./restarts.ts'),
  },
];
