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
  /** What was said of them, shared by those of one UPDATE. */
  readonly paths: Map<number | string, ReceivedPath>;
  /** Announced while the set was full: what is in it is the least that there are. */
  overflowed: boolean;
}

/** What tells whose path it is. */
export interface ReceivedPath {
  /** Text; undefined for what was not understood. */
  readonly nextHop: string | undefined;
  /** All numbers of the AS_PATH. */
  readonly asPath: readonly number[];
}

/** Nothing received. */
export function emptyReceivedPrefixes(): ReceivedPrefixes {
  return { keys: new Set(), paths: new Map(), overflowed: false };
}

/** Takes account of an UPDATE. RFC 7606 section 2: what is treated as withdrawn counts as withdrawn. */
export function countUpdate(received: ReceivedPrefixes, update: ReceivedUpdate): void {
  for (const prefix of update.withdrawn) forget(received, prefix);
  const isWithdrawn = update.handling === 'treat-as-withdraw';
  const asPath = update.attributes.flatMap(({ value }) =>
    value.kind === 'as-path' ? value.segments.flatMap(({ asNumbers }) => asNumbers) : [],
  );
  for (const { value } of update.attributes) {
    if ((value.kind !== 'mp-reach' && value.kind !== 'mp-unreach') || value.nlri.kind !== 'prefixes')
      continue;
    const path =
      isWithdrawn || value.kind === 'mp-unreach'
        ? undefined
        : { nextHop: nextHopText(value.nextHop), asPath };
    for (const prefix of value.nlri.prefixes) note(received, prefix, path);
  }
  if (update.nlri.length === 0) return;
  const nextHop = update.attributes.find(({ value }) => value.kind === 'next-hop')?.value;
  const text = nextHop?.kind === 'next-hop' ? formatIpAddress(nextHop.address) : undefined;
  for (const prefix of update.nlri)
    note(received, prefix, isWithdrawn ? undefined : { nextHop: text, asPath });
}

/** The global address of an MP_REACH_NLRI, which a link-local one may follow. */
function nextHopText(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return formatIpAddress(ipAddressFromBytes(bytes));
  return bytes.length === 16 || bytes.length === 32
    ? formatIpAddress(ipAddressFromBytes(bytes.subarray(0, 16)))
    : undefined;
}

function forget(received: ReceivedPrefixes, prefix: NlriPrefix): void {
  const key = keyOf(prefix);
  received.keys.delete(key);
  received.paths.delete(key);
}

function note(received: ReceivedPrefixes, prefix: NlriPrefix, path: ReceivedPath | undefined): void {
  if (path === undefined) {
    forget(received, prefix);
    return;
  }
  const key = keyOf(prefix);
  if (received.keys.size >= maxTrackedPrefixes && !received.keys.has(key)) {
    received.overflowed = true;
    return;
  }
  received.keys.add(key);
  received.paths.set(key, path);
}

/** What was announced to us of a prefix. */
export function pathOf(received: ReceivedPrefixes, prefix: NlriPrefix): ReceivedPath | undefined {
  return received.paths.get(keyOf(prefix));
}

/**
 * Whether a path is another speaker's than ours: a router may send our own back, with our AS in its path and us or
 * itself as next hop. Hosts may share an AS: then another next hop tells them apart.
 */
export function isOthersPath(path: ReceivedPath, localAs: number, ourHops: readonly string[]): boolean {
  if (path.nextHop === undefined || !path.asPath.includes(localAs)) return true;
  return !ourHops.includes(path.nextHop);
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
