import { ownMac } from './data-plane.ts';
import { ethernet, etherType, ipv4, ipv6, join, long, protocolNumber, word } from './packet.ts';
import { endsOf, type Family, type FrameChanges, routerMac } from './world.ts';

/** One fragment as it is cut. */
export interface Cut {
  /** Where its data begins in the whole, in bytes, a multiple of 8. */
  readonly at: number;
  readonly data: Uint8Array;
  readonly isMore: boolean;
}

/** What is told of fragments beside their content. */
export interface FragmentChanges extends FrameChanges {
  readonly id?: number;
  readonly sourceMac?: string;
}

/** The usual identification of fixtures. */
export const usualId = 0x4242;

/** A transport message in pieces of `size` bytes. */
export function cut(message: Uint8Array, size: number): Cut[] {
  return Array.from({ length: Math.ceil(message.length / size) }, (_, n) => ({
    at: n * size,
    data: message.subarray(n * size, (n + 1) * size),
    isMore: (n + 1) * size < message.length,
  }));
}

/** The network packet of one fragment, from client to VIP. */
export function fragmentPacket(
  family: Family,
  protocol: number,
  { at, data, isMore }: Cut,
  changes: FragmentChanges = {},
): Uint8Array {
  const { id = usualId, sourceMac: _, tags: __, destinationMac: ___, ...network } = changes;
  const ends = endsOf(family, changes);
  if (family.name === 'ipv4') {
    const fragment = (isMore ? 0x2000 : 0) | (at / 8);
    return ipv4({ ...ends, protocol, identification: id, fragment, ...network }, data);
  }
  const header = join(word(at | (isMore ? 1 : 0)), long(id));
  const extensions = [...(changes.extensions ?? []), [protocolNumber.fragment, header] as const];
  return ipv6({ ...ends, nextHeader: protocol, ...network, extensions }, data);
}

/** Its frame, from the router. */
export function fragmentFrame(
  family: Family,
  protocol: number,
  piece: Cut,
  changes: FragmentChanges = {},
): Uint8Array {
  return ethernet(
    {
      destination: changes.destinationMac ?? ownMac,
      source: changes.sourceMac ?? routerMac,
      type: family.name === 'ipv4' ? etherType.ipv4 : etherType.ipv6,
      ...(changes.tags === undefined ? {} : { tags: changes.tags }),
    },
    fragmentPacket(family, protocol, piece, changes),
  );
}
