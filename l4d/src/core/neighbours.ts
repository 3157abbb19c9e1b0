/**
 * Keeps the link-layer addresses of backends known. Values only: the shell (io/neighbours.ts) feeds
 * what the kernel says and performs the requests.
 *
 *   kernel events, dumps ──> observe ──> changes of address → MAC
 *   time ────────────────> dueProbes ──> addresses that the kernel should resolve
 *
 * What is reported, and for how long:
 * - A MAC is reported as soon as the kernel has it in a usable state, and a changed one at once.
 * - Packets that XDP forwards do not confirm a neighbour, so an entry grows STALE although it is in
 *   use: it is asked again, and its MAC stays.
 * - When an entry is FAILED, INCOMPLETE or gone, the last known MAC stays for `keepFor` (60 s): ARP can
 *   be lost while the backend serves, and a dead backend is the business of health checks, which
 *   are faster. After that the MAC is withdrawn: a switch floods frames to a MAC that it has forgotten.
 */
import type { Duration } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';

/** How the kernel stands to an address, as far as it matters here. */
export type Resolution =
  /** Confirmed, or permanent: nothing to do. */
  | 'fresh'
  /** Usable, to be confirmed (STALE). */
  | 'stale'
  /** The kernel is asking (INCOMPLETE, DELAY, PROBE). */
  | 'asking'
  /** Asked in vain, or no entry at all. */
  | 'failed';

/** What the kernel says of one address. */
export interface Observation {
  readonly address: IpAddress;
  readonly resolution: Resolution;
  /** Undefined when there is none now. */
  readonly mac: MacAddress | undefined;
}

/** One address that is kept resolved. */
export interface NeighbourEntry {
  readonly address: IpAddress;
  readonly resolution: Resolution;
  /** The MAC as reported; undefined: none known, or withdrawn. */
  readonly mac: MacAddress | undefined;
  /** Since when the kernel has no MAC, in clock milliseconds; undefined while it has. */
  readonly lostAt: number | undefined;
  /** When the kernel is to be asked next; undefined: not needed. */
  readonly probeAt: number | undefined;
  /** Requests in a row that have brought no confirmation. */
  readonly attempts: number;
}

/** A MAC to report. */
export interface NeighbourChange {
  readonly address: IpAddress;
  readonly mac: MacAddress | undefined;
}

/** Entries by their address as text. */
export type NeighbourEntries = ReadonlyMap<string, NeighbourEntry>;

/** Bounds of asking and keeping. */
export interface NeighbourTiming {
  /** Delay before a stale address is asked again, and the first delay after a failure. */
  readonly probeDelay: Duration;
  /** Longest delay between two requests for an address that does not answer (they double up to it). */
  readonly maxProbeDelay: Duration;
  /** How long a MAC outlives the kernel's entry. */
  readonly keepFor: Duration;
}

/** Share of a delay by which it is stretched at random, so that many addresses spread. */
const jitterShare = 0.5;

/** Starts to keep an address: it is asked for at once. */
export function newEntry(address: IpAddress, now: number): NeighbourEntry {
  return { address, resolution: 'failed', mac: undefined, lostAt: now, probeAt: now, attempts: 0 };
}

/** Takes in what the kernel says; a change to report, if any. `random` is in [0, 1). */
export function observe(
  entry: NeighbourEntry,
  observation: Observation,
  now: number,
  random: number,
  timing: NeighbourTiming,
): { readonly entry: NeighbourEntry; readonly change: NeighbourChange | undefined } {
  const { resolution } = observation;
  // A failed entry may still carry the address that did not answer.
  const seen = resolution === 'failed' ? undefined : observation.mac;
  const mac = seen ?? entry.mac;
  const attempts = resolution === 'fresh' ? 0 : entry.attempts;
  const next: NeighbourEntry = {
    address: entry.address,
    resolution,
    mac,
    lostAt: seen === undefined ? (entry.lostAt ?? now) : undefined,
    probeAt: nextProbe({ ...entry, attempts }, resolution, now, random, timing),
    attempts,
  };
  const change = sameMac(mac, entry.mac) ? undefined : { address: entry.address, mac };
  return { entry: next, change };
}

/** Marks an address as just asked for; the next request waits longer, up to the bound. */
export function probed(
  entry: NeighbourEntry,
  now: number,
  random: number,
  timing: NeighbourTiming,
): NeighbourEntry {
  const attempts = entry.attempts + 1;
  return { ...entry, attempts, probeAt: now + backoff(attempts, random, timing) };
}

/** Withdraws the MAC of an entry that has been lost for too long. */
export function expire(
  entry: NeighbourEntry,
  now: number,
  timing: NeighbourTiming,
): { readonly entry: NeighbourEntry; readonly change: NeighbourChange | undefined } {
  const over = entry.mac !== undefined && entry.lostAt !== undefined && now - entry.lostAt >= timing.keepFor;
  if (!over) return { entry, change: undefined };
  return { entry: { ...entry, mac: undefined }, change: { address: entry.address, mac: undefined } };
}

/** Whether time alone may bring something for an entry: a request, or the end of its MAC. */
export function hasDue({ probeAt, lostAt, mac }: NeighbourEntry): boolean {
  return probeAt !== undefined || (mac !== undefined && lostAt !== undefined);
}

/** The addresses to ask for now: those due, longest overdue first, at most `limit`. */
export function dueProbes(entries: NeighbourEntries, now: number, limit: number): NeighbourEntry[] {
  const due = [...entries.values()].filter(({ probeAt }) => probeAt !== undefined && probeAt <= now);
  return due.sort((a, b) => (a.probeAt ?? 0) - (b.probeAt ?? 0)).slice(0, limit);
}

/** Key of an address in NeighbourEntries. */
export function neighbourKey(address: IpAddress): string {
  return formatIpAddress(address);
}

function nextProbe(
  entry: NeighbourEntry,
  resolution: Resolution,
  now: number,
  random: number,
  timing: NeighbourTiming,
): number | undefined {
  if (resolution === 'fresh') return undefined;
  // Told the same again: what was planned stays. While the kernel asks, its outcome comes as an event;
  // the planned request stays as well, in case that event is lost.
  if (entry.probeAt !== undefined && (resolution === entry.resolution || resolution === 'asking'))
    return entry.probeAt;
  return now + backoff(entry.attempts, random, timing);
}

function backoff(attempts: number, random: number, timing: NeighbourTiming): number {
  const base = Math.min(timing.maxProbeDelay, timing.probeDelay * 2 ** Math.min(attempts, 16));
  return base * (1 + jitterShare * random);
}

function sameMac(a: MacAddress | undefined, b: MacAddress | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.every((byte, index) => byte === b[index]);
}
