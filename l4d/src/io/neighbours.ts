/**
 * Keeps the MAC addresses of a set of neighbours of one interface resolved and reports them.
 * Decisions (when to ask, how long a lost MAC is kept) are in core/neighbours.ts.
 *
 * The kernel's table is the truth: it is followed by events, dumped whole at the start, whenever
 * events were lost (ENOBUFS) and once a minute. Requests go by NTF_USE, at most `probesPerSecond`.
 */
import { type Clock, systemClock, type Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { formatMacAddress, type MacAddress } from '@l4d/kit/mac-address.ts';
import { decodeNeighbour, type Neighbour } from '@l4d/kit/netlink/codec-neighbour.ts';
import { eventGroup, messageType, neighbourState } from '@l4d/kit/netlink/constants.ts';
import { watchNetlinkEvents } from '@l4d/kit/netlink/events.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import {
  dueProbes,
  expire,
  hasDue,
  type NeighbourChange,
  type NeighbourEntry,
  type NeighbourTiming,
  neighbourKey,
  newEntry,
  type Observation,
  observe,
  probed,
  type Resolution,
} from '../core/neighbours.ts';

/** Options of watchNeighbours. */
export interface NeighbourWatchOptions {
  readonly interfaceIndex: number;
  readonly logger: Logger;
  /** A target's MAC became known, changed, or (undefined) was given up. Never called from setTargets or change itself. */
  readonly onChange: (address: IpAddress, mac: MacAddress | undefined) => void;
  readonly clock?: Clock;
  /** A number in [0, 1), for jitter. */
  readonly random?: () => number;
  readonly timing?: NeighbourTiming;
  /** Bound on requests to the kernel a second, over all targets. 200 by default. */
  readonly probesPerSecond?: number;
  /** Bytes of the event socket's receive buffer. */
  readonly receiveBufferBytes?: number;
}

/** A running watch. */
export interface NeighbourWatch {
  /** Replaces the set of addresses; those that stay keep what is known. */
  setTargets(addresses: readonly IpAddress[]): void;
  /** Takes addresses out of the set and into it: costs no more than these. */
  change(gone: readonly IpAddress[], come: readonly IpAddress[]): void;
  /** The MAC as last reported. */
  mac(address: IpAddress): MacAddress | undefined;
  /** Resolves when the table was read for the first time: what the kernel knew is reported. */
  ready(): Promise<void>;
  /** Has all that are confirmed, or were, asked again now: who does not answer is known in a few seconds. */
  confirm(): void;
  /** How often the table was read whole because events were lost. */
  resyncs(): number;
  stop(): void;
}

/** Timing by default: stale addresses are asked after 1 s to 1.5 s, dead ones every 10 s to 15 s. */
export const defaultNeighbourTiming: NeighbourTiming = {
  probeDelay: Seconds(1),
  maxProbeDelay: Seconds(10),
  keepFor: Seconds(60),
};

/** Up to so many new addresses are looked up one by one. */
const fewAddresses = 20;
const tickEvery = Milliseconds(100);
const dumpEvery = Seconds(60);
/** Milliseconds between two log lines about requests that the kernel refused. */
const refusalLogInterval = 10_000;

