import { openSync } from 'node:fs';
import type { ObjectTypes } from '@l4d/kit/btf.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import { exitCode, InvariantError, OperatorError, SyscallError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd, constant, jiffyNanoseconds } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { ensureBpfFolder, pinName, pinPath, unpin } from './bpf-folder.ts';
import { objectPath, objectTypes } from './bpf-objects.ts';
import { createForwardingMaps, type MapFds, pinnedMaps, slotsPerPair } from './forwarding-maps.ts';
import { createForwardingTable } from './forwarding-table.ts';
import { createListenerTable } from './listener-table.ts';
import { createMapCodec } from './map-codec.ts';

/** Where VIP traffic arrives. */
export interface DataPlaneInterface {
  readonly name: string;
  readonly index: number;
  readonly mac: MacAddress;
}

/** Sizes of the maps, fixed when they are made; see docs/operators/sizing.md. */
export interface DataPlaneCapacity {
  readonly vips: number;
  readonly backends: number;
  readonly tableSlots: number;
  /** Flows remembered per address family. */
  readonly flows: number;
}

/** How the program is attached. */
export type XdpMode = 'native' | 'generic';

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
  const mapFds = openMaps(options, types);
  const codec = createMapCodec(types);
  const maps = createForwardingMaps(mapFds, codec);
  const lookupFds = openLookupMaps(bpfFolder, logger);
  let attached: { mode: XdpMode; programId: number } | undefined;

  return {
    maps,
    forwarding: createForwardingTable(maps, options.clock),
    listeners: createListenerTable(lookupFds.listeners),

    /** How the program is attached; undefined before attach. */
    attachment: () => attached,

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
        for (const name of pinnedMaps) libbpf.reuseMap(object, name, mapFds[name]);
        setReadOnlyData(object, types, on.mac);
        libbpf.loadObject(object, 'l4d_xdp');
        const program = libbpf.programFd(object, 'l4d_xdp');
        const attachedMode = await attachXdpProgram(bpfFolder, program, on, mode, logger);
        attached = { mode: attachedMode, programId: libbpf.programInfo(program).id };
      } finally {
        libbpf.closeObject(object);
      }
      attachCheckSteering(mapFds.backends, on.index);
      await attachLookup(bpfFolder, lookupFds);
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

/** Opens the pinned maps, or makes and pins all of them when their layout has changed. */
function openMaps(options: DataPlaneOptions, types: ObjectTypes): MapFds {
  const { bpfFolder, capacity, logger } = options;
  const object = libbpf.openObject(objectPath('l4d_xdp'));
  try {
    libbpf.setMaxEntries(object, 'vips4', capacity.vips * 2);
    libbpf.setMaxEntries(object, 'vips6', capacity.vips * 2);
    libbpf.setMaxEntries(object, 'vip_counters', capacity.vips + 1);
    libbpf.setMaxEntries(object, 'backends', capacity.backends);
    libbpf.setMaxEntries(object, 'backend_counters', capacity.backends);
    libbpf.setMaxEntries(object, 'maglev_slots', Math.ceil(capacity.tableSlots / slotsPerPair));
    libbpf.setMaxEntries(object, 'flows4', capacity.flows);
    libbpf.setMaxEntries(object, 'flows6', capacity.flows);
    const pinned = pinnedMaps.map((name) => [name, libbpf.openPinned(pinPath(bpfFolder, name))] as const);
    if (pinned.every(([, fd]) => fd !== undefined) && layoutsFit(pinned as [string, number][], types)) {
      return Object.fromEntries(pinned) as MapFds;
    }
    for (const [name, fd] of pinned) {
      if (fd === undefined) continue;
      logger.warn({ map: name }, 'a pinned map has another layout and is made anew; its flows are forgotten');
      closeFd(fd);
    }
    libbpf.loadObject(object, 'l4d_xdp');
    const fds: Record<string, number> = {};
    for (const name of pinnedMaps) {
      const path = pinPath(bpfFolder, name);
      unpin(bpfFolder, name);
      libbpf.pin(libbpf.mapFd(object, name), path);
      const fd = libbpf.openPinned(path);
      if (fd === undefined) throw new InvariantError(`${path} vanished`);
      fds[name] = fd;
    }
    return fds as MapFds;
  } finally {
    libbpf.closeObject(object);
  }
}

/** Whether keys and values have the sizes of today's structs. */
function layoutsFit(pinned: ReadonlyArray<readonly [string, number]>, types: ObjectTypes): boolean {
  const size = (name: string) => types.structs.get(name)?.size;
  const expected: Record<string, readonly [number | undefined, number | undefined]> = {
    vips4: [size('vip4_key'), size('vip')],
    vips6: [size('vip6_key'), size('vip')],
    maglev_slots: [4, size('slot_pair')],
    backends: [4, size('backend')],
    flows4: [size('flow4_key'), size('flow')],
    flows6: [size('flow6_key'), size('flow')],
    vip_counters: [4, size('traffic_counter')],
    backend_counters: [4, size('traffic_counter')],
    reasons: [4, 8],
  };
  return pinned.every(([name, fd]) => {
    const info = libbpf.mapInfo(fd);
    const [keySize, valueSize] = expected[name] ?? [];
    const reasonsFit =
      name !== 'reasons' || info.maxEntries === types.enums.get('reason')?.get('REASON_COUNT');
    return info.keySize === keySize && info.valueSize === valueSize && reasonsFit;
  });
}

