import { integer, notA } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { asTrans } from '../codec/iana.ts';

/**
 * An autonomous system number (RFC 6793) that a network may have, as the announcer takes it: RFC 7607 keeps 0,
 * RFC 7300 the last.
 */
export const asNumber = integer('an AS number', 1, 4_294_967_294).refine((value) => value !== asTrans, {
  error: notA('an AS number', `1 to 4294967294, but ${asTrans} stands for AS numbers of four octets`),
});

/** The AS of a neighbour: a number, `external` (any but ours) or `internal` (ours). */
export const remoteAs = z.union([asNumber, z.enum(['external', 'internal'])], {
  error: notA('an AS number', `1 to 4294967294 without ${asTrans}, external, or internal`),
});
