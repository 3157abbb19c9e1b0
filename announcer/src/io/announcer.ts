import type { Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import {
  type AnnouncerStatus,
  canonicalAddress,
  canonicalPrefix,
  type Desired,
  type DesiredPeer,
  type Patch,
  toAddress,
} from '../core/api.ts';
import { ceaseSubcode, errorCode } from '../core/codec/iana.ts';
import { encodeShutdownText, notification } from '../core/codec/notification.ts';
import type { DesiredPrefix } from '../core/out-routes.ts';
import type { FlightRecorder } from '../core/flight-recorder.ts';
import { createDynamicPeers } from './dynamic-peers.ts';
import { createRecorders } from '../core/recorders.ts';
import { createListener, type ListenerProtection } from './listener.ts';
import { createPeer, type Peer, type PeerEnvironment } from './peer.ts';

/** All peers and what is announced to them. */
export interface Announcer {
  /**
   * Replaces the desired state; returns its revision. `fingerprint` is the request's text: an equal one is a sign
   * of life and nothing else.
   */
  put(desired: Desired, fingerprint: string): number;
  /** Whether this text is what is in force; then it counts as a sign of life. */
  isCurrent(fingerprint: string): boolean;
  heartbeat(): void;
  /** Withdraws now and forgets until the next put. */
  withdraw(prefixes: readonly string[] | 'all'): void;
  status(): AnnouncerStatus;
  revision(): number;
  /** Changes some prefixes and leaves the rest; a conflict changes nothing. */
  patch(patch: Patch): { readonly revision: number } | { readonly conflict: string };
  /** Unix time of the clock's, both in milliseconds. */
  wallTimeOf(at: number): number;
  /** The peer of an address, as it is written anywhere. */
  peer(address: string): Peer | undefined;
  /** Its flight recorder, also when it is gone. */
  record(address: string): FlightRecorder | undefined;
  /**
   * GRACEFUL_SHUTDOWN where it is configured, then Cease to all peers; settles when the sockets are gone.
   * `keepRoutes`: peers with graceful restart are left without a word instead.
   */
  shutdown(how: { readonly text?: string | undefined; readonly keepRoutes: boolean }): Promise<void>;
}

const bgpPort = 179;

const nothing: ReadonlyMap<string, DesiredPrefix> = new Map();

/** Makes an announcer that announces nothing. */
export function createAnnouncer(environment: PeerEnvironment): Announcer {
  const { clock, logger } = environment;
  const startedAt = new Date(environment.wallClock()).toISOString();
  /** By canonical address. */
  const peers = new Map<string, Peer>();
  const listener = createListener(clock, logger, (socket) => {
    const address = canonicalAddress(socket.remoteAddress ?? '');
    const peer = peers.get(address) ?? addDynamicPeer(address);
    // RFC 4271 section 8.2.1: connections of those who are not configured are not taken.
    if (peer === undefined) socket.destroy();
    else peer.accept(socket);
  });
  const dynamic = createDynamicPeers(clock, peers, (address) => {
    const peer = peers.get(address);
    peers.delete(address);
    void peer?.stop(notification(errorCode.cease, ceaseSubcode.peerDeconfigured));
  });
    recorders.release(address);
  let desired: Desired | undefined;
  let prefixes = new Map<string, DesiredPrefix>();
  const recorders = createRecorders();
  const interfaces = createInterfacePeers({
    clock,
    wallClock: environment.wallClock,
    random: environment.random,
    logger,
    isEstablished: (address) => peers.get(address)?.status().state === 'Established',
    onChange() {
      if (desired === undefined) return;
      protectListener(desired);
      for (const peer of replacePeers(desired, desired)) peer.announce(deadMan ? nothing : prefixes);
    },
  });
  let currentFingerprint: string | undefined;
  let revision = 0;
  let lastHeard: number | undefined;
  let deadMan = false;
  let deadManTimer: Timer | undefined;

  function heard(): void {
    lastHeard = clock.now();
    deadManTimer?.cancel();
    deadManTimer = undefined;
    if (desired === undefined || deadMan) return;
    const { deadManMs, owner } = desired;
    deadManTimer = clock.after(Milliseconds(deadManMs), () => {
      deadMan = true;
      revision += 1;
      currentFingerprint = undefined;
      logger.error(
        { owner, deadManMs, withdrawn: prefixes.size },
        'no sign of life: everything is withdrawn',
      );
      announceAll();
    });
  }

  function announceAll(): void {
    for (const peer of peers.values()) peer.announce(deadMan ? nothing : prefixes);
  }

  /** What the listener has to know of the peers before they connect. */
  function protectListener(next: Desired): void {
    listener.protect({
      keys: [...next.peers.flatMap(peerKey), ...(next.dynamicPeers ?? []).flatMap(rangeKey)],
      fullTtl: [...next.peers, ...(next.dynamicPeers ?? []).map(({ template }) => template)].some(
        ({ ttlSecurityHops }) => ttlSecurityHops !== undefined,
      ),
    });
  }

  function addDynamicPeer(address: string): Peer | undefined {
    const config = desired === undefined ? undefined : dynamic.admit(address);
    if (desired === undefined || config === undefined) return undefined;
    logger.info({ peer: address, as: config.as }, 'a peer of a range has connected');
    const peer = createPeer(desired.local, config, environment, recorders.take(address));
    peers.set(address, peer);
    peer.start();
    peer.announce(deadMan ? nothing : prefixes);
    return peer;
  }

  function replacePeers(next: Desired, previous: Desired | undefined): void {
    const wanted = new Map(next.peers.map((peer) => [canonicalAddress(peer.address), peer]));
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
      // RFC 4486 section 3: Peer De-configured, or Other Configuration Change when it comes back with another.
      const subcode =
        config === undefined ? ceaseSubcode.peerDeconfigured : ceaseSubcode.otherConfigurationChange;
      void peer.stop(notification(errorCode.cease, subcode));
    }
    for (const [address, config] of wanted) {
      if (peers.has(address)) continue;
      recorders.release(address);
      const peer = createPeer(next.local, config, environment, recorders.take(address));
      peers.set(address, peer);
      peer.start();
    }
  }

  return {
    isCurrent(fingerprint) {
      if (fingerprint !== currentFingerprint) return false;
      heard();
      return true;
    },
    put(next, fingerprint) {
      const previous = desired;
      // The texts of the prefixes are in their typed form: no second copy of a long list.
      desired = { ...next, prefixes: [] };
      prefixes = new Map(next.prefixes.map((prefix) => [prefix.key, prefix]));
      currentFingerprint = fingerprint;
      if (deadMan) logger.info({ owner: next.owner }, 'the owner is back: its state is announced again');
      deadMan = false;
      revision += 1;
      heard();
      const { listen } = next.local;
      listener.setPort(listen === false ? undefined : listen === true ? bgpPort : listen.port);
      protectListener(next);
      replacePeers(next, previous);
      announceAll();
      return revision;
    },
    patch({ add, remove, ifRevision }) {
      if (desired === undefined) return { conflict: 'there is no desired state yet: PUT the whole of it' };
      if (deadMan) {
        return { conflict: 'everything was withdrawn for want of a sign of life: PUT the whole state' };
      }
      if (ifRevision !== undefined && ifRevision !== revision) {
        return { conflict: `the revision is ${revision}, not ${ifRevision}` };
      }
      const changes = new Map<string, DesiredPrefix | undefined>();
      // Withdrawals first: traffic must stop coming before it goes to a worse place.
      for (const name of remove) {
        const key = canonicalKey(name);
        if (prefixes.delete(key)) changes.set(key, undefined);
      }
      for (const prefix of add) {
        prefixes.set(prefix.key, prefix);
        changes.set(prefix.key, prefix);
      }
      heard();
      if (changes.size > 0) {
        revision += 1;
        currentFingerprint = undefined;
        for (const peer of peers.values()) peer.announceChanges(changes);
      }
      return { revision };
    },
    heartbeat: heard,
    withdraw(which) {
      const names = which === 'all' ? undefined : new Set(which.map(canonicalPrefix));
      const kept = [...prefixes].filter(([key]) => names !== undefined && !names.has(key));
      if (kept.length !== prefixes.size) revision += 1;
      prefixes = new Map(kept);
      // The next put restores, also one with the same text.
      currentFingerprint = undefined;
      logger.warn({ prefixes: which }, 'withdrawn by request');
      announceAll();
    },
    status() {
      const listenError = listener.error();
      const all = [...peers.values()];
      return {
        pid: process.pid,
        startedAt,
        revision,
        owner: desired?.owner ?? null,
        lastHeardMs: lastHeard === undefined ? null : Math.round(clock.now() - lastHeard),
        deadMan,
        local: desired?.local ?? null,
        ...(listenError === undefined ? {} : { listenError }),
        peers: all.map((peer) => peer.status()),
        prefixes: Array.from(prefixes.keys(), (name) => {
          return {
            prefix: name,
            advertisedTo: all.filter((peer) => peer.isAdvertised(name)).map(({ config }) => config.address),
            notAdvertisedTo: all.flatMap((peer) => {
              const reason = peer.refusal(name);
              return reason === undefined ? [] : [{ peer: peer.config.address, reason }];
            }),
          };
        }),
      };
    },
    revision: () => revision,
    async shutdown({ text, keepRoutes }) {
      deadManTimer?.cancel();
      listener.setPort(undefined);
      // RFC 9003: the text tells the operators at the other end.
      const data = encodeShutdownText(text ?? 'announcer shut down');
      const message = notification(errorCode.cease, ceaseSubcode.administrativeShutdown, data);
      await Promise.all(
        Array.from(peers.values(), async (peer) => {
          if (!keepRoutes) await peer.drain();
          await peer.stop(message, keepRoutes);
    wallTimeOf: (at) => environment.wallClock() - clock.now() + at,
    peer: (address) => peers.get(canonicalAddress(address)),
    record: (address) => recorders.find(canonicalAddress(address)),
        }),
      );
      await environment.bfd?.shutdown(keepRoutes);
    },
  };
}

