import { integer, ipPrefixText } from '@l4d/kit/schema/scalars.ts';
import type { z } from 'zod';
import { peerSchema } from './peer.ts';

/** Neighbours that nobody named: whoever connects from a range. They open the session, we do not. */
export const dynamicPeersSchema = peerSchema
  .omit({ address: true, interface: true, port: true, mode: true })
  .extend({
    range: ipPrefixText,
    /** Neighbours of the range at a time. */
    limit: integer('a number of peers', 1, 1000).prefault(100),
  });

/** Neighbours of a range. */
export type DynamicPeers = z.output<typeof dynamicPeersSchema>;
