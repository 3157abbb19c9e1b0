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
  /** A target's MAC became known, changed, or (undefined) was given up. Never called from setTargets itself. */
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
  /** The MAC as last reported. */
  mac(address: IpAddress): MacAddress | undefined;
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
    entries.set(key, next);
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
    }
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
    for (const [key, entry] of entries) {
      const { entry: next, change } = expire(entry, now, timing);
      if (change === undefined) continue;
      entries.set(key, next);
      report(change);
    }
    for (const { address } of dueProbes(entries, now, probesPerTick)) {
      const entry = entries.get(neighbourKey(address));
      if (entry === undefined) continue;
      entries.set(neighbourKey(address), probed(entry, now, random(), timing));
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
      const wanted = new Map(addresses.map((address) => [neighbourKey(address), address]));
      for (const key of [...entries.keys()]) if (!wanted.has(key)) entries.delete(key);
      for (const [key, address] of wanted) {
        if (entries.has(key)) continue;
        entries.set(key, newEntry(address, clock.now()));
        dumpWanted = true;
      }
    },
    mac: (address) => entries.get(neighbourKey(address))?.mac,
    resyncs: () => resyncCount,
    stop() {
      if (stopped) return;
      stopped = true;
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
