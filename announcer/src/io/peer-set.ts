import { Seconds } from '@l4d/kit/duration.ts';
import { InvariantError } from '@l4d/kit/errors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { Desired, DesiredLocal, DesiredPeer } from '../core/api.ts';
import type { PeerStatus } from '../core/api-status.ts';
import { ceaseSubcode, errorCode } from '../core/codec/iana.ts';
import { notification } from '../core/codec/notification.ts';
import type { FlightRecorder } from '../core/flight-recorder.ts';
import type { AnnouncerSnapshot, PeerSnapshot } from '../core/handover/snapshot.ts';
import { canonicalAddress } from '../core/peer-address.ts';
import type { PrefixTable } from '../core/prefix-table.ts';
import { createRecorders } from '../core/recorders.ts';
import { localKey, sessionKey } from '../core/session-identity.ts';
import { createDynamicPeers } from './dynamic-peers.ts';
import { createListener } from './listener.ts';
import { listenerProtection } from './listener-protection.ts';
import { createPeer, type Peer, type PeerEnvironment, type ResumeContext } from './peer.ts';
import { createRefusedConnections } from './refused-connections.ts';
import { createInterfacePeers } from './unnumbered/interface-peers.ts';

/** Who the peers are: declared ones, those of interfaces and of ranges, and the port at which they connect. */
export interface PeerSet {
  /** Those that there are now. */
  all(): Peer[];
  count(): number;
  /** The peer of an address or interface, as it is written anywhere. */
  find(name: string): Peer | undefined;
  /** Its flight recorder, also when it is gone. */
  record(name: string): FlightRecorder | undefined;
  /** Opens, moves or closes the port, as declared. */
  listen(desired: Desired | undefined): void;
  /** Ends the peers that are no longer wanted and starts those that are; returns the latter, which were told nothing. */
  replace(desired: Desired): Peer[];
  /** Peers of interfaces that are not there, and why. */
  absent(): PeerStatus[];
  /** Why the port could not be opened. */
  listenError(): string | undefined;
  /** Connections of those who are no peers. */
  refused(): number;
  /** As Peer.freeze, of all; nothing happens any more. Throws SyscallError. */
  freeze(take: (descriptor: number) => number): Pick<AnnouncerSnapshot, 'listeners' | 'dynamic' | 'peers'>;
  /** In place of `listen` and `replace`: goes on where another was frozen. */
  resume(
    desired: Desired,
    from: Pick<AnnouncerSnapshot, 'listeners' | 'dynamic'>,
    peers: readonly PeerSnapshot[],
    context: ResumeContext,
  ): void;
  /** Nobody comes any more; those that there are stay. */
  close(): void;
}

const bgpPort = 179;

/** Routers advertise themselves within less (RFC 4861 section 10). */
const findTime = Seconds(30);