async function attachXdpProgram(
  bpfFolder: string,
  program: number,
  on: DataPlaneInterface,
  mode: XdpMode | 'auto',
  logger: Logger,
): Promise<XdpMode> {
  const path = pinPath(bpfFolder, pinName.xdpLink);
  const existing = libbpf.openPinned(path);
  if (existing !== undefined) {
    const info = libbpf.xdpLinkInfo(existing);
    if (info.interfaceIndex === on.index) {
      await libbpf.updateLink(existing, program);
      closeFd(existing);
      return libbpf.xdpProgramId(on.index, libbpf.xdpFlag.native) !== 0 ? 'native' : 'generic';
    }
    logger.warn(
      { interface: on.name },
      'the pinned XDP link belongs to another or a lost interface; it is replaced',
    );
    closeFd(existing);
    unpin(bpfFolder, pinName.xdpLink);
  }
  const attempts: XdpMode[] = mode === 'auto' ? ['native', 'generic'] : [mode];
  for (const attempt of attempts) {
    try {
      const link = libbpf.attachXdp(program, on.index, libbpf.xdpFlag[attempt]);
      libbpf.pin(link, path);
      closeFd(link);
      if (mode === 'auto' && attempt === 'generic') {
        logger.warn(
          { interface: on.name },
          'the driver cannot run XDP natively: attached in generic mode, which forwards several times slower',
        );
      }
      return attempt;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.errno === constant.EBUSY || error.errno === constant.EEXIST) {
        throw new OperatorError(
          `interface ${on.name} already runs another XDP program (ip link show ${on.name}); ` +
            `remove it (ip link set ${on.name} xdp off, or detach its link) or choose another interface`,
          exitCode.system,
        );
      }
      logger.debug({ interface: on.name, mode: attempt, error: error.message }, 'XDP mode refused');
      if (attempt === attempts.at(-1)) {
        const hint = attempt === 'native' ? '; host.xdpMode: auto would fall back to generic mode' : '';
        throw new OperatorError(
          `cannot attach XDP in ${attempt} mode to ${on.name}: ${error.code}${hint}`,
          exitCode.system,
        );
      }
    }
  }
  throw new InvariantError('no XDP mode was tried');
}

function attachCheckSteering(backendsFd: number, interfaceIndex: number): void {
  const object = libbpf.openObject(objectPath('check_steering'));
  try {
    // The object's other maps are its own and go with it; only `backends` is used.
    libbpf.reuseMap(object, 'backends', backendsFd);
    for (const name of libbpf.mapNames(object)) {
      if (pinnedMaps.includes(name as 'backends') && name !== 'backends')
        libbpf.setMaxEntries(object, name, 1);
    }
    libbpf.loadObject(object, 'check_steering');
    libbpf.attachTcEgress(libbpf.programFd(object, 'check_steering'), interfaceIndex);
  } finally {
    libbpf.closeObject(object);
  }
}

/** The proxy's maps. */
interface LookupFds {
  readonly listeners: number;
  readonly sockets: number;
}

const lookupMaps = ['l7_listeners', 'l7_sockets', 'l7_lookup_stats'] as const;

function openLookupMaps(bpfFolder: string, logger: Logger): LookupFds {
  const object = libbpf.openObject(objectPath('l7_lookup'));
  try {
    const fds = new Map<string, number>();
    let loaded = false;
    for (const name of lookupMaps) {
      const path = pinPath(bpfFolder, name);
      let fd = libbpf.openPinned(path);
      if (fd === undefined) {
        if (!loaded) libbpf.loadObject(object, 'l7_lookup');
        loaded = true;
        libbpf.pin(libbpf.mapFd(object, name), path);
        logger.debug({ map: name }, 'map made');
        fd = libbpf.openPinned(path);
      }
      if (fd === undefined) throw new InvariantError(`${path} vanished`);
      fds.set(name, fd);
    }
    return { listeners: fds.get('l7_listeners') ?? -1, sockets: fds.get('l7_sockets') ?? -1 };
  } finally {
    libbpf.closeObject(object);
  }
}

async function attachLookup(bpfFolder: string, fds: LookupFds): Promise<void> {
  const object = libbpf.openObject(objectPath('l7_lookup'));
  const path = pinPath(bpfFolder, pinName.skLookupLink);
  try {
    libbpf.reuseMap(object, 'l7_listeners', fds.listeners);
    libbpf.reuseMap(object, 'l7_sockets', fds.sockets);
    const stats = libbpf.openPinned(pinPath(bpfFolder, 'l7_lookup_stats'));
    if (stats !== undefined) libbpf.reuseMap(object, 'l7_lookup_stats', stats);
    libbpf.loadObject(object, 'l7_lookup');
    const program = libbpf.programFd(object, 'l7_lookup');
    const existing = libbpf.openPinned(path);
    if (existing !== undefined) {
      await libbpf.updateLink(existing, program);
      closeFd(existing);
      return;
    }
    const namespace = openSync('/proc/self/ns/net', 'r');
    const link = libbpf.attachSkLookup(program, namespace);
    closeFd(namespace);
    libbpf.pin(link, path);
    closeFd(link);
  } finally {
    libbpf.closeObject(object);
  }
}
