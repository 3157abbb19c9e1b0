import { SyscallError } from '@l4d/kit/errors.ts';
import { deleteElement, mapKeys, openPinned, updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { type IpFamily, toMappedBytes } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import type { AnswerEntry } from '../../core/vrrp/answer-table.ts';

/** Sizes of struct neighbour_key and struct neighbour (bpf/include/l4d.h), and the most identifiers of one. */
const keyBytes = 16;
const mostVrids = 32;
const valueBytes = 8 + mostVrids;

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

/** Writes to the maps that are pinned there; maps that are missing are tried again. */
export function openNeighbourMaps(pins: NeighbourPins): NeighbourMaps {
  const until = new Map<number, bigint>();
  let wanted = new Map<string, { readonly key: Uint8Array; readonly value: Uint8Array }>();
  let fds: { readonly neighbours: number; readonly owners: number } | undefined;
  let problem: string | undefined;
  let timer: NodeJS.Timeout | undefined;

  /** Performs writes; what fails is told, and tried again with everything else. */
  function attempt(write: () => void): void {
    try {
      write();
      problem = undefined;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      problem = `${pins.neighbours}: ${error.message}`;
    }
  }

  function open(): void {
    timer = undefined;
    attempt(() => {
      const neighbours = openPinned(pins.neighbours);
      const owners = openPinned(pins.owners);
      if (neighbours === undefined || owners === undefined) {
        for (const fd of [neighbours, owners]) if (fd !== undefined) closeFd(fd);
        timer = setTimeout(open, 1000);
        return;
      }
      fds = { neighbours, owners };
      writeAddresses();
      for (const index of until.keys()) writeOwner(index);
    });
    if (fds === undefined && timer === undefined) timer = setTimeout(open, 1000);
  }

  function writeAddresses(): void {
    if (fds === undefined) return;
    for (const key of mapKeys(fds.neighbours, keyBytes)) {
      if (!wanted.has(nameOf(key))) deleteElement(fds.neighbours, key);
    }
    for (const { key, value } of wanted.values()) updateElement(fds.neighbours, key, value);
  }

  function writeOwner(index: number): void {
    if (fds === undefined) return;
    const key = new Uint8Array(Uint32Array.of(index).buffer);
    updateElement(fds.owners, key, new Uint8Array(BigUint64Array.of(until.get(index) ?? 0n).buffer));
  }

  open();
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
      if (fds === undefined) return;
      closeFd(fds.neighbours);
      closeFd(fds.owners);
      fds = undefined;
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
