import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { choice, durationText, ipAddressText, list, portNumber } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { asNumber } from './as-number.ts';
import { bfdSchema } from './peer-bfd.ts';
import { peerOptionsShape } from './peer-options.ts';

/** A BGP neighbour. */
export const peerSchema = z.strictObject({
  address: ipAddressText,
  as: asNumber,
  port: portNumber.prefault(179),
  /** Source address of the session; the kernel's choice by default. */
  localAddress: ipAddressText.exactOptional(),
  /** RFC 4271 section 4.2: at least 3 s, in whole seconds. */
  holdTime: durationText(Seconds(3), Seconds(65_535)).prefault('9s'),
  connectRetry: durationText(Milliseconds(100), Seconds(300)).prefault('1s'),
  /** Who opens the session: we (active), the peer (passive) or whoever is first. */
  mode: choice('a peer mode', ['active', 'passive', 'both']).prefault('both'),
  families: list(choice('a family', ['ipv4', 'ipv6']), 'ipv4, ipv6').prefault(['ipv4', 'ipv6']),
  /** Detection of a dead path long before the hold time. */
  bfd: bfdSchema.exactOptional(),
  ...peerOptionsShape,
});

/** A BGP neighbour. */
export type Peer = z.output<typeof peerSchema>;
