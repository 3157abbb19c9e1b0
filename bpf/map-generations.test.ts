import { mkdirSync } from 'node:fs';
import { systemClock } from '@l4d/kit/clock.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { removeBpfFolder } from '@l4d/l4d/io/forwarding/bpf-folder.ts';
import { objectTypes } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { createForwardingMaps, type MapFds } from '@l4d/l4d/io/forwarding/forwarding-maps.ts';
import { createForwardingTable } from '@l4d/l4d/io/forwarding/forwarding-table.ts';
import { createMapCodec } from '@l4d/l4d/io/forwarding/map-codec.ts';
import {
  closeAll,
  currentGeneration,
  openGeneration,
  pinnedGenerations,
} from '@l4d/l4d/io/forwarding/map-generations.ts';
import { type MigrationStep, openOrMakeMaps } from '@l4d/l4d/io/forwarding/pinned-maps.ts';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { four, vipOf } from './testing/world.ts';

/** Maps of another size in place of pinned ones, step by step, with an end at any of them. */

const folder = `/sys/fs/bpf/generations${process.pid}`;
const types = objectTypes('l4d_xdp');
const capacity = {
  vips: 100,
  backends: 200,
  tableSlots: 65_536,
  flows: 8192,
  embryonicFlows: 1024,
  natFlows: 1024,
};

beforeEach(() => {
  removeBpfFolder(folder);
  mkdirSync(folder);
});
afterEach(() => removeBpfFolder(folder));

/** Opens the maps as a start does; `endAt` ends it there, as a kill would. Undefined: it ended. */
function start(flows: number, endAt?: MigrationStep) {
  try {
    return openOrMakeMaps({
      bpfFolder: folder,
      capacity: { ...capacity, flows },
      types,
      logger: pino({ level: 'silent' }),
      onStep(step) {
        if (step === endAt) throw new Error('killed');
      },
    });
  } catch (error) {
    if (!(error instanceof Error) || error.message !== 'killed') throw error;
    return undefined;
  }
}

const inForce = () => openGeneration(folder, currentGeneration(folder) ?? -1) as MapFds;

/** A flow of its number, as a program stores it. */
function storeFlow(fds: Pick<MapFds, 'flows4'>, number: number): void {
  const { keySize, valueSize } = libbpf.mapInfo(fds.flows4);
  libbpf.updateElement(fds.flows4, bytes(keySize, number), bytes(valueSize, number));
}

function hasFlow(fds: Pick<MapFds, 'flows4'>, number: number): boolean {
  const { keySize, valueSize } = libbpf.mapInfo(fds.flows4);
  const found = new Uint8Array(valueSize);
  return (
    libbpf.lookupElement(fds.flows4, bytes(keySize, number), found) &&
    Buffer.compare(found, bytes(valueSize, number)) === 0
  );
}

const bytes = (size: number, number: number) => new Uint8Array(size).fill(number);

function table(fds: MapFds) {
  return createForwardingTable(createForwardingMaps(fds, createMapCodec(types)), systemClock);
}

/** Maps with a VIP and flow 1, as a daemon has left them. */
function leaveMaps(): void {
  const first = start(capacity.flows);
  if (first === undefined) throw new Error('nothing was made');
  table(first.fds).apply(vipOf(four));
  storeFlow(first.fds, 1);
  closeAll(first.fds);
}

/** That the maps in force have the VIP and these flows. */
function expectWhole(generation: number, flows: readonly number[]): void {
  expect(currentGeneration(folder)).toBe(generation);
  const fds = inForce();
  expect(table(fds).verify(vipOf(four))).toBeUndefined();
  expect(flows.filter((number) => !hasFlow(fds, number))).toEqual([]);
  closeAll(fds);
}

