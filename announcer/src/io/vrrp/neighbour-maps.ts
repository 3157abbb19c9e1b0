import { SyscallError } from '@l4d/kit/errors.ts';
import { deleteElement, mapKeys, updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { type IpFamily, toMappedBytes } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import type { AnswerEntry } from '../../core/vrrp/answer-table.ts';
import { openOtherPin } from './followed-pin.ts';

/** Sizes of struct neighbour_key and struct neighbour (bpf/include/l4d.h), and the most identifiers of one. */
const keyBytes = 16;
const mostVrids = 32;
const valueBytes = 8 + mostVrids;
/** Nanoseconds of the monotonic clock. */
const ownerBytes = 8;

/** Lets the program in the kernel answer ARP and neighbour discovery, and tells it until when. */
export interface NeighbourMaps {
  /** Replaces the addresses; `mac` is the interface's. */
  setAddresses(entries: readonly AnswerEntry[], mac: MacAddress): void;
  /** This host speaks for a virtual router for so many milliseconds from now; 0: it does no more. */
  setOwner(family: IpFamily, vrid: number, milliseconds: number): void;
  /** Why the maps do not hold what they should. */
  problem(): string | undefined;
  close(): void;
}

/** Where the two maps are pinned. */
export interface NeighbourPins {
  readonly neighbours: string;
  readonly owners: string;
}

/** Writes to the maps that are pinned there; missing or other ones are taken when they come. */
export function openNeighbourMaps(pins: NeighbourPins): NeighbourMaps {
  const until = new Map<number, bigint>();
  let wanted = new Map<string, { readonly key: Uint8Array; readonly value: Uint8Array }>();
  const fds: { neighbours?: number; owners?: number } = {};
  let problem: string | undefined;
  let timer: NodeJS.Timeout | undefined;

  /** Performs writes; what fails is told, and tried again with everything else. */
  function attempt(write: () => void): void {
    try {
      write();
      problem = undefined;
    } catch (error) {
      if (!(error instanceof SyscallError || error instanceof RangeError)) throw error;
      problem = `${pins.neighbours}: ${error.message}`;
    }
  }

  /** Follows the pins, which an upgrade may give to other maps. */
  function follow(): void {
    timer = setTimeout(follow, 1000);
    attempt(() => {
      const neighbours = openOtherPin(pins.neighbours, fds.neighbours, valueBytes);
      if (neighbours !== undefined) {
        if (fds.neighbours !== undefined) closeFd(fds.neighbours);
        fds.neighbours = neighbours;
        writeAddresses();
      }
      const owners = openOtherPin(pins.owners, fds.owners, ownerBytes);
      if (owners !== undefined) {
        if (fds.owners !== undefined) closeFd(fds.owners);
        fds.owners = owners;
        for (const index of until.keys()) writeOwner(index);
      }
    });
  }

  function writeAddresses(): void {
    if (fds.neighbours === undefined) return;
    for (const key of mapKeys(fds.neighbours, keyBytes)) {
      if (!wanted.has(nameOf(key))) deleteElement(fds.neighbours, key);
    }
    for (const { key, value } of wanted.values()) updateElement(fds.neighbours, key, value);
  }

  function writeOwner(index: number): void {
    if (fds.owners === undefined) return;
    const key = new Uint8Array(Uint32Array.of(index).buffer);
    updateElement(fds.owners, key, new Uint8Array(BigUint64Array.of(until.get(index) ?? 0n).buffer));
  }

  follow();
  return {
    setAddresses(entries, mac) {
      wanted = new Map(
        entries.map((entry) => {
          const key = toMappedBytes(entry.address);
          return [nameOf(key), { key, value: encodeNeighbour(entry, mac) }];
        }),
      );
      attempt(writeAddresses);
    },
    setOwner(family, vrid, milliseconds) {
      const index = (family === 4 ? 0 : 256) + vrid;
      const now = process.hrtime.bigint();
      until.set(index, milliseconds <= 0 ? 0n : now + BigInt(Math.round(milliseconds * 1e6)));
      attempt(() => writeOwner(index));
    },
    problem: () => problem,
    close() {
      clearTimeout(timer);
      for (const fd of [fds.neighbours, fds.owners]) if (fd !== undefined) closeFd(fd);
      delete fds.neighbours;
      delete fds.owners;
    },
  };
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('hex');
}

function encodeNeighbour({ vrids, mac: own }: AnswerEntry, mac: MacAddress): Uint8Array {
  const value = new Uint8Array(valueBytes);
  value.set(mac);
  value[6] = own === undefined ? 1 : 0;
  value[7] = vrids.length;
  value.set(vrids.slice(0, mostVrids), 8);
  return value;
}
