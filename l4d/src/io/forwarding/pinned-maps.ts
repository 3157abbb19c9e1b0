import type { ObjectTypes } from '@l4d/kit/btf.ts';
import { exitCode, InvariantError, OperatorError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { pinPath, unpin } from './bpf-folder.ts';
import { objectPath } from './bpf-objects.ts';
import { type MapFds, objectMapName, pinnedMaps, slotsPerPair } from './forwarding-maps.ts';

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
}

/**
 * Opens the maps that an earlier run pinned; undefined when one is missing or has another layout
 * than today's programs.
 */
export function openPinnedMaps(bpfFolder: string, types: ObjectTypes): MapFds | undefined {
  const pinned = pinnedMaps.map((name) => [name, libbpf.openPinned(pinPath(bpfFolder, name))] as const);
  if (pinned.every(([name, fd]) => fd !== undefined && layoutFits(name, fd, types))) {
    return Object.fromEntries(pinned) as MapFds;
  }
  for (const [, fd] of pinned) if (fd !== undefined) closeFd(fd);
  return undefined;
}

/**
 * Opens the pinned maps, or makes and pins all of them when they are missing or their layout has
 * changed. Sizes of existing maps stay: a difference is told in the log.
 */
export function openOrMakeMaps(
  bpfFolder: string,
  capacity: DataPlaneCapacity,
  types: ObjectTypes,
  logger: Logger,
): MapFds {
  const pinned = openPinnedMaps(bpfFolder, types);
  if (pinned !== undefined) {
    const differs = capacityDifference(pinned, capacity);
    if (differs !== undefined) logger.warn(differs);
    return pinned;
  }
  const object = libbpf.openObject(objectPath('l4d_xdp'));
  try {
    for (const [name, entries] of Object.entries(mapSizes(capacity))) {
      libbpf.setMaxEntries(object, name, entries);
    }
    libbpf.loadObject(object, 'l4d_xdp');
    const fds: Record<string, number> = {};
    for (const name of pinnedMaps) {
      const path = pinPath(bpfFolder, name);
      const old = libbpf.openPinned(path);
      if (old !== undefined) {
        logger.warn({ map: name }, 'a pinned map has another layout and is made anew; its content is lost');
        closeFd(old);
        unpin(bpfFolder, name);
      }
      libbpf.pin(libbpf.mapFd(object, objectMapName(name)), path);
      const fd = libbpf.openPinned(path);
      if (fd === undefined) throw new InvariantError(`${path} vanished`);
      fds[name] = fd;
    }
    return fds as MapFds;
  } finally {
    libbpf.closeObject(object);
  }
}

/** As openPinnedMaps; throws OperatorError when there are none that fit. */
export function requirePinnedMaps(bpfFolder: string, types: ObjectTypes): MapFds {
  const pinned = openPinnedMaps(bpfFolder, types);
  if (pinned !== undefined) return pinned;
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
    backends: capacity.backends,
    backend_counters: capacity.backends,
    vxlan_ends: capacity.backends,
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
  } satisfies Partial<Record<keyof MapFds, number>>;
}

function capacityDifference(fds: MapFds, capacity: DataPlaneCapacity): string | undefined {
  const differing = Object.entries(mapSizes(capacity)).filter(
    ([name, entries]) => libbpf.mapInfo(fds[name as keyof MapFds]).maxEntries !== entries,
  );
  if (differing.length === 0) return undefined;
  const names = differing.map(([name]) => name).join(', ');
  return (
    `host.capacity does not match the existing maps (${names}), which keep their size; ` +
    'to make them anew: stop the daemon, l4d detach --all --forget, l4d attach --all, start it'
  );
}

/** Whether keys and values have the sizes of today's structs. */
function layoutFits(name: keyof MapFds, fd: number, types: ObjectTypes): boolean {
  const size = (name: string) => types.structs.get(name)?.size;
  const expected: Record<keyof MapFds, readonly [number | undefined, number | undefined]> = {
    vips4: [size('vip4_key'), size('vip')],
    vips6: [size('vip6_key'), size('vip')],
    vip_epoch: [4, 4],
    maglev_slots: [4, size('slot_pair')],
    backends: [4, size('backend')],
    flows4: [size('flow4_key'), size('flow')],
    flows6: [size('flow6_key'), size('flow')],
    flows4_by_cpu: [4, 4],
    flows6_by_cpu: [4, 4],
    embryonic4: [size('flow4_key'), size('flow')],
    embryonic6: [size('flow6_key'), size('flow')],
    flow_settings: [4, size('flow_settings')],
    vip_turns: [4, 8],
    backend_loads: [4, size('backend_load')],
    quic_servers: [size('quic_server_key'), 4],
    vip_counters: [4, size('traffic_counter')],
    backend_counters: [4, size('traffic_counter')],
    reasons: [4, 8],
    egress: [4, size('egress')],
    egress_devices: [4, 4],
    vxlan_ends: [4, size('vxlan_end')],
    features: [4, 4],
    fragments: [size('fragment_key'), size('fragment')],
    fragment_hosts: [4, size('fragment_hosts')],
  };
  const info = libbpf.mapInfo(fd);
  const [keySize, valueSize] = expected[name];
  const reasonsFit = name !== 'reasons' || info.maxEntries === types.enums.get('reason')?.get('REASON_COUNT');
  return info.keySize === keySize && info.valueSize === valueSize && reasonsFit;
}
