import { announceSchema } from '@l4d/announcer/core/config/route-attributes.ts';
import { flag, ipPrefixText } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

/** A prefix that covers VIPs, announced while any VIP within it is to be. */
export const aggregateSchema = z.strictObject({
  prefix: ipPrefixText,
  /** VIPs within are not announced by themselves. */
  summaryOnly: flag().prefault(false),
  /** How the prefix is announced; attributes of the VIPs within stay theirs. */
  announce: announceSchema.exactOptional(),
});

/** A prefix that covers VIPs. */
export type Aggregate = z.output<typeof aggregateSchema>;