/** Without peers, and without a port. */
export function createPeerSet(environment: PeerEnvironment, table: PrefixTable): PeerSet {
  const { clock, logger } = environment;
  let desired: Desired | undefined;
  /** By canonical address. */
  const peers = new Map<string, Peer>();
  const recorders = createRecorders();
  /** Peers of interfaces that a predecessor has found, and this process not yet. */
  const found = new Map<string, DesiredPeer>();
  const refused = createRefusedConnections(clock, logger);
  const listener = createListener(clock, logger, (socket) => {
    const address = canonicalAddress(socket.remoteAddress ?? '');
    const peer = peers.get(address) ?? addDynamicPeer(address);
    // RFC 4271 section 8.2.1: connections of those who are not configured are not taken.
    if (peer !== undefined) return peer.accept(socket);
    refused.refuse(address);
    socket.destroy();
  });
  const dynamic = createDynamicPeers(clock, peers, (address) => {
    const peer = peers.get(address);
    peers.delete(address);
    recorders.release(address);
    void peer?.stop(notification(errorCode.cease, ceaseSubcode.peerDeconfigured));
  });
  const interfaces = createInterfacePeers({
    clock,
    wallClock: environment.wallClock,
    random: environment.random,
    logger,
    isEstablished: (address) => peers.get(address)?.status().state === 'Established',
    onChange() {
      if (desired === undefined) return;
      protectListener(desired);
      for (const peer of replacePeers(desired, desired)) peer.announce();
    },
  });

  /** Those that can be spoken to now; found before a handover, they are there until they should have been heard. */
  function presentPeers(): DesiredPeer[] {
    const present = interfaces.present();
    const names = new Set(present.flatMap((peer) => [peer.address, peer.interface ?? peer.address]));
    const left = [...found].filter(([key, peer]) => !names.has(key) && !names.has(peer.interface ?? key));
    return [...present, ...left.map(([, peer]) => peer)];
  }

  function forgetFound(): void {
    found.clear();
    if (desired !== undefined) for (const peer of replacePeers(desired, desired)) peer.announce();
  }

  /** Key of a peer by its address or interface. */
  function keyOf(name: string): string {
    const unnumbered = interfaces.present().find((peer) => peer.interface === name);
    return canonicalAddress(unnumbered?.address ?? name);
  }

  /** Those with an address: declared ones, and those that can be spoken to now. */
  const named = (next: Desired) => [
    ...next.peers.filter(({ address }) => !address.includes('%')),
    ...presentPeers(),
  ];

  const protectListener = (next: Desired) => listener.protect(listenerProtection(next, named(next)));

  function addDynamicPeer(address: string): Peer | undefined {
    const config = desired === undefined ? undefined : dynamic.admit(address);
    if (desired === undefined || config === undefined) return undefined;
    logger.info({ peer: address, as: config.as }, 'a peer of a range has connected');
    const peer = createPeer(localOf(desired), config, environment, recorders.take(address), table);
    peers.set(address, peer);
    peer.start();
    peer.announce();
    return peer;
  }

  /** Ends the peers that are no longer wanted and starts those that are; returns the latter. */
  function replacePeers(next: Desired, previous: Desired | undefined): Peer[] {
    const wanted = new Map(named(next).map((peer) => [canonicalAddress(peer.address), peer]));
    const started: Peer[] = [];
    dynamic.replaceRanges(next.dynamicPeers);
    for (const address of peers.keys()) {
      const config = dynamic.configOf(address);
      if (config !== undefined && !wanted.has(address)) wanted.set(address, config);
    }
    const localChanged = previous !== undefined && localKey(previous) !== localKey(next);
    for (const [address, peer] of [...peers]) {
      const config = wanted.get(address);
      if (config !== undefined && !localChanged && sessionKey(config) === sessionKey(peer.config)) {
        peer.reconfigure(config);
        continue;
      }
      peers.delete(address);
      recorders.release(address);
      // RFC 4486 section 3: Peer De-configured, or Other Configuration Change when it comes back with another.
      const subcode =
        config === undefined ? ceaseSubcode.peerDeconfigured : ceaseSubcode.otherConfigurationChange;
      void peer.stop(notification(errorCode.cease, subcode));
    }
    for (const [address, config] of wanted) {
      if (peers.has(address)) continue;
      const peer = createPeer(localOf(next), config, environment, recorders.take(address), table);
      peers.set(address, peer);
      peer.start();
      started.push(peer);
    }
    return started;
  }

  return {
    all: () => [...peers.values()],
    count: () => peers.size,
    find: (name) => peers.get(keyOf(name)),
    record: (name) => recorders.find(keyOf(name)),
    listen(next) {
      listener.setPort(next === undefined ? undefined : portOf(next));
    },
    replace(next) {
      const previous = desired;
      desired = next;
      interfaces.replace(next);
      protectListener(next);
      return replacePeers(next, previous);
    },
    absent: interfaces.absent,
    listenError: listener.error,
    refused: refused.count,
    freeze(take) {
      dynamic.stop();
      const frozen = Array.from(peers, ([key, peer]) => {
        const { config } = peer;
        const snapshot = peer.freeze(take);
        return key.includes('%') ? { ...snapshot, key, found: config } : { ...snapshot, key };
      });
      const listeners = listener
        .freeze()
        .map(({ host, descriptor }) => ({ host, descriptor: take(descriptor) }));
      peers.clear();
      interfaces.close();
      return { listeners, dynamic: dynamic.admitted(), peers: frozen };
    },
    resume(next, from, snapshots, context) {
      const { descriptors } = context;
      desired = next;
      dynamic.replaceRanges(next.dynamicPeers);
      dynamic.resume(from.dynamic);
      found.clear();
      for (const peer of snapshots) if (peer.found !== undefined) found.set(peer.key, peer.found);
      if (found.size > 0) clock.after(findTime, forgetFound);
      interfaces.replace(next);
      protectListener(next);
      const configs = new Map(next.peers.map((peer) => [canonicalAddress(peer.address), peer]));
      for (const peer of snapshots) {
        const config = configs.get(peer.key) ?? dynamic.configOf(peer.key) ?? found.get(peer.key);
        // Its secret cannot be had any more.
        if (config === undefined) {
          for (const { descriptor } of peer.connections) closeFd(descriptors[descriptor] ?? -1);
          continue;
        }
        const resumed = createPeer(localOf(next), config, environment, recorders.take(peer.key), table);
        peers.set(peer.key, resumed);
        resumed.resume(peer, context);
      }
      const sockets = from.listeners.flatMap(({ host, descriptor }) => {
        const fd = descriptors[descriptor];
        return fd === undefined ? [] : [{ host, descriptor: fd }];
      });
      listener.resume(portOf(next), sockets);
    },
    close() {
      listener.setPort(undefined);
      interfaces.close();
    },
  };
}

function portOf({ local }: Desired): number | undefined {
  const listen = local?.listen ?? false;
  if (listen === false) return undefined;
  return listen === true ? bgpPort : listen.port;
}

/** The local side, which a desired state with peers has. */
function localOf({ local }: Desired): DesiredLocal {
  if (local === undefined) throw new InvariantError('there are peers, but no local side');
  return local;
}
