import type { ObjectTypes } from '@l4d/kit/btf.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { objectPath } from './bpf-objects.ts';
import { type MapFds, objectMapName, pinnedMaps, slotsPerPair } from './forwarding-maps.ts';
import {
  closeAll,
  currentGeneration,
  openGeneration,
  pinGeneration,
  pinnedGenerations,
  removeGeneration,
  switchGeneration,
} from './map-generations.ts';
import {
  catchUpFlows,
  copyCounters,
  copyMaps,
  declaredLayouts,
  differingLayouts,
  layoutsOf,
  unfitIndex,
} from './map-migration.ts';

/** Sizes of the maps, fixed when they are made; see docs/operators/sizing.md. */
export interface DataPlaneCapacity {
  readonly vips: number;
  readonly backends: number;
  /** Slots of all Maglev tables together. */
  readonly tableSlots: number;
  /** Flows remembered per address family. */
  readonly flows: number;
  /** First packets kept per address family, for schedulers that do not answer the same twice. */
  readonly embryonicFlows: number;
  /** Connections of NAT at once, per address family. */
  readonly natFlows: number;
}

/** Steps at which a test may end the process: whatever it leaves must work. */
export type MigrationStep = 'made' | 'copied' | 'pinned' | 'switched' | 'swapped' | 'caught-up';

/** The maps in force, and those before them while flows are still to be taken from there. */
export interface OpenedMaps {
  readonly fds: MapFds;
  /**
   * To be called before and after the programs are swapped: takes over flows that changed in the old maps, and before
   * what was counted.
   */
  readonly catchUp: (when: 'before' | 'after') => void;
  /** To be called when no program uses the old maps any more. */
  readonly forgetOld: () => void;
}

/** What the maps are opened with. */
export interface MapOptions {
  readonly bpfFolder: string;
  readonly capacity: DataPlaneCapacity;
  readonly types: ObjectTypes;
  readonly logger: Logger;
  readonly onStep?: (step: MigrationStep) => void;
}

/**
 * Opens the pinned maps. Where they are missing, have another layout than today's programs or other sizes than are
 * declared, others are made, filled with what they hold, and put in force. Throws SyscallError or VerifierError; the
 * old ones are then in force.
 */
export function openOrMakeMaps(options: MapOptions): OpenedMaps {
  const { bpfFolder, logger } = options;
  const current = currentGeneration(bpfFolder);
  // What was being made when a process ended, and was not put in force.
  for (const one of pinnedGenerations(bpfFolder))
    if (current === undefined || one > current) removeGeneration(bpfFolder, one);
  if (current === undefined) return { fds: makeGeneration(options, 1), ...nothingOld };

  const held = openGeneration(bpfFolder, current);
  const layouts = { before: layoutsOf(held), after: declaredLayouts(options.types) };
  const difference = whatDiffers(held, layouts, options);
  if (difference === undefined) {
    const older = pinnedGenerations(bpfFolder).filter((one) => one < current);
    return { fds: held as MapFds, ...oldMaps(options, held as MapFds, older) };
  }
  logger.warn(
    { difference, generation: current + 1 },
    'the maps are made anew, and filled with what they hold',
  );
  // Flows that an upgrade before did not come to take.
  for (const one of pinnedGenerations(bpfFolder).filter((older) => older < current)) {
    catchUpFrom(bpfFolder, one, held as MapFds);
    removeGeneration(bpfFolder, one);
  }
  const fds = makeGeneration(options, current + 1, (made) => copyMaps(held, made, layouts));
  closeAll(held);
  return { fds, ...oldMaps(options, fds, [current], true) };
}

const nothingOld = { catchUp: () => undefined, forgetOld: () => undefined };

/** Makes, fills and pins maps, and puts them in force. */
function makeGeneration(
  { bpfFolder, capacity, onStep = () => undefined }: MapOptions,
  generation: number,
  fill?: (made: MapFds) => void,
): MapFds {
  const object = libbpf.openObject(objectPath('l4d_xdp'));
  try {
    for (const [name, entries] of Object.entries(mapSizes(capacity))) {
      libbpf.setMaxEntries(object, name, entries);
    }
    // Maps that are in force are not given up for programs that the kernel refuses; on a first start there are none.
    if (fill === undefined) libbpf.leaveOutPrograms(object);
    libbpf.loadObject(object, 'l4d_xdp');
    const fdOf = (name: keyof MapFds) => libbpf.mapFd(object, objectMapName(name));
    onStep('made');
    fill?.(Object.fromEntries(pinnedMaps.map((name) => [name, fdOf(name)])) as MapFds);
    onStep('copied');
    pinGeneration(bpfFolder, generation, fdOf);
    onStep('pinned');
    switchGeneration(bpfFolder, generation);
    onStep('switched');
    return openGeneration(bpfFolder, generation) as MapFds;
  } finally {
    libbpf.closeObject(object);
  }
}

