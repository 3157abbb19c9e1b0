import { join } from 'node:path';
import {
  deleteElement,
  lookupElement,
  mapInfo,
  mapKeys,
  openPinned,
  updateElement,
} from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';

/*
 * The kernel's table of UDP sessions (bpf/l7_lookup.bpf.c): which worker has the session of a client, so that its
 * datagrams find it whatever happens to the buckets. Each worker has a number there, with a socket of each family.
 */

const socketsPerWorker = 2;
/** struct udp_flow_key: both addresses as IPv6 ones, both ports, all in network order. */
const keyBytes = 36;
/** BPF_NOEXIST: only where nobody is. */
const onlyNew = 1;

/** The sessions of this worker in the kernel's table. */
export interface FlowTable {
  /** Looks whether the maps are there, or others than before; true: they are, and hold nothing of this worker's. */
  look(): boolean;
  /**
   * What a client at `source` sends to `destination` (names as in end-name.ts) comes to this worker from now on. False: another
   * worker that lives has the session. Without the maps, or room in them, it is found by its bucket.
   */
  claim(source: string, destination: string): boolean;
  forget(source: string, destination: string): void;
}

/** For workers that no kernel steers to. */
export const noFlowTable: FlowTable = {
  look: () => false,
  claim: () => true,
  forget: () => undefined,
};

/** Of the maps pinned in `bpfDir`; `sockets` are this worker's own, of IPv4 and of IPv6. */
export function openFlowTable(bpfDir: string, sockets: readonly [number, number], log: Logger): FlowTable {
  const key = Buffer.alloc(keyBytes);
  const holderNumber = new Uint32Array(1);
  const holder = new Uint8Array(holderNumber.buffer);
  let flows: number | undefined;
  let workers: { readonly fd: number; readonly id: number } | undefined;
  let own = 0;
  let value: Uint8Array = new Uint8Array(4);
  const cookie = new Uint8Array(8);
  let lastFailure = '';

  function fill(source: string, destination: string): void {
    writeAddress(key, 0, source);
    writeAddress(key, 16, destination);
    key.write(source.slice(0, 2), 32, 'latin1');
    key.write(destination.slice(0, 2), 34, 'latin1');
  }

  function open(workers: number): void {
    const table = openPinned(join(bpfDir, 'l7_udp_flows'));
    if (table === undefined) return;
    const number = takeNumber(workers, sockets);
    if (number === undefined) {
      closeFd(table);
      log.warn('no number is free in the table of UDP sessions: they are found by buckets alone');
      return;
    }
    own = number;
    value = u32(number);
    forgetOthers(table, number);
    if (flows !== undefined) closeFd(flows);
    flows = table;
    log.debug({ number }, 'UDP sessions are told to the kernel');
  }

  return {
    look() {
      let found: number | undefined;
      try {
        found = openPinned(join(bpfDir, 'l7_udp_workers'));
        if (found === undefined) return false;
        const { id } = mapInfo(found);
        if (id === workers?.id) return false;
        if (workers !== undefined) closeFd(workers.fd);
        workers = { fd: found, id };
        found = undefined;
        open(workers.fd);
        return flows !== undefined;
      } catch (error) {
        if (String(error) !== lastFailure)
          log.error({ error: String(error) }, 'cannot use the table of UDP sessions');
        lastFailure = String(error);
        return false;
      } finally {
        if (found !== undefined) closeFd(found);
      }
    },
    claim(source, destination) {
      if (flows === undefined || workers === undefined) return true;
      fill(source, destination);
      try {
        updateElement(flows, key, value, onlyNew);
        return true;
      } catch {
        if (!lookupElement(flows, key, holder)) {
          // Full: the bucket finds the session for as long as it is this worker's.
          return true;
        }
      }
      const number = holderNumber[0] ?? own;
      // The kernel takes the sockets of who has died out, and answers a look with the cookie of one that is there.
      if (number !== own && lookupElement(workers.fd, u32(number * socketsPerWorker), cookie)) return false;
      updateElement(flows, key, value);
      return true;
    },
    forget(source, destination) {
      if (flows === undefined) return;
      fill(source, destination);
      // While the maps were away another worker may have taken the client on.
      if (lookupElement(flows, key, holder) && holderNumber[0] === own) deleteElement(flows, key);
    },
  };
}

/** Puts the sockets at the first free number; undefined: none is. */
function takeNumber(workers: number, sockets: readonly [number, number]): number | undefined {
  const count = mapInfo(workers).maxEntries / socketsPerWorker;
  for (let number = 0; number < count; number++) {
    try {
      updateElement(workers, u32(number * socketsPerWorker), u64(sockets[0]), onlyNew);
    } catch {
      continue;
    }
    updateElement(workers, u32(number * socketsPerWorker + 1), u64(sockets[1]));
    return number;
  }
  return undefined;
}

/** Sessions of a worker that died with the number. */
function forgetOthers(table: number, number: number): void {
  const holder = new Uint8Array(4);
  const wanted = u32(number);
  for (const key of mapKeys(table, keyBytes)) {
    if (lookupElement(table, key, holder) && holder.every((byte, at) => byte === wanted[at]))
      deleteElement(table, key);
  }
}

function writeAddress(key: Buffer, at: number, name: string): void {
  if (name.length === 18) return void key.write(name.slice(2), at, 'latin1');
  key.fill(0, at, at + 10).fill(0xff, at + 10, at + 12);
  key.write(name.slice(2), at + 12, 'latin1');
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}
