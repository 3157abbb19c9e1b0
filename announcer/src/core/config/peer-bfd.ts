import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { choice, durationText, flag, integer } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { asciiSecretText, secretFileText } from './secret.ts';

const interval = durationText(Milliseconds(10), Seconds(60));

/** Bidirectional forwarding detection of the path to a neighbour (RFC 5880): its loss ends the session at once. */
export const bfdSchema = z.strictObject({
  /** Fastest that we send. */
  txInterval: interval.prefault('300ms'),
  /** Fastest that we take. */
  rxInterval: interval.prefault('300ms'),
  /** So many packets in a row may be lost. */
  multiplier: integer('a multiplier', 1, 255).prefault(3),
  /** RFC 5883. */
  multihop: flag().prefault(false),
  /** With multihop. */
  minTtl: integer('a TTL', 1, 255).exactOptional(),
  /** Loops back the neighbour's echo packets. */
  echo: flag().prefault(false),
  /** No BGP session before BFD is up. */
  strict: flag().prefault(false),
  auth: z
    .strictObject({
      type: choice('an authentication type', [
        'simple',
        'keyed-md5',
        'meticulous-keyed-md5',
        'keyed-sha1',
        'meticulous-keyed-sha1',
      ]),
      keyId: integer('a key id', 0, 255).prefault(1),
      /** RFC 5880 section 4.3: at most 16 octets; the same bound for all types. */
      key: asciiSecretText('a key', 16).exactOptional(),
      /** In place of the key: the file that has it. */
      keyFile: secretFileText.exactOptional(),
    })
    .exactOptional(),
});

/** BFD of a neighbour. */
export type PeerBfd = z.output<typeof bfdSchema>;