function oldMaps(
  { bpfFolder, logger }: MapOptions,
  fds: MapFds,
  generations: readonly number[],
  isNew = false,
): Omit<OpenedMaps, 'fds'> {
  let left = generations;
  return {
    catchUp(when) {
      let flows = 0;
      for (const one of left) flows += catchUpFrom(bpfFolder, one, fds, isNew && when === 'before');
      if (left.length > 0) logger.info({ flows, when }, 'flows that changed meanwhile are taken over');
    },
    forgetOld() {
      for (const one of left) removeGeneration(bpfFolder, one);
      left = [];
    },
  };
}

function catchUpFrom(bpfFolder: string, generation: number, fds: MapFds, withCounters = false): number {
  const old = openGeneration(bpfFolder, generation);
  const layouts = { before: layoutsOf(old), after: layoutsOf(fds) };
  try {
    if (withCounters) copyCounters(old, fds, layouts);
    return catchUpFlows(old, fds, layouts);
  } finally {
    closeAll(old);
  }
}

/** Why the maps cannot stay as they are; undefined when they can. */
function whatDiffers(
  held: Partial<Record<keyof MapFds, number>>,
  layouts: Parameters<typeof copyMaps>[2],
  { capacity, logger }: MapOptions,
): string | undefined {
  const missing = pinnedMaps.filter((name) => held[name] === undefined);
  if (missing.length > 0) return `missing: ${missing.join(', ')}`;
  const differing = differingLayouts(layouts.before, layouts.after);
  if (differing.length > 0) return `another layout: ${differing.join(', ')}`;
  const sizes: Readonly<Record<string, number>> = mapSizes(capacity);
  const resized = Object.entries(sizes).filter(
    ([name, entries]) => libbpf.mapInfo(held[name as keyof MapFds] ?? -1).maxEntries !== entries,
  );
  if (resized.length === 0) return undefined;
  const names = resized.map(([name]) => name).join(', ');
  const unfit = unfitIndex(held, sizes);
  if (unfit === undefined) return `another size: ${names}`;
  logger.warn(
    `host.capacity is too small for what the maps hold (${unfit}), which keep their size; to make them anew, ` +
      'without their flows: stop the daemon, l4d detach --all --forget, l4d attach --all, start it',
  );
  return undefined;
}

/** The maps in force, for tools that act without a daemon. Throws OperatorError when they are of another version. */
export function requirePinnedMaps(bpfFolder: string, types: ObjectTypes): MapFds {
  const current = currentGeneration(bpfFolder);
  const held = current === undefined ? {} : openGeneration(bpfFolder, current);
  const isWhole = pinnedMaps.every((name) => held[name] !== undefined);
  if (isWhole && differingLayouts(layoutsOf(held), declaredLayouts(types)).length === 0)
    return held as MapFds;
  closeAll(held);
  throw new OperatorError(
    `the maps in ${bpfFolder} are of another version of l4d: start this version's daemon once, or use --all`,
    exitCode.system,
  );
}

/** Entries of the maps whose size is configured. A VIP has an entry for itself and one for its address. */
function mapSizes(capacity: DataPlaneCapacity) {
  return {
    vips4: capacity.vips * 2,
    vips6: capacity.vips * 2,
    vip_counters: capacity.vips + 1,
    class_counters: 2 * (capacity.vips + 1),
    backends: capacity.backends,
    backend_counters: capacity.backends,
    vxlan_ends: capacity.backends,
    tunnel_ends: capacity.backends,
    maglev_slots: Math.ceil(capacity.tableSlots / slotsPerPair),
    flows4: capacity.flows,
    flows6: capacity.flows,
    flows4_by_cpu: libbpf.possibleCpus(),
    flows6_by_cpu: libbpf.possibleCpus(),
    embryonic4: capacity.embryonicFlows,
    embryonic6: capacity.embryonicFlows,
    vip_turns: capacity.vips + 1,
    backend_loads: capacity.backends,
    quic_servers: capacity.backends,
    nat4_out: capacity.natFlows,
    nat4_in: capacity.natFlows,
    nat6_out: capacity.natFlows,
    nat6_in: capacity.natFlows,
  } satisfies Partial<Record<keyof MapFds, number>>;
}
