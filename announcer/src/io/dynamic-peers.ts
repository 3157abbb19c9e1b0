import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { formatIpPrefix, parseIpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import type { Desired, DesiredPeer } from '../core/api.ts';
import { toAddress } from '../core/peer-address.ts';
import type { Peer } from './peer.ts';

/** How long a dynamic peer that has lost its session is kept, so that one which flaps is seen to. */
const keepTime = Seconds(30);

/** Peers that nobody named: whoever connects from a range (RFC 4271 section 8.2.1 leaves it to configuration). */
export interface DynamicPeers {
  /** What an address that has connected may be; undefined when it is in no range or its range is full. */
  admit(address: string): DesiredPeer | undefined;
  /** What a dynamic peer is under the present ranges; undefined when it is one no more. */
  configOf(address: string): DesiredPeer | undefined;
  /** Forgets those that have had no session for a while. */
  replaceRanges(ranges: Desired['dynamicPeers']): void;
  /** Who was admitted, and by which range. */
  admitted(): readonly (readonly [address: string, range: string])[];
  /** Admits those who were admitted elsewhere. */
  resume(admitted: ReturnType<DynamicPeers['admitted']>): void;
  /** Watches nobody any more. */
  stop(): void;
}

/** Keeps account of dynamic peers among `peers` (by canonical address); `remove` ends one of them. */
export function createDynamicPeers(
  clock: Clock,
  peers: ReadonlyMap<string, Peer>,
  remove: (address: string) => void,
): DynamicPeers {
  /** Range by address of those who were admitted. */
  const admitted = new Map<string, string>();
  let ranges: NonNullable<Desired['dynamicPeers']> = [];
  let sweeping: Timer | undefined;

  function rangeOf(text: string) {
    const address = toAddress(text);
    if (address === undefined) return undefined;
    return ranges.find(({ range }) => {
      const parsed = parseIpPrefix(range);
      return parsed.ok && prefixContains(parsed.value, address);
    });
  }

  function configOf(address: string): DesiredPeer | undefined {
    const found = admitted.has(address) ? rangeOf(address) : undefined;
    return found === undefined
      ? undefined
      : { ...found.template, address, port: 179, mode: 'passive', fromRange: true };
  }

  function sweep(): void {
    sweeping = undefined;
    for (const address of [...admitted.keys()]) {
      const status = peers.get(address)?.status();
      // One that never had a session has no flap that would have to be seen, and others wait for its place.
      const kept = status?.flaps === 0 ? 0 : keepTime;
      const idle = status === undefined || (status.state === 'Active' && status.sinceMs >= kept);
      if (!idle) continue;
      admitted.delete(address);
      if (status !== undefined) remove(address);
    }
    schedule();
  }

  function schedule(): void {
    if (admitted.size > 0 && sweeping === undefined) sweeping = clock.after(Seconds(5), sweep);
  }

  return {
    admit(address) {
      const found = rangeOf(address);
      if (found === undefined) return undefined;
      const name = rangeName(found.range);
      const used = [...admitted.values()].filter((range) => range === name).length;
      if (used >= found.limit) return undefined;
      admitted.set(address, name);
      schedule();
      return configOf(address);
    },
    configOf,
    admitted: () => [...admitted],
    resume(those) {
      admitted.clear();
      for (const [address, range] of those) admitted.set(address, range);
      schedule();
    },
    stop() {
      sweeping?.cancel();
      sweeping = undefined;
    },
    replaceRanges(next) {
      ranges = next ?? [];
      for (const address of admitted.keys()) if (rangeOf(address) === undefined) admitted.delete(address);
    },
  };
}

function rangeName(range: string): string {
  const parsed = parseIpPrefix(range);
  return parsed.ok ? formatIpPrefix(parsed.value) : range;
}
