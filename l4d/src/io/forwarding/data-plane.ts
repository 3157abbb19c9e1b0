import type { ObjectTypes } from '@l4d/kit/btf.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import { InvariantError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd, jiffyNanoseconds } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { ensureBpfFolder, pinName, pinPath } from './bpf-folder.ts';
import { objectPath, objectTypes } from './bpf-objects.ts';
import { createForwardingMaps, type MapFds, objectMapName, pinnedMaps } from './forwarding-maps.ts';
import { createForwardingTable, type ForwardingTable } from './forwarding-table.ts';
import { createListenerTable } from './listener-table.ts';
import { createMapCodec } from './map-codec.ts';
import { type DataPlaneCapacity, openOrMakeMaps, requirePinnedMaps } from './pinned-maps.ts';
import { attachLookup, holdsSockets, lookupIsAttached, openLookupMaps } from './proxy-lookup.ts';
import {
  attachXdpPrograms,
  type DataPlaneInterface,
  pinnedXdpInterface,
  type XdpMode,
} from './xdp-attachment.ts';

/** What opening needs. */
export interface DataPlaneOptions {
  /** The host's folder in bpffs. */
  readonly bpfFolder: string;
  readonly capacity: DataPlaneCapacity;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The kernel side of l4d: maps, programs, links. */
export type DataPlane = ReturnType<typeof openDataPlane>;

/**
 * Opens or makes the pinned maps. Nothing is attached yet, so that a first start can fill the maps
 * before a packet meets them. Throws OperatorError, VerifierError or SyscallError.
 */
export function openDataPlane(options: DataPlaneOptions) {
  const { bpfFolder, logger } = options;
  ensureBpfFolder(bpfFolder);
  const types = objectTypes('l4d_xdp');
  const mapFds = openOrMakeMaps(bpfFolder, options.capacity, types, logger);
  const codec = createMapCodec(types);
  const maps = createForwardingMaps(mapFds, codec);
  const lookupFds = openLookupMaps(bpfFolder, logger);
  let attached: { mode: XdpMode; programId: number } | undefined;

  return {
    maps,
    forwarding: createForwardingTable(maps, options.clock, (contradiction) =>
      logger.warn(
        { contradiction },
        'what is in the kernel contradicts itself: the later entry is made anew',
      ),
    ),
    listeners: createListenerTable(lookupFds.listeners),
    workersLive: () => holdsSockets(lookupFds.sockets),

    /** How the program is attached; undefined before attach. */
    attachment: () => attached,

    /** Why the programs do not run on that interface as pinned; undefined when they do. */
    attachmentProblem(interfaceIndex: number): string | undefined {
      if (pinnedXdpInterface(bpfFolder) !== interfaceIndex) return 'the XDP program is not attached';
      return lookupIsAttached(bpfFolder) ? undefined : 'the sk_lookup program is not attached';
    },

    /** Takes note that somebody else detached the programs (`l4d detach`). */
    forgetAttachment(): void {
      attached = undefined;
    },

    /**
     * Attaches the programs to the interface, or swaps those of an earlier run without losing a
     * packet. `auto` prefers native mode and falls back to generic with a warning.
     * Throws OperatorError when the interface has another XDP program or no mode works.
     */
    async attach(on: DataPlaneInterface, mode: XdpMode | 'auto'): Promise<void> {
      const object = libbpf.openObject(objectPath('l4d_xdp'));
      try {
        for (const name of pinnedMaps) libbpf.reuseMap(object, objectMapName(name), mapFds[name]);
        const virtualMacs = libbpf.openPinned(pinPath(bpfFolder, pinName.virtualMacs));
        if (virtualMacs !== undefined) libbpf.reuseMap(object, 'virtual_macs', virtualMacs);
        setReadOnlyData(object, types, on.mac);
        libbpf.loadObject(object, 'l4d_xdp');
        if (virtualMacs === undefined) {
          libbpf.pin(libbpf.mapFd(object, 'virtual_macs'), pinPath(bpfFolder, pinName.virtualMacs));
        } else closeFd(virtualMacs);
        const program = libbpf.programFd(object, 'l4d_xdp');
        const programs = { first: program, stages: libbpf.mapFd(object, 'stages') };
        const attachedMode = await attachXdpPrograms(bpfFolder, programs, on, mode, logger);
        attached = { mode: attachedMode, programId: libbpf.programInfo(program).id };
      } finally {
        libbpf.closeObject(object);
      }
      attachCheckSteering(mapFds, on.index);
      await attachLookup(bpfFolder, lookupFds, logger);
    },
  };
}

/**
 * Tells the program, before it is loaded, what it takes as constant: the interface's address and
 * the kernel's tick (0: the program asks a helper for the time, which takes longer).
 */
export function setReadOnlyData(
  object: libbpf.BpfObject,
  types: ObjectTypes,
  mac: MacAddress,
  tick: number = jiffyNanoseconds(),
): void {
  const values = { own_mac: mac, jiffy_nanoseconds: new Uint8Array(Uint32Array.of(tick).buffer) };
  for (const [name, bytes] of Object.entries(values)) {
    const variable = types.sections.get('.rodata')?.get(name);
    if (variable?.size !== bytes.length) {
      throw new InvariantError(`the object has no read-only variable ${name} of ${bytes.length} bytes`);
    }
    libbpf.setData(object, '.rodata', variable.offset, bytes);
  }
}

/**
 * The VIPs in the maps that an earlier run pinned, for tools that act without a daemon.
 * Throws OperatorError when the maps are of another version.
 */
export function openPinnedForwarding(bpfFolder: string, clock: Clock): ForwardingTable {
  const types = objectTypes('l4d_xdp');
  const maps = createForwardingMaps(requirePinnedMaps(bpfFolder, types), createMapCodec(types));
  return createForwardingTable(maps, clock);
}

function attachCheckSteering(fds: MapFds, interfaceIndex: number): void {
  const object = libbpf.openObject(objectPath('check_steering'));
  try {
    // The object's other maps are its own and go with it.
    const used: readonly string[] = ['backends', 'tunnel_settings'];
    for (const name of pinnedMaps) {
      if (used.includes(name)) libbpf.reuseMap(object, objectMapName(name), fds[name]);
      else libbpf.setMaxEntries(object, objectMapName(name), 1);
    }
    libbpf.loadObject(object, 'check_steering');
    libbpf.attachTcEgress(libbpf.programFd(object, 'check_steering'), interfaceIndex);
  } finally {
    libbpf.closeObject(object);
  }
}
