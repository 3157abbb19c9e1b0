/**
 * The BFD shell: sockets, timers and counters around the state machines. It runs in a process of its
 * own (bfd-process.ts), so that a busy announcer delays no packet.
 */
import { createHash } from 'node:crypto';
import { type Clock, systemClock, type Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import type { Datagram } from '@l4d/kit/ffi/datagram.ts';
import { interfaceName } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, type IpFamily } from '@l4d/kit/ip-address.ts';
import type { Digest } from '../../core/bfd/authentication.ts';
import { decodePacket } from '../../core/bfd/packet.ts';
import { controlFilter } from '../../core/bfd/packet-filter.ts';
import type { BfdSessionConfig, BfdStatus, BfdVerdict } from '../../core/bfd/session-config.ts';
import type { BfdTrailEntry } from '../../core/bfd/trail.ts';
import type { BfdEngineSnapshot, BfdSessionSnapshot } from '../../core/handover/bfd-snapshot.ts';
import { isLinkLocal } from '../../core/peer-address.ts';
import { type EchoReflector, openEchoReflector } from './echo-reflector.ts';
import type { Expected } from './flood-guard.ts';
import { type BfdRunner, createBfdRunner } from './runner.ts';
import { type BfdReceiver, bfdPort, createReceiver, openReceivingSocket } from './sockets.ts';

/** What the engine needs and whom it tells. */
export interface BfdEnvironment {
  /** Unix time in milliseconds, for what is shown. */
  readonly wallClock: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly clock?: Clock;
  readonly onVerdict: (peer: string, verdict: BfdVerdict, why: string) => void;
  readonly onTrail?: (peer: string, entries: readonly BfdTrailEntry[]) => void;
}

/** All BFD sessions of a process. */
export interface BfdEngine {
  /** Replaces the list of wanted sessions; those that are no longer wanted say AdminDown and go. */
  configure(sessions: readonly BfdSessionConfig[]): void;
  /** By the address of the peer. */
  status(): Record<string, BfdStatus>;
  /** How long all may be silent without any neighbour missing a packet, in milliseconds; undefined: as long as it likes. */
  graceMs(): number | undefined;
  /**
   * Lets go of all sessions and sockets without a sign on them, for a successor; it has none afterwards. Sockets are
   * given to `take`, which says where they are.
   */
  freeze(take: (descriptor: number) => number): BfdEngineSnapshot;
  /** Goes on where an engine was frozen; call it before anything else. */
  resume(from: BfdEngineSnapshot, descriptors: readonly number[], elapsedMs: number): void;
  /** AdminDown to all; nothing is sent after this returns. */
  shutdown(): void;
}

/** A port that is taken by another daemon is tried again. */
const retryTime = Seconds(2);

const digest: Digest = (algorithm, data) => createHash(algorithm).update(data).digest();

