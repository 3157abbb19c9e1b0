import type { Clock } from '@l4d/kit/clock.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { formatMacAddress } from '@l4d/kit/mac-address.ts';
import type { Egress } from '../../core/forwarding/egress.ts';
import { useAnnouncerMaps } from './announcer-maps.ts';
import { ensureBpfFolder, pinName } from './bpf-folder.ts';
import { objectPath, objectTypes } from './bpf-objects.ts';
import { createEgressTable } from './egress-table.ts';

import { readCopies, readEmbryos, readFlows } from './flow-reader.ts';
import { createForwardingMaps, type MapFds, objectMapName, pinnedMaps } from './forwarding-maps.ts';
import { createForwardingTable, type ForwardingTable } from './forwarding-table.ts';
import { createListenerTable } from './listener-table.ts';
import { createMapCodec } from './map-codec.ts';
import { createNatTable } from './nat-table.ts';
import {
  type DataPlaneCapacity,
  type MigrationStep,
  openOrMakeMaps,
  requirePinnedMaps,
} from './pinned-maps.ts';
import { attachLookup, holdsSockets, lookupIsAttached, openLookupMaps, readLookups } from './proxy-lookup.ts';
import { setReadOnlyData } from './read-only-data.ts';
import { openTickReader } from './tick.ts';
import {
  arrangeXdpLinks,
  attachXdpPrograms,
  dropXdpLinks,
  pinnedXdpInterface,
  pinnedXdpProgram,
  unpinStages,
  type XdpMode,
  type XdpPlace,
} from './xdp-attachment.ts';

/** What opening needs. */
export interface DataPlaneOptions {
  /** The host's folder in bpffs. */
  readonly bpfFolder: string;
  readonly capacity: DataPlaneCapacity;
  /** Whether each CPU has a flow table of its own before the shared one. */
  readonly flowTable: 'shared' | 'per-cpu';
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of the steps of a change of layout; for tests. */
  readonly onStep?: (step: MigrationStep) => void;
}

/** A program of ours on an interface. */
export interface Attachment {
  readonly interface: string;
  readonly mode: XdpMode;
  readonly programId: number;
}

/** One that this process made, with what its program was told. */
interface OwnAttachment extends Attachment {
  readonly told: string;
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
  const { capacity, onStep = () => undefined } = options;
  const opened = openOrMakeMaps({ bpfFolder, capacity, types, logger, onStep });
  const mapFds = opened.fds;
  const codec = createMapCodec(types);
  const maps = createForwardingMaps(mapFds, codec);
  if (options.flowTable === 'per-cpu') maps.makeTablesByCpu();
  else maps.removeTablesByCpu();
  const lookupFds = openLookupMaps(bpfFolder, logger);
  const forwarding = createForwardingTable(maps, options.clock, (contradiction) =>
    logger.warn({ contradiction }, 'what is in the kernel contradicts itself: the later entry is made anew'),
  );
  let attached: readonly OwnAttachment[] = [];
  /** Numbers that attached programs have as their own. */
  let ownNumbers: readonly number[] = [];
  const egress = createEgressTable(maps, () => new Set([...forwarding.usedEgress(), ...ownNumbers]));

  /** The main interface has the pin that it always had. */
  function placesOf(interfaces: readonly Egress[]): Array<XdpPlace & { readonly number: number }> {
    return interfaces.map((on, position) => {
      const number = egress.place(on);
      const linkPin = position === 0 ? pinName.xdpLink : `${pinName.xdpLink}_${number}`;
      return { on: { name: on.name, index: on.interfaceIndex, mac: on.mac }, linkPin, number };
    });
  }

  /** What the program of a place was told: the same is not loaded twice, which takes the processor for a while. */
  const toldOf = ({ on, number }: XdpPlace & { readonly number: number }) =>
    `${on.index} ${formatMacAddress(on.mac)} ${number}`;

  function runsAlready(place: XdpPlace & { readonly number: number }): OwnAttachment | undefined {
    const own = attached.find(({ told }) => told === toldOf(place));
    return own !== undefined && pinnedXdpProgram(bpfFolder, place.linkPin) === own.programId
      ? own
      : undefined;
  }