type ListenerKey = ListenerProtection['keys'][number];

function peerKey({ address, password }: DesiredPeer): ListenerKey[] {
  const parsed = toAddress(address);
  return password === undefined || parsed === undefined ? [] : [{ owner: { address: parsed }, password }];
}

function rangeKey({ range, template }: NonNullable<Desired['dynamicPeers']>[number]): ListenerKey[] {
  const parsed = parseIpPrefix(range);
  if (template.password === undefined || !parsed.ok) return [];
  const { address, length } = parsed.value;
  return [{ owner: { address, prefixLength: length }, password: template.password }];
}

/** Key of `PREFIX` or `PREFIX#PATH`. */
function canonicalKey(name: string): string {
  const [prefix = '', path] = name.split('#');
  const key = canonicalPrefix(prefix);
  return path === undefined || path === '1' ? key : `${key}#${path}`;
}

/** What of the local side is in every OPEN. */
function localKey({ local }: Desired): string {
  return `${local.as} ${local.routerId}`;
}

/** What of a peer cannot change under a running session. */
function sessionKey(peer: DesiredPeer): string {
  const {
    connectRetryMs,
    nextHop4,
    nextHop6,
    bfd,
    policy,
    gracefulShutdownMs,
    maxPrefixesReceived,
    ...rest
  } = peer;
  return JSON.stringify(Object.entries(rest).sort());
}
