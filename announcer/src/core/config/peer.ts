import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import {
  choice,
  durationText,
  ipAddressText,
  list,
  portNumber,
  text,
  textCodec,
} from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import {
  formatPeerAddress,
  interfaceNamePattern,
  type PeerAddress,
  parsePeerAddress,
} from '../peer-address.ts';
import { remoteAs } from './as-number.ts';
import { bfdSchema } from './peer-bfd.ts';
import { peerOptionsShape } from './peer-options.ts';

const peerAddressText = textCodec<PeerAddress>(
  "a neighbour's address",
  'IPv4, IPv6, or link-local IPv6 with its interface such as fe80::1%eth0',
  '192.0.2.1',
  parsePeerAddress,
  formatPeerAddress,
  (address) =>
    /^::ffff:[\d.]+$/.test(formatPeerAddress(address))
      ? `"${formatPeerAddress(address)}" is an IPv4-mapped address (allowed: its IPv4 form)`
      : undefined,
);

/** A BGP neighbour: at an address, or whoever advertises itself as a router on an interface. */
export const peerSchema = z.strictObject({
  address: peerAddressText.exactOptional(),
  /** Unnumbered: in place of an address. */
  interface: text(
    'an interface name',
    interfaceNamePattern,
    '1 to 15 characters, such as eth0',
  ).exactOptional(),
  as: remoteAs,
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

/** What a neighbour is called: its address or its interface. */
export function declaredPeerName(peer: Pick<Peer, 'address' | 'interface'>): string {
  return peer.interface ?? (peer.address === undefined ? '' : formatPeerAddress(peer.address));
}
