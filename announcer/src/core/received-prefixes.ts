/**
 * How many prefixes a peer has announced and not withdrawn. They are not imported, only counted; a withdrawal has to
 * be told from one of a prefix that was never there, so their keys are kept, up to a bound.
 */
import { formatIpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import type { NlriPrefix } from './codec/nlri.ts';
import type { ReceivedUpdate } from './codec/update.ts';

/** Prefixes of a peer that are kept track of; about 10 MB of them at most. */
export const maxTrackedPrefixes = 100_000;

/** Prefixes received on one session. */
export interface ReceivedPrefixes {
  readonly keys: Set<number | string>;
  /** Announced while the set was full: what is in it is the least that there are. */
  overflowed: boolean;
}

/** Nothing received. */
export function emptyReceivedPrefixes(): ReceivedPrefixes {
  return { keys: new Set(), overflowed: false };
}

/** Takes account of an UPDATE. RFC 7606 section 2: what is treated as withdrawn counts as withdrawn. */
export function countUpdate(received: ReceivedPrefixes, update: ReceivedUpdate): void {
  for (const prefix of update.withdrawn) received.keys.delete(keyOf(prefix));
  const add = update.handling !== 'treat-as-withdraw';
  for (const { value } of update.attributes) {
    if ((value.kind !== 'mp-reach' && value.kind !== 'mp-unreach') || value.nlri.kind !== 'prefixes')
      continue;
    for (const prefix of value.nlri.prefixes) note(received, prefix, add && value.kind === 'mp-reach');
  }
  for (const prefix of update.nlri) note(received, prefix, add);
}

function note(received: ReceivedPrefixes, prefix: NlriPrefix, add: boolean): void {
  const key = keyOf(prefix);
  if (!add) received.keys.delete(key);
  else if (received.keys.size < maxTrackedPrefixes || received.keys.has(key)) received.keys.add(key);
  else received.overflowed = true;
}

/** A number for IPv4, a short text of the significant octets for IPv6. */
function keyOf({ address, length }: NlriPrefix): number | string {
  const { bytes } = address;
  if (bytes.length === 4) {
    const number =
      (bytes[0] ?? 0) * 0x1000000 + ((bytes[1] ?? 0) << 16) + ((bytes[2] ?? 0) << 8) + (bytes[3] ?? 0);
    return number * 64 + length;
  }
  return String.fromCharCode(length, ...bytes.subarray(0, (length + 7) >> 3));
}

/** Text of a prefix that is kept track of. */
export function formatReceived(key: number | string): string {
  if (typeof key === 'number') {
    const address = Math.floor(key / 64);
    const octets = [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255];
    return `${octets.join('.')}/${key % 64}`;
  }
  const bytes = new Uint8Array(16);
  for (let i = 1; i < key.length; i++) bytes[i - 1] = key.charCodeAt(i);
  return `${formatIpAddress(ipAddressFromBytes(bytes))}/${key.charCodeAt(0)}`;
}