/** Starts to watch, in the network namespace of the caller. Throws SyscallError. */
export function watchNeighbours(options: NeighbourWatchOptions): NeighbourWatch {
  const { interfaceIndex, logger } = options;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const timing = options.timing ?? defaultNeighbourTiming;
  const probesPerTick = Math.max(1, Math.ceil(((options.probesPerSecond ?? 200) * tickEvery) / 1000));
  const entries = new Map<string, NeighbourEntry>();
  /** Those of them that are to be asked for, or given up, some time. */
  const pending = new Map<string, NeighbourEntry>();
  const rtnetlink = openRtnetlink();
  /** Events that came while the table is read. */
  const waiting: Observation[] = [];
  let stopped = false;
  let dumping = false;
  let dumpWanted = true;
  let dumpDueAt = clock.now();
  let resyncCount = 0;
  let refusalLoggedAt = Number.NEGATIVE_INFINITY;
  let timer: Timer | undefined;
  const { promise: firstRead, resolve: tellFirstRead } = Promise.withResolvers<void>();

  function report(change: NeighbourChange | undefined): void {
    if (change === undefined || stopped) return;
    const mac = change.mac === undefined ? undefined : formatMacAddress(change.mac);
    logger.info({ address: formatIpAddress(change.address), mac: mac ?? null }, 'neighbour changed');
    options.onChange(change.address, change.mac);
  }

  function take(observation: Observation): void {
    const key = neighbourKey(observation.address);
    const entry = entries.get(key);
    if (entry === undefined) return;
    const { entry: next, change } = observe(entry, observation, clock.now(), random(), timing);
    put(key, next);
    report(change);
  }

  /**
   * Reads the whole table; what it does not hold is missing. Events that come meanwhile are newer
   * than what the dump says and wait for its end.
   */
  async function dump(): Promise<void> {
    if (dumping) return;
    dumping = true;
    dumpWanted = false;
    dumpDueAt = clock.now() + dumpEvery;
    try {
      const askedFor = new Set(entries.keys());
      for (const neighbour of await rtnetlink.neighbours({ interfaceIndex })) {
        if (stopped) return;
        const observation = observationOf(neighbour);
        askedFor.delete(neighbourKey(neighbour.address));
        take(observation);
      }
      for (const key of askedFor) {
        const entry = entries.get(key);
        if (entry !== undefined) take({ address: entry.address, resolution: 'failed', mac: undefined });
      }
    } catch (error) {
      dumpWanted = true;
      logRefusal(error, 'the neighbour table could not be read');
    } finally {
      dumping = false;
      for (const observation of waiting.splice(0)) take(observation);
      tellFirstRead();
    }
  }

  function change(gone: readonly IpAddress[], come: readonly IpAddress[]): void {
    for (const address of gone) put(neighbourKey(address), undefined);
    let isNew = false;
    for (const address of come) {
      const key = neighbourKey(address);
      if (entries.has(key)) continue;
      put(key, newEntry(address, clock.now()));
      isNew = true;
    }
    if (!isNew) return;
    // What the kernel knows of a few is asked for one by one; of many, by its whole table.
    if (come.length > fewAddresses) dumpWanted = true;
    else for (const address of come) void lookUp(address);
  }

  async function lookUp(address: IpAddress): Promise<void> {
    try {
      const neighbour = await rtnetlink.neighbour(interfaceIndex, address);
      if (neighbour !== undefined && !stopped) takeEvent(observationOf(neighbour));
    } catch (error) {
      dumpWanted = true;
      logRefusal(error, 'a neighbour could not be looked up');
    }
  }

  /** Keeps an entry, and in mind those that something is due for: most are known and at rest. */
  function put(key: string, entry: NeighbourEntry | undefined): void {
    if (entry === undefined) entries.delete(key);
    else entries.set(key, entry);
    if (entry !== undefined && hasDue(entry)) pending.set(key, entry);
    else pending.delete(key);
  }

  function takeEvent(observation: Observation): void {
    if (dumping) waiting.push(observation);
    else take(observation);
  }

  function logRefusal(error: unknown, message: string): void {
    if (stopped || clock.now() - refusalLoggedAt < refusalLogInterval) return;
    refusalLoggedAt = clock.now();
    // ENOBUFS: the table is full, see net.ipv4.neigh.default.gc_thresh3.
    logger.warn({ err: error, interfaceIndex, neighbours: entries.size }, message);
  }

  function tick(): void {
    if (stopped) return;
    timer = clock.after(tickEvery, tick);
    const now = clock.now();
    if (dumpWanted || now >= dumpDueAt) void dump();
    for (const [key, entry] of pending) {
      const { entry: next, change } = expire(entry, now, timing);
      if (change === undefined) continue;
      put(key, next);
      report(change);
    }
    for (const { address } of dueProbes(pending, now, probesPerTick)) {
      const entry = entries.get(neighbourKey(address));
      if (entry === undefined) continue;
      put(neighbourKey(address), probed(entry, now, random(), timing));
      rtnetlink.resolveNeighbour(interfaceIndex, address).catch((error: unknown) => {
        logRefusal(error, 'the kernel refused to resolve a neighbour');
      });
    }
  }

  const stopEvents = watchNetlinkEvents({
    groups: [eventGroup.NEIGHBOUR],
    ...(options.receiveBufferBytes === undefined ? {} : { receiveBufferBytes: options.receiveBufferBytes }),
    onMessage(message) {
      const neighbour = decodeNeighbour(message.payload);
      if (!neighbour.ok || neighbour.value?.interfaceIndex !== interfaceIndex) return;
      if (message.type === messageType.NEWNEIGH) takeEvent(observationOf(neighbour.value));
      if (message.type === messageType.DELNEIGH) {
        takeEvent({ address: neighbour.value.address, resolution: 'failed', mac: undefined });
      }
    },
    onLost() {
      resyncCount += 1;
      dumpWanted = true;
      logger.debug({ interfaceIndex }, 'neighbour events were lost: reading the table');
    },
  });
  timer = clock.after(Milliseconds(0), tick);

  return {
    setTargets(addresses) {
      const wanted = new Set(addresses.map(neighbourKey));
      change(
        [...entries.values()].flatMap((entry) =>
          wanted.has(neighbourKey(entry.address)) ? [] : [entry.address],
        ),
        addresses,
      );
    },
    change,
    mac: (address) => entries.get(neighbourKey(address))?.mac,
    ready: () => firstRead,
    confirm() {
      for (const { address, mac, resolution } of entries.values()) {
        // While the kernel asks, or has asked in vain, the MAC address would be made valid again.
        if (mac === undefined || (resolution !== 'fresh' && resolution !== 'stale')) continue;
        rtnetlink.probeNeighbour(interfaceIndex, address, mac).catch((error: unknown) => {
          logRefusal(error, 'the kernel refused to ask a neighbour again');
        });
      }
    },
    resyncs: () => resyncCount,
    stop() {
      if (stopped) return;
      stopped = true;
      tellFirstRead();
      timer?.cancel();
      stopEvents();
      rtnetlink.close();
    },
  };
}

function observationOf(neighbour: Neighbour): Observation {
  return { address: neighbour.address, resolution: resolutionOf(neighbour.state), mac: neighbour.mac };
}

function resolutionOf(state: number): Resolution {
  switch (state) {
    case neighbourState.REACHABLE:
    case neighbourState.PERMANENT:
    case neighbourState.NOARP:
      return 'fresh';
    case neighbourState.STALE:
      return 'stale';
    case neighbourState.INCOMPLETE:
    case neighbourState.DELAY:
    case neighbourState.PROBE:
      return 'asking';
    default:
      return 'failed';
  }
}
