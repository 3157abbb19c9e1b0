import type { Clock } from '@l4d/kit/clock.ts';
import { formatIpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { Desired, DesiredPeer } from '../../core/api.ts';
import { idlePeerStatus, type PeerStatus } from '../../core/api-status.ts';
import { canonicalAddress, formatScopedAddress, parseScopedAddress } from '../../core/peer-address.ts';
import { createInterfaceSpeaker, type InterfaceSpeaker } from './interface-speaker.ts';
import { type InterfaceTable, watchInterfaces } from './interface-table.ts';

/** Peers that are there only while an interface is: unnumbered ones, and those with a link-local address. */
export interface InterfacePeers {
  /** Replaces what is wanted. */
  replace(desired: Pick<Desired, 'peers' | 'interfacePeers'>): void;
  /** Those that can be spoken to now, with their addresses. */
  present(): DesiredPeer[];
  /** Those that cannot, and why. */
  absent(): PeerStatus[];
  close(): void;
}

/** What they need from their surroundings. */
export interface InterfacePeersEnvironment {
  readonly clock: Clock;
  /** Unix time in milliseconds. */
  readonly wallClock: () => number;
  readonly random: () => number;
  readonly logger: Logger;
  /** Whether the peer of that canonical address has a session. */
  readonly isEstablished: (address: string) => boolean;
  /** `present` has another answer than before. */
  readonly onChange: () => void;
}

/** Keeps account of peers by interface. The kernel is watched only while there are such peers. */
export function createInterfacePeers(environment: InterfacePeersEnvironment): InterfacePeers {
  const { clock, random, logger } = environment;
  const speakers = new Map<string, InterfaceSpeaker>();
  let wanted: NonNullable<Desired['interfacePeers']> = [];
  let scoped: readonly DesiredPeer[] = [];
  let table: InterfaceTable | undefined;
  let told = '';
  const absentSince = new Map<string, number>();

  /** Speaks on every wanted interface that is usable, and nowhere else. */
  function follow(): void {
    const names = new Set(wanted.map((peer) => peer.interface));
    for (const [name, speaker] of speakers) {
      const found = table?.find(name);
      const isSame =
        found?.ok &&
        found.value.index === speaker.on.index &&
        sameIpAddress(found.value.linkLocal, speaker.on.linkLocal);
      if (names.has(name) && isSame) continue;
      speaker.close();
      speakers.delete(name);
    }
    for (const name of names) {
      const found = table?.find(name);
      if (!found?.ok || speakers.has(name)) continue;
      const speaker = createInterfaceSpeaker(name, found.value, {
        clock,
        random,
        logger,
        isEstablished: (address) => environment.isEstablished(formatScopedAddress({ address, zone: name })),
        onNeighbour: tell,
      });
      speakers.set(name, speaker);
    }
  }

  function tell(): void {
    const now = presentKey();
    if (now === told) return;
    told = now;
    noteAbsent();
    environment.onChange();
  }

  const allPeers = () => [
    ...wanted.map((peer) => ({ name: peer.interface, zone: peer.interface, peer })),
    ...scoped.map((peer) => {
      const name = canonicalAddress(peer.address);
      return { name, zone: zoneOf(name) ?? '', peer };
    }),
  ];

  function absentPeers() {
    const here = new Set(present().map((peer) => peer.interface ?? canonicalAddress(peer.address)));
    return allPeers().filter(({ name }) => !here.has(name));
  }

  function noteAbsent(): void {
    const names = new Set(absentPeers().map(({ name }) => name));
    for (const name of absentSince.keys()) if (!names.has(name)) absentSince.delete(name);
    for (const name of names) if (!absentSince.has(name)) absentSince.set(name, clock.now());
  }

  const presentKey = () =>
    present()
      .map(({ address, incarnation }) => `${address} ${incarnation}`)
      .join(',');

  function present(): DesiredPeer[] {
    const heard = wanted.map((peer): DesiredPeer | undefined => {
      const neighbour = speakers.get(peer.interface)?.neighbour();
      if (neighbour === undefined) return undefined;
      return { ...peer, address: formatScopedAddress({ address: neighbour, zone: peer.interface }) };
    });
    return [...heard, ...scoped].flatMap((peer) => {
      const found = peer && table?.find(zoneOf(peer.address) ?? '');
      if (peer === undefined || !found?.ok) return [];
      return [{ ...peer, incarnation: `${found.value.index} ${formatIpAddress(found.value.linkLocal)}` }];
    });
  }

  /** Why nobody is there. */
  function reasonOf(name: string): string {
    const found = table?.find(name);
    if (found?.ok === false) return found.error;
    return speakers.get(name)?.problem() ?? `the interface ${name} is being looked for`;
  }

  return {
    replace(desired) {
      wanted = desired.interfacePeers ?? [];
      scoped = desired.peers.filter(({ address }) => zoneOf(address) !== undefined);
      if (wanted.length + scoped.length === 0) {
        table?.close();
        table = undefined;
      } else {
        table ??= watchInterfaces(clock, logger, () => {
          follow();
          tell();
        });
      }
      follow();
      told = presentKey();
      noteAbsent();
    },
    present,
    absent() {
      return absentPeers().map(({ name, zone, peer }) => {
        const sinceMs = Math.round(clock.now() - (absentSince.get(name) ?? clock.now()));
        return idlePeerStatus(name, peer, reasonOf(zone), environment.wallClock(), sinceMs);
      });
    },
    close() {
      for (const speaker of speakers.values()) speaker.close();
      speakers.clear();
      table?.close();
      table = undefined;
    },
  };
}

function zoneOf(address: string): string | undefined {
  const parsed = parseScopedAddress(address);
  return parsed.ok ? parsed.value.zone : undefined;
}
