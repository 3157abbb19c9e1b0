import { readFileSync } from 'node:fs';

/*
 * How many descriptors connections may take. The kernel gives the lowest free number, so the number of a new one tells
 * how many are taken. What is left is for the supervisor, whose messages bring descriptors: a worker that cannot take
 * them cannot be told a policy, and would be lost with all of its connections because of a flood of idle clients.
 */

/** Highest numbers, exclusive. */
export interface DescriptorRoom {
  /** Of clients; the rest is for connections to backends. */
  readonly clients: number;
  readonly backends: number;
  /** Not a number but a count: most UDP sessions, so that a flood of forged datagrams leaves room for connections. */
  readonly sessions: number;
}

const ownDescriptors = 16;

/** Room within a limit of open files (RLIMIT_NOFILE). */
export function roomWithin(limit: number): DescriptorRoom {
  const backends = limit - ownDescriptors;
  return {
    clients: backends - Math.min(1024, Math.ceil(limit / 8)),
    backends,
    sessions: Math.floor(backends / 2),
  };
}

let room: DescriptorRoom = roomWithin(Number.POSITIVE_INFINITY);

/** As of the last `lookAtLimit`. */
export function descriptorRoom(): DescriptorRoom {
  return room;
}

/** Reads this process's limit, which others can change (prlimit(1)). */
export function lookAtLimit(): void {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    if (soft !== undefined) room = roomWithin(Number(soft));
  } catch {
    // There is no descriptor left to read it by: what was known holds.
  }
}
