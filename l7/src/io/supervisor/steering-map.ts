import { join } from 'node:path';
import { deleteElement, lookupElement, mapInfo, openPinned, updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { closeFd, socketCookie } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { assignBuckets, socketsPerBucket, steeringBuckets } from '../../core/steering.ts';

/** How often the pinned map is looked for. */
const pollMs = 200;

/** Listening sockets of one worker: of IPv4 and of IPv6. */
export type SocketPair = readonly [number, number];

/** The maps that connections, and datagrams of clients without a session, are steered by. */
export type SteeringMapName = 'l7_sockets' | 'l7_udp_sockets';

/** A map that the kernel steers by. */
export interface SteeringMap {
  /** Gives all connections to these places' sockets, by place; none: they are refused. */
  steer(live: ReadonlyMap<number, SocketPair>): void;
  /** Whether that holds in the kernel. */
  registered(): boolean;
  /** Cookies of the sockets that are in the map now, whoever put them there: of processes that live. */
  held(): ReadonlySet<bigint>;
  stop(): void;
}

/**
 * Keeps the pinned SOCKMAP `name` (`l7_sockets` or `l7_udp_sockets`) of `bpfDir` as it is wanted, as soon as it exists and when another has taken
 * its place. What is in it is read back first and only what differs is written, so sockets that another supervisor
 * put there stay. The kernel takes a socket out by itself when no process has it open any more.
 */
export function openSteeringMap(bpfDir: string, name: SteeringMapName, log: Logger): SteeringMap {
  const path = join(bpfDir, name);
  /** Undefined: not said yet; what another supervisor has put there holds. */
  let live: ReadonlyMap<number, SocketPair> | undefined;
  let doneIn: number | undefined;
  let lastFailure = '';

  function check(isChanged: boolean): void {
    if (live === undefined) return;
    let map: number | undefined;
    try {
      map = openPinned(path);
      if (map === undefined) {
        if (doneIn !== undefined) log.warn({ path }, 'the map of listening sockets is gone');
        doneIn = undefined;
        return;
      }
      const { id, maxEntries } = mapInfo(map);
      if (id === doneIn && !isChanged) return;
      doneIn = undefined;
      const written = write(map, Math.min(steeringBuckets, Math.floor(maxEntries / socketsPerBucket)), live);
      doneIn = id;
      lastFailure = '';
      if (live.size > 0) log.info({ map: id, places: [...live.keys()], written }, 'connections are steered');
      else log.info({ map: id, written }, 'connections are refused');
    } catch (error) {
      if (String(error) !== lastFailure)
        log.error({ path, error: String(error) }, 'cannot register the listening sockets');
      lastFailure = String(error);
    } finally {
      if (map !== undefined) closeFd(map);
    }
  }

  const timer = setInterval(() => check(false), pollMs);
  return {
    steer(wanted) {
      live = new Map(wanted);
      check(true);
    },
    held() {
      let map: number | undefined;
      try {
        map = openPinned(path);
        const cookies = new Set<bigint>();
        if (map === undefined) return cookies;
        for (let key = 0; key < mapInfo(map).maxEntries; key++) {
          const cookie = cookieAt(map, key);
          if (cookie !== undefined) cookies.add(cookie);
        }
        return cookies;
      } catch (error) {
        log.warn({ path, error: String(error) }, 'cannot read the map of listening sockets');
        return new Set();
      } finally {
        if (map !== undefined) closeFd(map);
      }
    },
    registered: () => doneIn !== undefined && live !== undefined && live.size > 0,
    stop: () => clearInterval(timer),
  };
}

/** Returns how many elements were changed. Throws SyscallError. */
function write(map: number, buckets: number, live: ReadonlyMap<number, SocketPair>): number {
  const cookies = new Map([...live].map(([place, pair]) => [place, pair.map(socketCookie)]));
  const placeOf = new Map([...cookies].map(([place, [first]]) => [first, place]));
  const held: (bigint | undefined)[] = [];
  for (let key = 0; key < buckets * socketsPerBucket; key++) held.push(cookieAt(map, key));
  const previous = Array.from({ length: buckets }, (_, bucket) =>
    placeOf.get(held[bucket * socketsPerBucket]),
  );
  const wanted = assignBuckets(previous, [...live.keys()]);
  let changes = 0;
  for (let key = 0; key < held.length; key++) {
    const place = wanted[Math.floor(key / socketsPerBucket)];
    const family = key % socketsPerBucket;
    const socket = place === undefined ? undefined : live.get(place)?.[family];
    // Setting the socket that is there already would take it out for a moment.
    if (held[key] === (place === undefined ? undefined : cookies.get(place)?.[family])) continue;
    changes += 1;
    if (socket === undefined) deleteElement(map, u32(key));
    else updateElement(map, u32(key), u64(socket));
  }
  return changes;
}

/** The kernel answers a look into a map of sockets with the socket's cookie. */
function cookieAt(map: number, key: number): bigint | undefined {
  const value = new Uint8Array(8);
  return lookupElement(map, u32(key), value) ? new BigUint64Array(value.buffer)[0] : undefined;
}

/** Map keys and values are in the machine's own byte order, as a typed array is. */
function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}
