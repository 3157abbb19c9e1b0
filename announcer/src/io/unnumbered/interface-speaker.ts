import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import type { Datagram } from '@l4d/kit/ffi/datagram.ts';
import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import {
  advertisementPause,
  answerPause,
  hear,
  type Neighbourhood,
  solicitationPause,
} from '../../core/interface-neighbour.ts';
import {
  type DiscoveryFault,
  decodeDiscovery,
  encodeAdvertisement,
  encodeSolicitation,
} from '../../core/router-discovery.ts';
import { type DiscoverySocket, openDiscoverySocket } from './discovery-socket.ts';
import type { UsableInterface } from './interface-table.ts';

/** What a speaker needs from its surroundings. */
export interface SpeakerEnvironment {
  readonly clock: Clock;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  /** Whether the session with the neighbour is up: then nobody takes its place. */
  readonly isEstablished: (neighbour: IpAddress) => boolean;
  readonly onNeighbour: () => void;
}

/** Router discovery on one interface, for as long as it is usable. */
export interface InterfaceSpeaker {
  readonly on: UsableInterface;
  neighbour(): IpAddress | undefined;
  /** What is not as it should be; undefined when there is nothing to say. */
  problem(): string | undefined;
  close(): void;
}

/** Messages looked at in a second; more are read and forgotten. */
const messagesPerSecond = 20;
const retryTime = Seconds(1);

/** Begins to advertise ourselves on an interface and to listen for its router. */
export function createInterfaceSpeaker(
  name: string,
  on: UsableInterface,
  environment: SpeakerEnvironment,
): InterfaceSpeaker {
  const { clock, random } = environment;
  const logger = environment.logger.child({ interface: name });
  const faults = new Map<DiscoveryFault | 'too-many', number>();
  let neighbourhood: Neighbourhood = {};
  let socket: DiscoverySocket | undefined;
  let problem: string | undefined;
  let advertised = 0;
  let solicited = 0;
  let lastAdvertisedAt = Number.NEGATIVE_INFINITY;
  let budget = { second: 0, left: messagesPerSecond };
  let advertiseTimer: Timer | undefined;
  let answerTimer: Timer | undefined;
  let solicitTimer: Timer | undefined;

  function open(): void {
    try {
      socket = openDiscoverySocket(name, on.index, onDatagram);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      problem = `no router advertisements on ${name}: ${error.message}`;
      logger.error(problem);
      advertiseTimer = clock.after(retryTime, open);
      return;
    }
    problem = undefined;
    advertise();
    solicitTimer = clock.after(solicitationPause(0, random()), solicit);
  }

  function advertise(): void {
    advertiseTimer?.cancel();
    answerTimer?.cancel();
    answerTimer = undefined;
    send(encodeAdvertisement(on.mac), 'nodes');
    advertised += 1;
    lastAdvertisedAt = clock.now();
    advertiseTimer = clock.after(advertisementPause(advertised, random()), advertise);
  }

  function solicit(): void {
    if (neighbourhood.peer !== undefined) return;
    send(encodeSolicitation(on.mac), 'routers');
    solicited += 1;
    solicitTimer = clock.after(solicitationPause(solicited, random()), solicit);
  }

  function send(bytes: Uint8Array, to: 'nodes' | 'routers'): void {
    const error = socket?.send(bytes, to);
    problem = error === undefined ? undefined : `cannot send on ${name}: ${error}`;
  }

  function onDatagram({ bytes, source, ttl }: Datagram): void {
    const now = clock.now();
    const second = Math.floor(now / 1000);
    if (budget.second !== second) budget = { second, left: messagesPerSecond };
    if (budget.left === 0) {
      count('too-many');
      return;
    }
    budget.left -= 1;
    const message = decodeDiscovery(bytes, source, ttl);
    if (!message.ok) {
      count(message.error);
      return;
    }
    if (sameIpAddress(source, on.linkLocal)) return;
    if (message.value.kind === 'solicitation') {
      answerTimer ??= clock.after(answerPause(now - lastAdvertisedAt, random()), advertise);
      return;
    }
    const before = neighbourhood;
    const { mac } = message.value;
    const heard = { address: source, at: now, ...(mac === undefined ? {} : { mac }) };
    const isEstablished = before.peer !== undefined && environment.isEstablished(before.peer.address);
    neighbourhood = hear(before, heard, isEstablished);
    const { peer, other } = neighbourhood;
    if (other !== undefined && before.other === undefined) {
      const others = { peer: peer && formatIpAddress(peer.address), other: formatIpAddress(other.address) };
      logger.warn(others, 'more than one router advertises itself');
    }
    if (peer === undefined || (before.peer !== undefined && sameIpAddress(peer.address, before.peer.address)))
      return;
    logger.info({ neighbour: formatIpAddress(peer.address) }, 'a router has advertised itself');
    environment.onNeighbour();
  }

  function count(fault: DiscoveryFault | 'too-many'): void {
    const seen = faults.get(fault) ?? 0;
    faults.set(fault, seen + 1);
    if (seen === 0)
      logger.warn({ fault }, 'a router discovery message is not taken; further ones are counted');
  }

  open();
  return {
    on,
    neighbour: () => neighbourhood.peer?.address,
    problem() {
      const { other, peer } = neighbourhood;
      if (problem !== undefined || peer === undefined) {
        const dropped = [...faults].map(([fault, times]) => `${fault} ${times}`).join(', ');
        const heard = `no router has advertised itself on ${name}${dropped === '' ? '' : ` (dropped: ${dropped})`}`;
        return problem ?? heard;
      }
      if (other === undefined) return undefined;
      return `another router is on ${name}: ${formatIpAddress(other.address)}`;
    },
    close() {
      for (const timer of [advertiseTimer, answerTimer, solicitTimer]) timer?.cancel();
      socket?.close();
      socket = undefined;
    },
  };
}