  async function attachTo(
    place: XdpPlace & { readonly number: number },
    mode: XdpMode | 'auto',
  ): Promise<OwnAttachment> {
    const object = libbpf.openObject(objectPath('l4d_xdp'));
    try {
      for (const name of pinnedMaps) libbpf.reuseMap(object, objectMapName(name), mapFds[name]);
      libbpf.reuseMap(object, 'l7_udp_flows', lookupFds.udpFlows);
      const pinOthers = useAnnouncerMaps(bpfFolder, object, types);
      setReadOnlyData(object, types, {
        mac: place.on.mac,
        egressFlags: codec.egressFlags(place.number),
        tableByCpu: options.flowTable === 'per-cpu',
      });
      libbpf.loadObject(object, 'l4d_xdp');
      pinOthers();
      const program = libbpf.programFd(object, 'l4d_xdp');
      const programs = { first: program, stages: libbpf.mapFd(object, 'stages') };
      const attachedMode = await attachXdpPrograms(bpfFolder, programs, place, mode, logger);
      return {
        interface: place.on.name,
        told: toldOf(place),
        mode: attachedMode,
        programId: libbpf.programInfo(program).id,
      };
    } finally {
      libbpf.closeObject(object);
    }
  }

  const tick = openTickReader();

  return {
    maps,
    forwarding,
    /** The stored flows of a family, in batches. */
    readFlows: (family: 4 | 6) => readFlows(mapFds, codec, family),
    /** First packets that are kept, alike. */
    readEmbryos: (family: 4 | 6) => readEmbryos(mapFds, codec, family),
    /** Copies that a CPU has, alike. */
    readCopies: (family: 4 | 6, cpu: number) => readCopies(mapFds, codec, family, cpu),
    /** The tick that flows are dated with now. */
    flowTick: tick.now,
    egress,
    listeners: createListenerTable(lookupFds.listeners),
    workersLive: () => holdsSockets(lookupFds.sockets),
    /** What became of connections to l7 VIPs, by name. */
    readLookups: () => readLookups(lookupFds.stats),
    nat: createNatTable(mapFds, types),

    /** How the program is attached to the main interface; undefined before attach. */
    attachment: (): Attachment | undefined => attached[0],

    /** How it is attached to each, the main interface first. */
    attachments: (): readonly Attachment[] => attached,

    /** Why the programs do not run as pinned on these interfaces, the main one first; undefined when they do. */
    attachmentProblem(interfaces: readonly Pick<Egress, 'name' | 'interfaceIndex'>[]): string | undefined {
      for (const [position, { name, interfaceIndex }] of interfaces.entries()) {
        const number = egress.numberOf(interfaceIndex);
        const pin = position === 0 ? pinName.xdpLink : `${pinName.xdpLink}_${number}`;
        if (pinnedXdpInterface(bpfFolder, pin) === interfaceIndex) continue;
        return `the XDP program is not attached${position === 0 ? '' : ` to ${name}`}`;
      }
      return lookupIsAttached(bpfFolder) ? undefined : 'the sk_lookup program is not attached';
    },

    /** Takes note that somebody else detached the programs (`l4d detach`). */
    forgetAttachment(): void {
      attached = [];
    },

    /**
     * Attaches the programs to the interfaces, the main one first, or swaps those of an earlier run without losing a
     * packet; those of other interfaces end. `auto` prefers native mode and falls back to generic with a warning.
     * Throws OperatorError when an interface has another XDP program or no mode works.
     */
    async attach(interfaces: readonly Egress[], mode: XdpMode | 'auto'): Promise<void> {
      const places = placesOf(interfaces);
      ownNumbers = places.map(({ number }) => number);
      arrangeXdpLinks(bpfFolder, places);
      // What began since the maps were copied: after the swap there is less to take, and no packet waits for it.
      opened.catchUp('before');
      const now: OwnAttachment[] = [];
      const begun: XdpPlace[] = [];
      for (const place of places) {
        const running = runsAlready(place);
        if (running === undefined) begun.push(place);
        now.push(running ?? (await attachTo(place, mode)));
      }
      attached = now;
      onStep('swapped');
      opened.catchUp('after');
      onStep('caught-up');
      const kept = places.map(({ linkPin }) => linkPin);
      const ended = dropXdpLinks(bpfFolder, kept);
      for (const interfaceIndex of ended) libbpf.detachTcEgress(interfaceIndex);
      unpinStages(
        bpfFolder,
        now.map(({ programId }) => programId),
      );
      for (const { on } of begun) attachCheckSteering(mapFds, on.index);
      opened.forgetOld();
      await attachLookup(bpfFolder, lookupFds, logger);
    },
  };
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
    const used: readonly string[] = ['backends', 'egress', 'vxlan_ends'];
    const present = libbpf.mapNames(object);
    for (const name of pinnedMaps) {
      const inObject = objectMapName(name);
      if (!present.includes(inObject)) continue;
      if (used.includes(name)) libbpf.reuseMap(object, inObject, fds[name]);
      else libbpf.setMaxEntries(object, inObject, 1);
    }
    libbpf.loadObject(object, 'check_steering');
    libbpf.attachTcEgress(libbpf.programFd(object, 'check_steering'), interfaceIndex);
  } finally {
    libbpf.closeObject(object);
  }
}
