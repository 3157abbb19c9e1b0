import type { Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { InvariantError } from '@l4d/kit/errors.ts';
import { duplicate } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { formatIpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import {
  type AnnouncerSummary,
  canonicalAddress,
  type Desired,
  type DesiredLocal,
  type DesiredPeer,
  describeProblems,
  desiredSchema,
  idlePeerStatus,
  type OtherPath,
  type Patch,
  type PeerStatus,
  type PrefixesStatus,
  type PrefixStatus,
  peerName,
  toAddress,
} from '../core/api.ts';
import { ceaseSubcode, errorCode } from '../core/codec/iana.ts';
import { encodeShutdownText, notification } from '../core/codec/notification.ts';
import type { FlightRecorder } from '../core/flight-recorder.ts';
import { prefixInputs } from '../core/handover/prefix-text.ts';
import type { AnnouncerSnapshot } from '../core/handover/snapshot.ts';
import { slotsByPlace } from '../core/handover/told-routes.ts';
import {
  assign,
  changedSince,
  emptyPrefixTable,
  findSlot,
  keyAt,
  prefixAt,
  release,
  replaceAll,
  slotOfPrefix,
  stampAll,
} from '../core/prefix-table.ts';
import { createRecorders } from '../core/recorders.ts';
import { announcerVersion } from '../core/version.ts';
import { withdrawFromGroups } from '../core/vrrp/withdrawal.ts';
import { createDynamicPeers } from './dynamic-peers.ts';
import { firstKeepalives } from './handover/first-keepalives.ts';
import { createListener, type ListenerKey } from './listener.ts';
import { createPeer, type Peer, type PeerEnvironment } from './peer.ts';
import { tcpAoKey } from './peer-settings.ts';
import { createRefusedConnections } from './refused-connections.ts';
import { createSecretFiles, type FilledPeers } from './secret-files.ts';
import { createInterfacePeers } from './unnumbered/interface-peers.ts';

/** All peers and what is announced to them. */
export interface Announcer {
  /**
   * Replaces the desired state; returns its revision. `fingerprint` stands for the request's text: an equal one is a sign
   * of life and nothing else.
   */
  put(desired: Desired, fingerprint: string): number;
  /** Whether the text of this fingerprint is what is in force; then it counts as a sign of life. */
  isCurrent(fingerprint: string): boolean;
  heartbeat(): void;
  /** Withdraws now and forgets until the next put. */
  withdraw(prefixes: readonly string[] | 'all'): void;
  status(): AnnouncerSummary;
  /** What the peers were told of each prefix, or of those that have changed since; costs as much as they are. */
  prefixes(since?: number): PrefixesStatus;
  revision(): number;
  /** Paths of other speakers to what we announce, as far as peers show them to us. */
  otherPaths(): readonly OtherPath[];
  /** Whether some peer has been told of the prefix, and not yet that it is gone. */
  isTold(prefix: string): boolean;
  /** Unix time of the clock's, both in milliseconds. */
  wallTimeOf(at: number): number;
  /** The peer of an address, as it is written anywhere. */
  peer(address: string): Peer | undefined;
  /** Its flight recorder, also when it is gone. */
  record(address: string): FlightRecorder | undefined;
  /** Changes some prefixes and leaves the rest; a conflict changes nothing. */
  patch(patch: Patch): { readonly revision: number } | { readonly conflict: string };
  /**
   * Lets go of all sessions and listening sockets without a sign on them, for a successor: until `resume` nothing
   * happens any more. Throws SyscallError.
   */
  freeze(): FrozenAnnouncer;
  /** Goes on where this announcer or another was frozen; the reason why not, and then nothing has happened. */
  prepare(frozen: FrozenAnnouncer): Result<{ resume(elapsedMs: number): void }, string>;
  /**
   * GRACEFUL_SHUTDOWN where it is configured, then Cease to all peers; settles when the sockets are gone.
   * `keepRoutes`: peers with graceful restart are left without a word instead.
   */
  shutdown(how: { readonly text?: string | undefined; readonly keepRoutes: boolean }): Promise<void>;
}

/** An announcer between two processes. */
export interface FrozenAnnouncer {
  readonly snapshot: AnnouncerSnapshot;
  /** What the snapshot counts; whoever has them owns them. */
  readonly descriptors: readonly number[];
}

const bgpPort = 179;

/** Time for a router's BGP to read our last word before its BFD tells it that we are gone. */
const adminDownAfter = Milliseconds(300);

/** Routers advertise themselves within less (RFC 4861 section 10). */
const findTime = Seconds(30);

/** Makes an announcer that announces nothing. */
export function createAnnouncer(environment: PeerEnvironment): Announcer {
  const { clock, logger } = environment;
  let startedAt = new Date(environment.wallClock()).toISOString();
  let handovers = 0;
  /** By canonical address. */
  const peers = new Map<string, Peer>();
  const listener = createListener(clock, logger, (socket) => {
    const address = canonicalAddress(socket.remoteAddress ?? '');
    const peer = peers.get(address) ?? addDynamicPeer(address);
    // RFC 4271 section 8.2.1: connections of those who are not configured are not taken.
    if (peer !== undefined) return peer.accept(socket);
    refused.refuse(address);
    socket.destroy();
  });
  const refused = createRefusedConnections(clock, logger);
  const dynamic = createDynamicPeers(clock, peers, (address) => {
    const peer = peers.get(address);
    peers.delete(address);
    recorders.release(address);
    void peer?.stop(notification(errorCode.cease, ceaseSubcode.peerDeconfigured));
  });
  const recorders = createRecorders();
  /** Peers of interfaces that a predecessor has found, and this process not yet. */
  const found = new Map<string, DesiredPeer>();
  /** As declared: secrets are where it says. */
  let declared: Desired | undefined;
  let withheld: FilledPeers['withheld'] = [];
  const secrets = createSecretFiles(clock, logger, () => {
    if (declared === undefined) return;
    const { desired: filled } = takeSecrets(declared);
    for (const peer of takePeers(filled, filled)) peer.announce();
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
  let desired: Desired | undefined;
  const table = emptyPrefixTable();
  let currentFingerprint: string | undefined;
  let revision = 0;
  let lastHeard: number | undefined;
  let deadMan = false;
  let deadManTimer: Timer | undefined;

  function heard(atMs = clock.now()): void {
    lastHeard = atMs;
    deadManTimer?.cancel();
    deadManTimer = undefined;
    if (desired === undefined || deadMan) return;
    const { deadManMs, owner } = desired;
    const remaining = Math.max(0, Math.round(deadManMs - (clock.now() - atMs)));
    deadManTimer = clock.after(Milliseconds(remaining), () => {
      deadMan = true;
      table.muted = true;
      stampAll(table);
      revision += 1;
      currentFingerprint = undefined;
      logger.error({ owner, deadManMs, withdrawn: table.size }, 'no sign of life: everything is withdrawn');
      announceAll();
      tellVrrp();
    });
  }

  /** What virtual routers are told; nothing without anybody who knows what this host can serve. */
  function tellVrrp(): void {
    environment.vrrp?.configure(deadMan ? undefined : declared?.vrrp, declared?.deadManMs ?? 0);
  }

  function findName(name: string): number | undefined {
    const [text = '', path] = name.split('#');
    const parsed = parseIpPrefix(text);
    return parsed.ok ? findSlot(table, parsed.value, path === undefined ? 1 : Number(path)) : undefined;
  }

  function describePrefix(slot: number): PrefixStatus {
    const all = [...peers.values()];
    return {
      prefix: keyAt(table, slot),
      advertisedTo: all.filter((peer) => peer.isAdvertised(slot)).map(({ config }) => peerName(config)),
      notAdvertisedTo: all.flatMap((peer) => {
        const reason = peer.refusal(slot);
        return reason === undefined ? [] : [{ peer: peerName(peer.config), reason }];
      }),
    };
  }

  /** The state with its secrets, which is then in force. */
  function takeSecrets(next: Desired): FilledPeers {
    declared = next;
    const filled = secrets.fill(next);
    withheld = filled.withheld;
    desired = filled.desired;
    return filled;
  }

  /** Everything that follows from who the peers are. */
  function takePeers(next: Desired, previous: Desired | undefined): Peer[] {
    interfaces.replace(next);
    protectListener(next);
    return replacePeers(next, previous);
  }

  function withheldPeers(): PeerStatus[] {
    return withheld.flatMap(({ name, reason }) => {
      const { peers: named = [], interfacePeers = [] } = declared ?? {};
      const peer =
        named.find(({ address }) => address === name) ?? interfacePeers.find((one) => one.interface === name);
      return peer === undefined ? [] : [idlePeerStatus(name, peer, reason, environment.wallClock())];
    });
  }

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

  function announceAll(): void {
    for (const peer of peers.values()) peer.announce();
  }

  /** What the listener has to know of the peers before they connect. */
  function protectListener(next: Desired): void {
    const { interfacePeers = [], dynamicPeers = [] } = next;
    const named = [...next.peers.filter(({ address }) => !address.includes('%')), ...presentPeers()];
    listener.protect({
      keys: [...named.flatMap(peerKey), ...dynamicPeers.flatMap(rangeKey)],
      fullTtl: [...next.peers, ...interfacePeers, ...dynamicPeers.map(({ template }) => template)].some(
        ({ ttlSecurityHops }) => ttlSecurityHops !== undefined,
      ),
    });
  }

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
    const named = [...next.peers.filter(({ address }) => !address.includes('%')), ...presentPeers()];
    const wanted = new Map(named.map((peer) => [canonicalAddress(peer.address), peer]));
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

  function resume(
    from: AnnouncerSnapshot,
    wanted: Desired | undefined,
    descriptors: readonly number[],
    elapsedMs: number,
  ): void {
    const told = firstKeepalives(from.peers, descriptors);
    ({ startedAt, revision, deadMan, fingerprint: currentFingerprint } = { fingerprint: undefined, ...from });
    handovers = from.handovers;
    if (from.heardAgeMs !== undefined) lastHeard = clock.now() - from.heardAgeMs - elapsedMs;
    if (wanted === undefined) return;
    const { desired: filled } = takeSecrets({ ...wanted, prefixes: emptyPrefixTable(1) });
    replaceAll(table, wanted.prefixes);
    table.muted = deadMan;
    table.changes = Math.max(table.changes, from.changes);
    stampAll(table);
    tellVrrp();
    dynamic.replaceRanges(filled.dynamicPeers);
    dynamic.resume(from.dynamic);
    found.clear();
    for (const peer of told) if (peer.found !== undefined) found.set(peer.key, peer.found);
    if (found.size > 0) clock.after(findTime, forgetFound);
    interfaces.replace(filled);
    protectListener(filled);
    const slots = slotsByPlace(table, wanted.prefixes);
    const configs = new Map(filled.peers.map((peer) => [canonicalAddress(peer.address), peer]));
    for (const peer of told) {
      const config = configs.get(peer.key) ?? dynamic.configOf(peer.key) ?? found.get(peer.key);
      // Its secret cannot be had any more.
      if (config === undefined) {
        for (const { descriptor } of peer.connections) closeFd(descriptors[descriptor] ?? -1);
        continue;
      }
      const resumed = createPeer(localOf(filled), config, environment, recorders.take(peer.key), table);
      peers.set(peer.key, resumed);
      resumed.resume(peer, { descriptors, elapsedMs, slots, endOfRibHeld: !filled.complete });
    }
    const sockets = from.listeners.flatMap(({ host, descriptor }) => {
      const fd = descriptors[descriptor];
      return fd === undefined ? [] : [{ host, descriptor: fd }];
    });
    listener.resume(portOf(filled), sockets);
    if (lastHeard !== undefined) heard(lastHeard);
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
      const { desired: filled } = takeSecrets({ ...next, prefixes: emptyPrefixTable(1) });
      const changed = replaceAll(table, next.prefixes);
      table.muted = false;
      stampAll(table);
      currentFingerprint = fingerprint;
      if (deadMan) logger.info({ owner: next.owner }, 'the owner is back: its state is announced again');
      deadMan = false;
      revision += 1;
      heard();
      listener.setPort(portOf(next));
      tellVrrp();
      takePeers(filled, previous);
      for (const peer of peers.values()) peer.holdEndOfRib(!next.complete);
      announceAll();
      for (const slot of changed) release(table, slot);
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
      const changed: number[] = [];
      // Withdrawals first: traffic must stop coming before it goes to a worse place.
      for (const name of remove) {
        const slot = findName(name);
        if (slot !== undefined && assign(table, slot, undefined)) changed.push(slot);
      }
      for (let other = 0; other < add.slots; other++) {
        const slot = slotOfPrefix(table, prefixAt(add, other), add.paths[other]);
        if (assign(table, slot, add.attributes[other])) changed.push(slot);
      }
      heard();
      if (remove.length + add.size > 0) {
        revision += 1;
        currentFingerprint = undefined;
        for (const peer of peers.values()) peer.announceChanges(changed);
        for (const slot of changed) release(table, slot);
      }
      return { revision };
    },
    heartbeat: () => heard(),
    withdraw(which) {
      const slots =
        which === 'all' ? Array.from({ length: table.slots }, (_, slot) => slot) : which.map(findName);
      const changed = slots.filter((slot) => slot !== undefined && assign(table, slot, undefined));
      if (changed.length > 0) revision += 1;
      // The next put restores, also one with the same text.
      currentFingerprint = undefined;
      logger.warn({ prefixes: which }, 'withdrawn by request');
      announceAll();
      // Kept as declared, so that a successor does not take back what was withdrawn.
      if (declared?.vrrp !== undefined) {
        declared = { ...declared, vrrp: withdrawFromGroups(declared.vrrp, which) };
      }
      // Without a declaration a process that an earlier announcer has left may still take part.
      if (which === 'all' || declared?.vrrp !== undefined) tellVrrp();
      for (const slot of changed) if (slot !== undefined) release(table, slot);
    },
    status() {
      const listenError = listener.error();
      const vrrp = environment.vrrp?.status();
      const bfdProcess = environment.bfd?.process();
      const all = [...peers.values()];
      return {
        pid: process.pid,
        startedAt,
        handovers,
        version: announcerVersion,
        revision,
        owner: desired?.owner ?? null,
        lastHeardMs: lastHeard === undefined ? null : Math.round(clock.now() - lastHeard),
        deadMan,
        local: desired?.local ?? null,
        ...(listenError === undefined ? {} : { listenError }),
        ...(bfdProcess === undefined ? {} : { bfdProcess }),
        ...(vrrp === undefined ? {} : { vrrp }),
        connectionsRefused: refused.count(),
        peers: [...all.map((peer) => peer.status()), ...interfaces.absent(), ...withheldPeers()],
        prefixCount: table.size,
        changes: table.changes,
      };
    },
    prefixes(since) {
      const changed = since === undefined ? undefined : changedSince(table, since);
      const slots = changed?.slots ?? Array.from({ length: table.slots }, (_, slot) => slot);
      const shown = slots.filter((slot) => table.attributes[slot] !== undefined);
      const hidden = slots.filter(
        (slot) => table.families[slot] !== 0 && table.attributes[slot] === undefined,
      );
      return {
        changes: table.changes,
        whole: changed === undefined,
        prefixes: shown.map(describePrefix),
        gone: changed === undefined ? [] : [...changed.gone, ...hidden.map((slot) => keyAt(table, slot))],
      };
    },
    revision: () => revision,
    freeze() {
      reserveDescriptors(2 * peers.size + 16);
      deadManTimer?.cancel();
      deadManTimer = undefined;
      dynamic.stop();
      secrets.close();
      const descriptors: number[] = [];
      const take = (descriptor: number) => descriptors.push(descriptor) - 1;
      const prefixes = prefixInputs(table);
      const frozenPeers = Array.from(peers, ([key, peer]) => {
        const { config } = peer;
        const frozen = peer.freeze(take);
        return key.includes('%') ? { ...frozen, key, found: config } : { ...frozen, key };
      });
      const listeners = listener
        .freeze()
        .map(({ host, descriptor }) => ({ host, descriptor: take(descriptor) }));
      peers.clear();
      interfaces.close();
      const snapshot: AnnouncerSnapshot = {
        startedAt,
        handovers,
        revision,
        deadMan,
        changes: table.changes,
        ...(lastHeard === undefined ? {} : { heardAgeMs: clock.now() - lastHeard }),
        ...(currentFingerprint === undefined ? {} : { fingerprint: currentFingerprint }),
        ...(declared === undefined ? {} : { desired: { ...declared, prefixes } }),
        listeners,
        dynamic: dynamic.admitted(),
        peers: frozenPeers,
      };
      return { snapshot, descriptors };
    },
    prepare({ snapshot, descriptors }) {
      const parsed = snapshot.desired === undefined ? undefined : desiredSchema.safeParse(snapshot.desired);
      if (parsed?.success === false) return err(describeProblems(parsed.error).detail);
      const used = [...snapshot.peers.flatMap(({ connections }) => connections), ...snapshot.listeners];
      const missing = used.find(({ descriptor }) => descriptors[descriptor] === undefined);
      if (missing !== undefined) return err(`the socket ${missing.descriptor} is missing`);
      return ok({ resume: (elapsedMs) => resume(snapshot, parsed?.data, descriptors, elapsedMs) });
    },
    otherPaths() {
      const paths: OtherPath[] = [];
      for (let slot = 0; slot < table.slots; slot++) {
        if (table.attributes[slot] === undefined) continue;
        const prefix = prefixAt(table, slot);
        for (const peer of peers.values()) {
          const path = peer.othersPath(prefix);
          if (path === undefined) continue;
          const { nextHop, asPath } = path;
          const shown = { prefix: formatIpPrefix(prefix), peer: peer.config.address, asPath };
          paths.push(nextHop === undefined ? shown : { ...shown, nextHop });
        }
      }
      return paths;
    },
    isTold(prefix) {
      const slot = findName(prefix);
      return slot !== undefined && [...peers.values()].some((peer) => peer.isAdvertised(slot));
    },
    wallTimeOf: (at) => environment.wallClock() - clock.now() + at,
    peer: (address) => peers.get(keyOf(address)),
    record: (address) => recorders.find(keyOf(address)),
    async shutdown({ text, keepRoutes }) {
      deadManTimer?.cancel();
      listener.setPort(undefined);
      interfaces.close();
      secrets.close();
      // RFC 9003: the text tells the operators at the other end.
      const data = encodeShutdownText(text ?? 'announcer shut down');
      const message = notification(errorCode.cease, ceaseSubcode.administrativeShutdown, data);
      await Promise.all(
        Array.from(peers.values(), async (peer) => {
          if (!keepRoutes) await peer.drain();
          await peer.stop(message, keepRoutes);
        }),
      );
      // A router that hears AdminDown before it has read the NOTIFICATION logs a fault in place of our words.
      if (!keepRoutes && [...peers.values()].some(({ config }) => config.bfd !== undefined)) {
        await new Promise<void>((resolve) => clock.after(adminDownAfter, resolve));
      }
      await environment.bfd?.shutdown(keepRoutes);
      await environment.vrrp?.shutdown(keepRoutes);
    },
  };
}

/** Throws SyscallError (EMFILE) before anything is let go of, when there is not room for so many descriptors. */
function reserveDescriptors(count: number): void {
  const reserved: number[] = [];
  try {
    for (let i = 0; i < count; i++) reserved.push(duplicate(0));
  } finally {
    for (const descriptor of reserved) closeFd(descriptor);
  }
}

function portOf({ local }: Desired): number | undefined {
  const listen = local?.listen ?? false;
  if (listen === false) return undefined;
  return listen === true ? bgpPort : listen.port;
}

function peerKey(peer: DesiredPeer): ListenerKey[] {
  const address = toAddress(peer.address);
  return address === undefined ? [] : keysOf({ address }, peer);
}

function rangeKey({ range, template }: NonNullable<Desired['dynamicPeers']>[number]): ListenerKey[] {
  const parsed = parseIpPrefix(range);
  if (!parsed.ok) return [];
  const { address, length } = parsed.value;
  return keysOf({ address, prefixLength: length }, template);
}

function keysOf(owner: ListenerKey['owner'], peer: Pick<DesiredPeer, 'password' | 'tcpAo'>): ListenerKey[] {
  const ao = tcpAoKey(peer);
  const { password } = peer;
  return [
    ...(password === undefined ? [] : [{ owner, password }]),
    ...(ao === undefined ? [] : [{ owner, ao }]),
  ];
}

/** What of the local side is in every OPEN. */
function localKey({ local }: Desired): string {
  return `${local?.as} ${local?.routerId}`;
}

/** The local side, which a desired state with peers has. */
function localOf({ local }: Desired): DesiredLocal {
  if (local === undefined) throw new InvariantError('there are peers, but no local side');
  return local;
}

/** What of a peer cannot change under a running session; a password may change, but not come or go. */
function sessionKey(peer: DesiredPeer): string {
  const {
    connectRetryMs,
    nextHop4,
    nextHop6,
    bfd,
    policy,
    gracefulShutdownMs,
    maxPrefixesReceived,
    password,
    passwordFile,
    ...rest
  } = peer;
  return JSON.stringify([password !== undefined, ...Object.entries(rest).sort()]);
}
