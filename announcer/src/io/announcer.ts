import type { Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { duplicate } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { formatIpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { type Desired, desiredSchema, type Patch } from '../core/api.ts';
import { describeProblems } from '../core/api-problem.ts';
import {
  type AnnouncerSummary,
  idlePeerStatus,
  type OtherPath,
  type PeerStatus,
  type PrefixesStatus,
  type PrefixStatus,
} from '../core/api-status.ts';
import { ceaseSubcode, errorCode } from '../core/codec/iana.ts';
import { encodeShutdownText, notification } from '../core/codec/notification.ts';
import { peerName } from '../core/desired-peer.ts';
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
import { announcerVersion } from '../core/version.ts';
import { withdrawFromGroups } from '../core/vrrp/withdrawal.ts';
import { firstKeepalives } from './handover/first-keepalives.ts';
import type { Peer, PeerEnvironment } from './peer.ts';
import { createPeerSet } from './peer-set.ts';
import { createSecretFiles, type FilledPeers } from './secret-files.ts';

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

/** Time for a router's BGP to read our last word before its BFD tells it that we are gone. */
const adminDownAfter = Milliseconds(300);

/** Makes an announcer that announces nothing. */
export function createAnnouncer(environment: PeerEnvironment): Announcer {
  const { clock, logger } = environment;
  let startedAt = new Date(environment.wallClock()).toISOString();
  let handovers = 0;
  const table = emptyPrefixTable();
  const peers = createPeerSet(environment, table);
  /** As declared: secrets are where it says. */
  let declared: Desired | undefined;
  let withheld: FilledPeers['withheld'] = [];
  const secrets = createSecretFiles(clock, logger, () => {
    if (declared === undefined) return;
    const { desired: filled } = takeSecrets(declared);
    for (const peer of peers.replace(filled)) peer.announce();
  });
  let desired: Desired | undefined;
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
    const all = peers.all();
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

  function withheldPeers(): PeerStatus[] {
    return withheld.flatMap(({ name, reason }) => {
      const { peers: named = [], interfacePeers = [] } = declared ?? {};
      const peer =
        named.find(({ address }) => address === name) ?? interfacePeers.find((one) => one.interface === name);
      return peer === undefined ? [] : [idlePeerStatus(name, peer, reason, environment.wallClock())];
    });
  }

  function announceAll(): void {
    for (const peer of peers.all()) peer.announce();
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
    const slots = slotsByPlace(table, wanted.prefixes);
    peers.resume(filled, from, told, { descriptors, elapsedMs, slots, endOfRibHeld: !filled.complete });
    if (lastHeard !== undefined) heard(lastHeard);
  }

  return {
    isCurrent(fingerprint) {
      if (fingerprint !== currentFingerprint) return false;
      heard();
      return true;
    },
    put(next, fingerprint) {
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
      peers.listen(next);
      tellVrrp();
      peers.replace(filled);
      for (const peer of peers.all()) peer.holdEndOfRib(!next.complete);
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
        for (const peer of peers.all()) peer.announceChanges(changed);
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
      const listenError = peers.listenError();
      const vrrp = environment.vrrp?.status();
      const bfdProcess = environment.bfd?.process();
      const all = peers.all();
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
        connectionsRefused: peers.refused(),
        peers: [...all.map((peer) => peer.status()), ...peers.absent(), ...withheldPeers()],
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
      reserveDescriptors(2 * peers.count() + 16);
      deadManTimer?.cancel();
      deadManTimer = undefined;
      secrets.close();
      const descriptors: number[] = [];
      const take = (descriptor: number) => descriptors.push(descriptor) - 1;
      const prefixes = prefixInputs(table);
      const snapshot: AnnouncerSnapshot = {
        startedAt,
        handovers,
        revision,
        deadMan,
        changes: table.changes,
        ...(lastHeard === undefined ? {} : { heardAgeMs: clock.now() - lastHeard }),
        ...(currentFingerprint === undefined ? {} : { fingerprint: currentFingerprint }),
        ...(declared === undefined ? {} : { desired: { ...declared, prefixes } }),
        ...peers.freeze(take),
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
      const all = peers.all();
      for (let slot = 0; slot < table.slots; slot++) {
        if (table.attributes[slot] === undefined) continue;
        const prefix = prefixAt(table, slot);
        for (const peer of all) {
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
      return slot !== undefined && peers.all().some((peer) => peer.isAdvertised(slot));
    },
    wallTimeOf: (at) => environment.wallClock() - clock.now() + at,
    peer: peers.find,
    record: peers.record,
    async shutdown({ text, keepRoutes }) {
      deadManTimer?.cancel();
      peers.close();
      secrets.close();
      // RFC 9003: the text tells the operators at the other end.
      const data = encodeShutdownText(text ?? 'announcer shut down');
      const message = notification(errorCode.cease, ceaseSubcode.administrativeShutdown, data);
      await Promise.all(
        peers.all().map(async (peer) => {
          if (!keepRoutes) await peer.drain();
          await peer.stop(message, keepRoutes);
        }),
      );
      // A router that hears AdminDown before it has read the NOTIFICATION logs a fault in place of our words.
      if (!keepRoutes && peers.all().some(({ config }) => config.bfd !== undefined)) {
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
