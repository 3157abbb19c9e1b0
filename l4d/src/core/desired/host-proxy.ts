import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { maxProxyWorkers } from '@l4d/kit/proxy-api.ts';
import { durationText, integer } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

/** The proxy of this host, which serves its l7 VIPs. */
export const hostProxySchema = z.strictObject({
  /** Processes that serve connections; by default one for each core. */
  workers: integer('a number of workers', 1, maxProxyWorkers).exactOptional(),
  /** What a worker that is replaced or ended may take to finish its connections. */
  drainAtMost: durationText(Milliseconds(0), Seconds(86_400)).prefault('30s'),
});

/** The proxy of this host, which serves its l7 VIPs. */
export type HostProxy = z.output<typeof hostProxySchema>;