it('ended at any step before the new maps are in force, the old ones work on; the next start makes them anew', () => {
  leaveMaps();
  const old = openGeneration(folder, 1) as MapFds;
  for (const step of ['made', 'copied', 'pinned'] as const) {
    expect(start(16_384, step)).toBeUndefined();
    expectWhole(1, [1]);
  }
  // The programs that run have the old maps yet.
  storeFlow(old, 2);
  const next = start(16_384);
  next?.catchUp('before');
  storeFlow(old, 3);
  next?.catchUp('after');
  next?.forgetOld();
  closeAll(old);
  expect(pinnedGenerations(folder)).toEqual([2]);
  expectWhole(2, [1, 2, 3]);
  const fds = inForce();
  expect(libbpf.mapInfo(fds.flows4).maxEntries).toBe(16_384);
  expect(table(fds).apply(vipOf(four))).toBe(0);
  closeAll(fds);
});

it('ended at any step after that, the next start takes over what flows there were meanwhile', () => {
  leaveMaps();
  const old = openGeneration(folder, 1) as MapFds;
  expect(start(16_384, 'switched')).toBeUndefined();
  expectWhole(2, [1]);
  storeFlow(old, 2);
  start(16_384)?.catchUp('before');
  expectWhole(2, [1, 2]);
  // Swapped.
  storeFlow(old, 3);
  start(16_384)?.catchUp('after');
  expectWhole(2, [1, 2, 3]);
  expect(pinnedGenerations(folder)).toEqual([1, 2]);
  start(16_384)?.forgetOld();
  closeAll(old);
  expect(pinnedGenerations(folder)).toEqual([2]);
  expectWhole(2, [1, 2, 3]);
});

it('nothing is made where nothing differs, nor where the maps hold more than would fit', () => {
  leaveMaps();
  start(capacity.flows)?.forgetOld();
  expect(pinnedGenerations(folder)).toEqual([1]);
  const fds = inForce();
  createForwardingMaps(fds, createMapCodec(types)).writeSlots(60_000, Uint32Array.of(1));
  closeAll(fds);
  const warned: string[] = [];
  const opened = openOrMakeMaps({
    bpfFolder: folder,
    capacity: { ...capacity, tableSlots: 1024 },
    types,
    logger: { ...pino({ level: 'silent' }), warn: (text: string) => void warned.push(text) } as never,
  });
  expect(warned).toEqual([expect.stringContaining('host.capacity is too small')]);
  expect(pinnedGenerations(folder)).toEqual([1]);
  closeAll(opened.fds);
});

it('connections of NAT are taken over as flows are, and a later packet on the new side wins', () => {
  leaveMaps();
  const old = openGeneration(folder, 1) as MapFds;
  const names = ['nat4_in', 'nat4_out', 'nat6_in', 'nat6_out'] as const;
  const element = (fds: MapFds, name: (typeof names)[number], number: number, tick: number, state = 0) => {
    const { keySize, valueSize } = libbpf.mapInfo(fds[name]);
    const value = bytes(valueSize, number);
    const view = new DataView(value.buffer);
    // What each entry begins with: state, last tick (nat_layout.h).
    view.setUint32(0, state, true);
    view.setUint32(4, tick, true);
    return { key: bytes(keySize, number), value };
  };
  const store = (fds: MapFds, number: number, tick: number, state?: number) => {
    for (const name of names) {
      const { key, value } = element(fds, name, number, tick, state);
      libbpf.updateElement(fds[name], key, value);
    }
  };
  const stateOf = (fds: MapFds, number: number) =>
    names.map((name) => {
      const { key, value } = element(fds, name, number, 0);
      return libbpf.lookupElement(fds[name], key, value) ? new DataView(value.buffer).getUint32(0, true) : -1;
    });
  store(old, 1, 100);
  const next = start(16_384);
  if (next === undefined) throw new Error('nothing was made');
  store(old, 2, 100, 3);
  next.catchUp('before');
  store(old, 3, 100, 7);
  // The programs that were swapped already have seen a packet of it later.
  store(old, 1, 101, 1);
  store(next.fds, 1, 102, 3);
  next.catchUp('after');
  expect([1, 2, 3, 4].map((number) => stateOf(next.fds, number))).toEqual(
    [3, 3, 7, -1].map((one) => Array(4).fill(one)),
  );
  closeAll(next.fds);
  closeAll(old);
});