/** Makes an engine without sessions. */
export function createBfdEngine(environment: BfdEnvironment): BfdEngine {
  const clock = environment.clock ?? systemClock;
  const runners = new Map<string, BfdRunner>();
  /** Those that say AdminDown for a while after they were removed. */
  const leaving = new Map<BfdRunner, { readonly until: number; readonly timer: Timer }>();
  const byDiscriminator = new Map<number, BfdRunner>();
  const receivers = new Map<string, { receiver?: BfdReceiver; problem?: string }>();
  /** By socket. */
  const unassigned = new Map<string, Record<string, number>>();
  const reflectors = new Map<IpFamily, { reflector?: EchoReflector; problem?: string }>();

  const runnerEnvironment = {
    clock,
    digest,
    random: environment.random,
    wallClock: environment.wallClock,
    onVerdict: environment.onVerdict,
    onTrail: environment.onTrail ?? (() => {}),
    onChange: refreshGuards,
    drain: () => {
      for (const { receiver } of receivers.values()) receiver?.drain();
    },
  };

  function receive(datagram: Datagram, multihop: boolean): void {
    const decoded = decodePacket(datagram.bytes);
    const source = sourceText(datagram);
    const own = runners.get(source);
    const fromPeer = own?.config.multihop === multihop ? own : undefined;
    if (!decoded.ok) {
      drop(fromPeer, decoded.error, datagram, multihop);
      return;
    }
    const packet = decoded.value;
    // RFC 5880 section 6.8.6: by Your Discriminator alone when it is there; the source may have changed.
    const runner = packet.yourDiscriminator === 0 ? fromPeer : byDiscriminator.get(packet.yourDiscriminator);
    if (runner === undefined || runner.config.multihop !== multihop) {
      const reason = packet.yourDiscriminator === 0 ? 'no-session' : 'unknown-discriminator';
      drop(fromPeer, reason, datagram, multihop);
      return;
    }
    // RFC 5881 section 5: "MUST be discarded if the received TTL or Hop Limit is not equal to 255"; RFC 5883
    // leaves the bound to us. It is asked of authenticated packets too.
    if ((datagram.ttl ?? 0) < runner.config.minTtl) {
      runner.dropTtl(datagram.ttl ?? 0);
      return;
    }
    runner.receive(packet, datagram.bytes.slice(0, datagram.bytes[3]));
  }

  function drop(
    runner: BfdRunner | undefined,
    reason: string,
    { source }: Datagram,
    multihop: boolean,
  ): void {
    if (runner !== undefined) {
      runner.countDrop(reason);
      return;
    }
    const key = receiverKey(source.family, multihop);
    const counts = unassigned.get(key) ?? {};
    unassigned.set(key, counts);
    counts[reason] = (counts[reason] ?? 0) + 1;
  }

  function describeSocket(key: string): Pick<BfdStatus, 'socket'> {
    const guard = receivers.get(key)?.receiver?.guard;
    if (guard === undefined) return {};
    const dropped = { ...unassigned.get(key) };
    return { socket: { dropped, droppedInKernel: guard.dropped(), flood: guard.active() } };
  }

  function openReceivers(): void {
    const wanted = new Set(
      [...runners.values()].map(({ config }) => receiverKey(familyOf(config), config.multihop)),
    );
    for (const [key, { receiver }] of receivers) {
      if (wanted.has(key)) continue;
      receiver?.close();
      receivers.delete(key);
    }
    for (const key of wanted) if (receivers.get(key)?.receiver === undefined) open(key);
  }

  function open(key: string): void {
    const { family, multihop } = receiverOf(key);
    const port = multihop ? bfdPort.multihop : bfdPort.singleHop;
    try {
      receiveOn(key, openReceivingSocket(family, port));
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      const taken = error.code === 'EADDRINUSE' ? ': another BFD daemon has it' : '';
      receivers.set(key, { problem: `cannot receive on UDP port ${port} (${error.code}${taken})` });
      clock.after(retryTime, () => {
        if (receivers.has(key) && receivers.get(key)?.receiver === undefined) open(key);
      });
    }
  }

  function receiveOn(key: string, descriptor: number, flood = false): void {
    const { family, multihop } = receiverOf(key);
    const receiver = createReceiver(
      descriptor,
      clock,
      (datagram) => receive(datagram, multihop),
      expected(family, multihop),
      flood,
    );
    receivers.set(key, { receiver });
  }

  /** What passes a receiver in a flood, and how much of it there is without one. */
  function expected(family: IpFamily, multihop: boolean): Expected {
    const isOfIt = ({ config }: BfdRunner) => familyOf(config) === family && config.multihop === multihop;
    const ownOf = () => [...runners.values()].filter(isOfIt);
    return {
      filter(whole) {
        const own = ownOf();
        const going = [...leaving.keys()].filter(isOfIt);
        const wanted = {
          family,
          minTtl: Math.min(255, ...own.map(({ config }) => config.minTtl)),
          discriminators: [...own, ...going].map(({ discriminator }) => discriminator),
          // A neighbour that has lost its session and says so goes unheard in a flood while ours is Up: its silence
          // ends the session, and then it is heard. Else anybody on the link could keep us at it by its address.
          sources: own.filter((runner) => !runner.isUp()).map(({ address }) => address.address),
        };
        return controlFilter(wanted, whole);
      },
      packetsPerSecond: () => ownOf().reduce((sum, { config }) => sum + 1000 / config.rxIntervalMs, 0),
    };
  }

  function refreshGuards(): void {
    for (const { receiver } of receivers.values()) receiver?.guard.refresh();
  }

  function openReflectors(): void {
    for (const family of [4, 6] as const) {
      const echoing = [...runners.values()].filter(
        ({ config }) => config.echo && familyOf(config) === family,
      );
      let found = reflectors.get(family);
      if (echoing.length === 0) {
        found?.reflector?.close();
        reflectors.delete(family);
        continue;
      }
      try {
        found = { reflector: found?.reflector ?? openEchoReflector(family, clock, onEcho) };
        found.reflector?.setPeers(echoing.map(({ address }) => address.address));
      } catch (error) {
        if (!(error instanceof SyscallError)) throw error;
        found = { problem: `cannot loop back echo packets (${error.code}; it needs CAP_NET_RAW)` };
      }
      reflectors.set(family, found);
    }
  }

  function onEcho(peer: string): void {
    runners.get(peer)?.countEcho();
  }

  function remove(runner: BfdRunner): void {
    runners.delete(runner.config.peer);
    // RFC 5880 section 6.8.16: AdminDown "SHOULD be transmitted for at least a Detection Time".
    linger(runner, runner.disable());
  }

  function linger(runner: BfdRunner, lingerMs: number): void {
    const timer = clock.after(Milliseconds(Math.ceil(lingerMs)), () => {
      leaving.delete(runner);
      byDiscriminator.delete(runner.discriminator);
      runner.close();
    });
    leaving.set(runner, { until: clock.now() + lingerMs, timer });
  }

  function add(config: BfdSessionConfig): void {
    let discriminator = 0;
    // RFC 5880 section 10: random, so that it cannot be guessed; not 0, and unique.
    while (discriminator === 0 || byDiscriminator.has(discriminator)) discriminator = randomUint32();
    const runner = createBfdRunner({ config, discriminator, sequence: randomUint32() }, runnerEnvironment);
    runners.set(config.peer, runner);
    byDiscriminator.set(discriminator, runner);
    runner.start();
  }

  function forgetAll(): void {
    for (const all of [runners, leaving, byDiscriminator, receivers, reflectors]) all.clear();
  }

  const randomUint32 = () => Math.floor(environment.random() * 0x1_0000_0000);

  return {
    configure(sessions) {
      const wanted = new Map(sessions.map((config) => [config.peer, config]));
      for (const runner of [...runners.values()]) {
        const config = wanted.get(runner.config.peer);
        if (config !== undefined && pathKey(config) === pathKey(runner.config)) runner.reconfigure(config);
        else remove(runner);
      }
      for (const config of wanted.values()) if (!runners.has(config.peer)) add(config);
      openReceivers();
      openReflectors();
      refreshGuards();
    },
    status() {
      return Object.fromEntries(
        [...runners].map(([peer, runner]) => {
          const { multihop } = runner.config;
          const key = receiverKey(familyOf(runner.config), multihop);
          const problem =
            receivers.get(key)?.problem ??
            (runner.config.echo ? reflectors.get(familyOf(runner.config))?.problem : undefined);
          return [
            peer,
            { ...runner.status(), ...describeSocket(key), ...(problem === undefined ? {} : { problem }) },
          ];
        }),
      );
    },
    graceMs() {
      const all = [...runners.values()].flatMap((runner) => runner.graceMs() ?? []);
      return all.length === 0 ? undefined : Math.min(...all);
    },
    freeze(take) {
      const now = clock.now();
      const snapshot: BfdEngineSnapshot = {
        sessions: Array.from(runners.values(), (runner) => runner.freeze(take)),
        leaving: Array.from(leaving, ([runner, { until, timer }]) => {
          timer.cancel();
          return { session: runner.freeze(take), remainingMs: until - now };
        }),
        receivers: [...receivers].flatMap(([key, { receiver }]) => {
          if (receiver === undefined) return [];
          const flood = receiver.guard.active();
          return [{ key, descriptor: take(receiver.detach()), flood }];
        }),
        unassigned: Object.fromEntries(unassigned),
        reflectors: [...reflectors].flatMap(([family, { reflector }]) => {
          if (reflector === undefined) return [];
          const { packets, silencer } = reflector.detach();
          const silent = silencer === undefined ? {} : { silencer: take(silencer) };
          return [{ family, packets: take(packets), ...silent }];
        }),
      };
      forgetAll();
      return snapshot;
    },
    resume(from, descriptors, elapsedMs) {
      const at = (index: number | undefined) => (index === undefined ? undefined : descriptors[index]);
      const goOn = (session: BfdSessionSnapshot) => {
        const descriptor = at(session.sender?.descriptor);
        const runner = createBfdRunner({ from: session, descriptor, elapsedMs }, runnerEnvironment);
        byDiscriminator.set(runner.discriminator, runner);
        return runner;
      };
      for (const session of from.sessions) runners.set(session.config.peer, goOn(session));
      for (const { session, remainingMs } of from.leaving) {
        if (session.sender === undefined) continue;
        linger(goOn(session), Math.max(0, remainingMs - elapsedMs));
      }
      for (const [key, counts] of Object.entries(from.unassigned)) unassigned.set(key, { ...counts });
      for (const { key, descriptor, flood } of from.receivers) receiveOn(key, at(descriptor) ?? -1, flood);
      for (const runner of [...runners.values(), ...leaving.keys()]) runner.start();
      // What waits in the sockets comes before what the timers say.
      for (const { receiver } of receivers.values()) receiver?.drain();
      for (const { family, packets, silencer } of from.reflectors) {
        const silent = at(silencer);
        const sockets = { packets: at(packets) ?? -1, ...(silent === undefined ? {} : { silencer: silent }) };
        const known = family === 4 ? 4 : 6;
        reflectors.set(known, { reflector: openEchoReflector(known, clock, onEcho, sockets) });
      }
      openReceivers();
      openReflectors();
    },
    shutdown() {
      for (const runner of [...runners.values()]) runner.disable();
      for (const runner of [...runners.values(), ...leaving.keys()]) runner.close();
      for (const { receiver } of receivers.values()) receiver?.close();
      for (const { reflector } of reflectors.values()) reflector?.close();
      forgetAll();
    },
  };
}

/** The key of the session of a source. */
function sourceText({ source, scopeId }: Datagram): string {
  const text = formatIpAddress(source);
  return isLinkLocal(source) ? `${text}%${interfaceName(scopeId)}` : text;
}

/** What a socket is for. */
function receiverOf(key: string): { readonly family: IpFamily; readonly multihop: boolean } {
  return { family: key.startsWith('4') ? 4 : 6, multihop: key.endsWith('multihop') };
}

/** Name of the socket of a family and a port. */
function receiverKey(family: IpFamily, multihop: boolean): string {
  return `${family} ${multihop ? 'multihop' : 'singleHop'}`;
}

function familyOf(config: BfdSessionConfig): IpFamily {
  return config.peer.includes(':') ? 6 : 4;
}

/** What of a session cannot change while it runs. */
function pathKey(config: BfdSessionConfig): string {
  return `${config.multihop} ${config.localAddress ?? ''}`;
}
