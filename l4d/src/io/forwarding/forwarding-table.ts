import type { Clock } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { InvariantError, OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { anyPort, vipKeyText } from '../../core/desired/vip.ts';
import type { CountedVip } from '../../core/forwarding/flow-census.ts';
import {
  classesProxied,
  eligibleBackends,
  type HeldBackend,
  type HeldVip,
  planVip,
  tableOf,
  usesNat,
  type WantedBackend,
  type WantedSource,
  type WantedVip,
} from '../../core/forwarding/forwarding-plan.ts';
import { createIndexAllocator } from '../../core/forwarding/index-allocator.ts';
import { createRegionAllocator, type Region } from '../../core/forwarding/region-allocator.ts';
import type { TrafficCounter } from '../../core/forwarding/traffic-counter.ts';
import { createAddressEntries } from './address-entries.ts';
import { byAddress, type ForwardingEntry, keyOf, vxlanOf } from './forwarding-entry.ts';
import { type ClassCounters, classIndices, type ForwardingMaps } from './forwarding-maps.ts';
import { differenceFrom, readBack } from './forwarding-read-back.ts';
import type { ProxyListener } from './listener-table.ts';
import { ipProtocol } from './map-codec.ts';
import { createSourceLists } from './source-lists.ts';
import { createTunnelEndTable } from './tunnel-end-table.ts';

/** No program runs for longer than this after a table was replaced, so its slots may be used again. */
const tableGrace = Seconds(1);

/**
 * The VIPs in the kernel: adopts what is there, applies what is wanted by the planner's steps, and
 * reads back. One VIP's change touches that VIP's entries alone.
 */
export type ForwardingTable = ReturnType<typeof createForwardingTable>;

/** What entries of the flow tables are explained by. */
export interface ListedVip {
  /** As vipKeyText. */
  readonly identity: string;
  readonly address: IpAddress;
  readonly protocol: 'tcp' | 'udp';
  readonly idleTicks: number;
  /** Addresses of its backends by index. */
  readonly backends: ReadonlyMap<number, IpAddress>;
}

/**
 * Adopts the maps' content. What contradicts itself (two writers have been at it) is removed from the
 * kernel and told to `onContradiction`: applied again, it is programmed anew. Throws SyscallError.
 */
export function createForwardingTable(
  maps: ForwardingMaps,
  clock: Clock,
  onContradiction: (what: string) => void = () => undefined,
) {
  const vipIndices = createIndexAllocator(1, maps.capacity.vips);
  const backendIndices = createIndexAllocator(0, maps.capacity.backends);
  const regions = createRegionAllocator(maps.capacity.slots);
  const entries = new Map<string, ForwardingEntry>();
  const addresses = createAddressEntries(maps, (identity) => entries.get(identity)?.held);
  const natVips = new Set<string>();
  /** VIPs that have every port. */
  const anyPortVips = new Set<string>();
  const tunnelEnds = createTunnelEndTable(maps);
  const sourceLists = createSourceLists(maps, clock);

  adopt();

  return {
    /** Keys (vipKeyText) of the VIPs in the kernel. */
    identities: (): string[] => [...entries.keys()],

    /** What the kernel holds of a VIP. */
    held: (identity: string): HeldVip | undefined => entries.get(identity)?.held,

    /** Address, port and protocol of a VIP in the kernel. */
    listenerOf(identity: string): ProxyListener | undefined {
      const key = entries.get(identity)?.key;
      if (key === undefined) return undefined;
      const protocol = key.protocol === ipProtocol.tcp ? 'tcp' : 'udp';
      return { address: key.address, port: key.port, protocol };
    },

    /** Numbers of the interfaces by which backends are reached. */
    usedEgress(): Set<number> {
      return new Set([...entries.values()].flatMap(({ held }) => held.backends.map(({ egress }) => egress)));
    },

    /** Index of a backend, which marked checks name; undefined before it was applied. */
    backendIndex(identity: string, address: IpAddress): number | undefined {
      return this.heldBackend(identity, address)?.index;
    },

    /** A backend in the kernel. */
    heldBackend(identity: string, address: IpAddress): HeldBackend | undefined {
      const entry = entries.get(identity);
      return entry === undefined ? undefined : byAddress(entry.held.backends).get(formatIpAddress(address));
    },

    /**
     * Makes the kernel hold what is wanted; returns how many writes that took. Throws OperatorError
     * when a map is full (nothing of this VIP's table is changed then), SyscallError otherwise.
     */
    apply(wanted: WantedVip): number {
      const identity = vipKeyText(wanted);
      let entry = entries.get(identity);
      const operations = planVip(entry?.held, wanted);
      checkRoom(entry === undefined, operations);
      if (wanted.port === anyPort) {
        anyPortVips.add(identity);
        refreshFeatures();
      }
      if (usesNat(wanted)) noteNat(identity, true);
      if (entry === undefined) {
        entry = newEntry(wanted);
        entries.set(identity, entry);
      }
      // A table that was compared slot by slot need not be again.
      if (operations.length === 0) entry.held = { ...entry.held, tableKey: keyOf(wanted) };
      const backends = new Map(byAddress(entry.held.backends));
      try {
        for (const operation of operations) {
          if (operation.kind === 'write-backend') writeBackend(entry, backends, operation.backend);
          else if (operation.kind === 'write-vip') writeVip(entry, wanted, backends, operation);
          else {
            const text = formatIpAddress(operation.address);
            const gone = backends.get(text);
            if (gone !== undefined) freeBackend(entry.held.id, gone);
            backends.delete(text);
          }
        }
      } finally {
        if (operations.some(({ kind }) => kind !== 'write-vip')) {
          entry.held = { ...entry.held, backends: [...backends.values()] };
        }
      }
      addresses.add(wanted.address, identity);
      noteNat(identity, entry.held.usesNat);
      return operations.length;
    },

    /** Removes a VIP; false when the kernel does not hold it. */
    remove(identity: string): boolean {
      const entry = entries.get(identity);
      if (entry === undefined) return false;
      maps.deleteVip(entry.key);
      for (const backend of entry.held.backends) freeBackend(entry.held.id, backend);
      releaseLater(entry.region);
      sourceLists.release(identity);
      vipIndices.release(entry.held.id);
      entries.delete(identity);
      addresses.remove(entry.key.address, identity);
      if (anyPortVips.delete(identity)) refreshFeatures();
      noteNat(identity, false);
      return true;
    },

    /** Takes what the kernel holds of a VIP as the truth, after somebody else has changed it. */
    refresh(identity: string): void {
      const entry = entries.get(identity);
      if (entry === undefined) return;
      entry.held = readBack(maps, entry, (list) => {
        sourceLists.refresh(identity, list);
        return sourceLists.held(identity);
      });
    },

    /**
     * Reads a VIP back from the kernel and compares it with what is wanted: undefined when it is
     * there, else what is not.
     */
    verify(wanted: WantedVip): string | undefined {
      const entry = entries.get(vipKeyText(wanted));
      return entry === undefined
        ? 'the VIP is not in the kernel'
        : differenceFrom(maps, entry, wanted, (list) =>
            sourceLists.holds(vipKeyText(wanted), list, wanted.classes ?? []),
          );
    },

    /** Of a VIP with classes, what did not go to backends; undefined for others. */
    classCounters(identity: string): ClassCounters | undefined {
      const held = entries.get(identity)?.held;
      return held?.classes === undefined ? undefined : maps.readClassCounters(held.id);
    },

    vipCounter(identity: string): TrafficCounter | undefined {
      const entry = entries.get(identity);
      return entry === undefined ? undefined : maps.readVipCounter(entry.held.id);
    },

    /** The VIPs by their numbers in the kernel, as a pass over the flow table needs them. */
    countedVips: (): Map<number, CountedVip> =>
      new Map(
        [...entries.values()].map(({ held: { id, idleTicks, selection, backends } }) => [
          id,
          {
            idleTicks,
            ...(selection.by === 'load' && {
              compared: new Map(backends.map(({ index }) => [index, maps.readGeneration(index)])),
            }),
          },
        ]),
      ),

    /** The VIPs by their numbers in the kernel, as flows name them. */
    listedVips: (): Map<number, ListedVip> =>
      new Map(
        [...entries.entries()].map(([identity, { key, held }]) => [
          held.id,
          {
            identity,
            address: key.address,
            protocol: key.protocol === ipProtocol.tcp ? 'tcp' : 'udp',
            idleTicks: held.idleTicks,
            backends: new Map(held.backends.map(({ index, address }) => [index, address])),
          },
        ]),
      ),

    /** Generations of the backends whose loads are compared, by index. */
    comparedBackends: (): Map<number, number> =>
      new Map(
        [...entries.values()].flatMap(({ held }) =>
          held.selection.by === 'load'
            ? held.backends.map(({ index }) => [index, maps.readGeneration(index)] as const)
            : [],
        ),
      ),

    /** Flows that least-connections counts for a backend. */
    activeFlows(identity: string, address: IpAddress): number | undefined {
      const index = this.backendIndex(identity, address);
      return index === undefined ? undefined : Math.max(0, maps.readBackendFlows(index));
    },

    /**
     * Counters as of about now, for those who ask for most of them. A VIP or backend that the kernel does not hold has
     * none.
     */
    counters() {
      const ofVips = maps.snapshotVipCounters();
      const ofBackends = maps.snapshotBackendCounters();
      const ofClasses = once(() => maps.snapshotClassCounters());
      return {
        /** Of a VIP with classes. */
        class(identity: string, of: keyof ClassCounters, field: keyof TrafficCounter): number | undefined {
          const held = entries.get(identity)?.held;
          return held?.classes === undefined ? undefined : ofClasses()(classIndices(held.id)[of], field);
        },
        vip(identity: string, field: keyof TrafficCounter): number | undefined {
          const id = entries.get(identity)?.held.id;
          return id === undefined ? undefined : ofVips(id, field);
        },
        /** `place`: where the backend is likely among those of the VIP. */
        backend(
          identity: string,
          address: IpAddress,
          place: number,
          field: keyof TrafficCounter,
        ): number | undefined {
          const backends = entries.get(identity)?.held.backends ?? [];
          const likely = backends[place];
          const held =
            likely !== undefined && sameIpAddress(likely.address, address)
              ? likely
              : backends.find((backend) => sameIpAddress(backend.address, address));
          return held === undefined ? undefined : ofBackends(held.index, field);
        },
      };
    },

    backendCounter(identity: string, address: IpAddress): TrafficCounter | undefined {
      const index = this.backendIndex(identity, address);
      return index === undefined ? undefined : maps.readBackendCounter(index);
    },
  };

  function adopt(): void {
    const backendsOfVip = new Map<number, Map<string, HeldBackend>>();
    const serverIds = adoptServerIds();
    for (const [index, record] of maps.readAllBackends()) {
      backendIndices.claim(index);
      const list = backendsOfVip.get(record.vipId) ?? new Map<string, HeldBackend>();
      const text = formatIpAddress(record.address);
      if (list.has(text)) {
        onContradiction(`backend ${text} of VIP number ${record.vipId} is there twice`);
        freeIndex(index);
        continue;
      }
      const { address, state, forward, port, mac, egress } = record;
      const serverId = serverIds.get(index);
      const id = serverId === undefined ? {} : { serverId };
      list.set(text, {
        index,
        address,
        state,
        forward,
        port,
        mac,
        egress,
        ...vxlanOf(maps, index, forward),
        ...id,
      });
      tunnelEnds.use(index, { address, forward, egress, ...vxlanOf(maps, index, forward) });
      backendsOfVip.set(record.vipId, list);
    }
    sourceLists.adopt();
    for (const { key, record } of maps.readAllVips()) {
      if (record.isAddressEntry) {
        addresses.found(key.address);
        continue;
      }
      const protocol = key.protocol === ipProtocol.tcp ? 'tcp' : 'udp';
      const identity = vipKeyText({ address: key.address, port: key.port, protocol });
      const region = { offset: record.tableOffset, size: record.tableSize };
      const contradiction = !vipIndices.isFree(record.id)
        ? `number ${record.id} of ${identity} is taken or out of range`
        : !regions.claim(region)
          ? `the table of ${identity} overlaps another or the end of the map`
          : undefined;
      if (contradiction !== undefined) {
        onContradiction(contradiction);
        maps.deleteVip(key);
        // Without a VIP it goes below.
        addresses.found(key.address);
        continue;
      }
      sourceLists.claim(identity, record.sourceList);
      const held: HeldVip = {
        ...sourcesOf(identity),
        id: record.id,
        policy: record.policy,
        onBackendDown: record.onBackendDown,
        idleTicks: record.idleTicks,
        selection: record.selection,
        usesNat: record.usesNat,
        slots: maps.readSlots(region.offset, region.size),
        backends: [...(backendsOfVip.get(record.id)?.values() ?? [])],
      };
      vipIndices.claim(record.id);
      entries.set(identity, { key, held, region });
      addresses.adopt(key.address, identity);
      backendsOfVip.delete(record.id);
    }
    sourceLists.forgetOthers();
    // A crash between deleting a VIP and freeing its backends leaves them without an owner.
    for (const orphans of backendsOfVip.values()) {
      for (const orphan of orphans.values()) freeIndex(orphan.index);
    }
    // Likewise an address entry whose last VIP is gone.
    addresses.dropEmpty();
    tunnelEnds.forgetOthers();
    for (const [identity, { key, held }] of entries) {
      if (key.port === anyPort) anyPortVips.add(identity);
      if (held.usesNat) natVips.add(identity);
    }
    refreshFeatures();
    maps.setFeature('nat', natVips.size > 0);
  }

  /** Lets go of what no VIP uses any more. */
  function refreshFeatures(): void {
    maps.setFeature('any-port', anyPortVips.size > 0);
  }

  /** Server ids by backend index; those that name another VIP's backend, or none, are removed. */
  function adoptServerIds(): Map<number, string> {
    const lengths = new Map(
      maps.readAllVips().map(({ record }) => [record.id, record.selection.quic?.serverIdLength]),
    );
    const ids = new Map<number, string>();
    for (const { vipId, serverId, backend } of maps.readQuicServers()) {
      const length = lengths.get(vipId);
      if (length !== undefined && maps.readBackend(backend).vipId === vipId && !ids.has(backend)) {
        ids.set(backend, serverId.slice(0, 2 * length));
      } else maps.deleteQuicServer(vipId, serverId);
    }
    return ids;
  }

  /** Keeps count of the VIPs that use NAT: the program looks for answers of backends while there is one. */
  function noteNat(identity: string, isUsed: boolean): void {
    const before = natVips.size;
    if (isUsed) natVips.add(identity);
    else natVips.delete(identity);
    if ((before === 0) !== (natVips.size === 0)) maps.setFeature('nat', natVips.size > 0);
  }

  function checkRoom(isNewVip: boolean, operations: ReturnType<typeof planVip>): void {
    const newBackends = operations.filter(
      (operation) => operation.kind === 'write-backend' && operation.isNew,
    ).length;
    if (isNewVip && vipIndices.used + 1 >= maps.capacity.vips) {
      throw new OperatorError(
        `no room for another VIP: all ${vipIndices.used} are in use (raise host.capacity.vips)`,
      );
    }
    if (backendIndices.used + newBackends > maps.capacity.backends) {
      const free = maps.capacity.backends - backendIndices.used;
      throw new OperatorError(
        `no room for ${newBackends} more backends: ${free} of ${maps.capacity.backends} are free ` +
          '(raise host.capacity.backends)',
      );
    }
  }

  function newEntry(wanted: WantedVip): ForwardingEntry {
    const protocol = ipProtocol[wanted.protocol];
    const id = vipIndices.take();
    maps.clearVipCounter(id);
    return {
      key: { address: wanted.address, port: wanted.port, protocol },
      held: {
        id,
        policy: wanted.policy,
        onBackendDown: wanted.onBackendDown,
        idleTicks: -1,
        selection: wanted.selection,
        usesNat: false,
        slots: new Uint32Array(0),
        backends: [],
      },
      region: { offset: 0, size: 0 },
    };
  }

  function writeBackend(
    entry: ForwardingEntry,
    backends: Map<string, HeldBackend>,
    backend: WantedBackend,
  ): void {
    const text = formatIpAddress(backend.address);
    const existing = backends.get(text);
    const index = existing?.index ?? backendIndices.take();
    const generation = maps.readGeneration(index);
    // An index that was never freed has had no owner that counted.
    if (existing === undefined && generation !== 0) {
      maps.clearBackendCounter(index);
      maps.clearBackendLoad(index);
    }
    const { serverId } = backend;
    if (existing?.serverId !== serverId) {
      if (existing?.serverId !== undefined) forgetServerId(entry.held.id, existing.serverId, index);
      if (serverId !== undefined) maps.writeQuicServer(entry.held.id, serverId, index);
    }
    // The end before what names it; and the other way round when it goes.
    if (backend.vxlan !== undefined) maps.writeVxlanEnd(index, backend.vxlan);
    tunnelEnds.use(index, backend);
    maps.writeBackend(index, {
      mac: backend.mac,
      state: backend.state,
      forward: backend.forward,
      egress: backend.egress,
      port: backend.port,
      generation,
      vipId: entry.held.id,
      address: backend.address,
    });
    if (backend.vxlan === undefined && existing?.vxlan !== undefined) maps.deleteVxlanEnd(index);
    const { address, state, forward, port, mac, egress, vxlan } = backend;
    backends.set(text, {
      ...{ index, address, state, forward, port, mac, egress },
      ...(vxlan === undefined ? {} : { vxlan }),
      ...(serverId === undefined ? {} : { serverId }),
    });
  }

  function writeVip(
    entry: ForwardingEntry,
    wanted: WantedVip,
    backends: ReadonlyMap<string, HeldBackend>,
    { table, usesNat: asksNat }: Extract<ReturnType<typeof planVip>[number], { kind: 'write-vip' }>,
  ): void {
    let { region } = entry;
    let { slots } = entry.held;
    if (wanted.selection.by === 'load') {
      // One that is new comes into the kernel before a table names it, and has its weight written then.
      const eligible = eligibleBackends(wanted).filter(
        ({ address }) => table !== 'unchanged' || backends.has(formatIpAddress(address)),
      );
      for (const [place, index] of indicesOf(backends, eligible).entries()) {
        maps.writeBackendWeight(index, eligible[place]?.weight ?? 0);
      }
    }
    // Another list each time: a packet sees the one of before or this one, whole.
    const sourceList = sourceLists.write(vipKeyText(wanted), wanted.classes ?? []);
    const oldRegion = region;
    if (table !== 'unchanged') {
      const indices = indicesOf(backends, table);
      slots = tableOf(table, wanted);
      for (let slot = 0; slot < slots.length; slot++) slots[slot] = indices[slots[slot] as number] as number;
      const taken = slots.length === 0 ? { offset: 0, size: 0 } : regions.take(slots.length);
      if (taken === undefined) {
        throw new OperatorError(
          `no room for a Maglev table of ${slots.length} slots: ${regions.free} of ${maps.capacity.slots} are free ` +
            'but no run of them is long enough (raise host.capacity.tableSlots, or lower tableSize)',
        );
      }
      region = taken;
      maps.writeSlots(region.offset, slots);
    }
    maps.writeVip(entry.key, {
      sourceList,
      isProxied: classesProxied(wanted),
      id: entry.held.id,
      policy: wanted.policy,
      onBackendDown: wanted.onBackendDown,
      isAddressEntry: false,
      tableOffset: region.offset,
      tableSize: region.size,
      idleTicks: wanted.idleTicks,
      selection: wanted.selection,
      usesNat: asksNat,
    });
    sourceLists.settle(vipKeyText(wanted));
    entry.region = region;
    const { policy, onBackendDown, idleTicks, selection } = wanted;
    const settings = { policy, onBackendDown, idleTicks, selection, usesNat: asksNat };
    // A table that is written later in the plan is not compared by its key before.
    const built = table === 'unchanged' ? entry.held.tableKey : keyOf(wanted);
    const { tableKey: _, classes: _sources, ...held } = entry.held;
    entry.held = {
      ...held,
      ...sourcesOf(vipKeyText(wanted)),
      ...settings,
      slots,
      ...(built === undefined ? {} : { tableKey: built }),
    };
    if (table !== 'unchanged') releaseLater(oldRegion);
  }

  /** Indices of backends that are in the kernel, in their order. */
  function indicesOf(
    held: ReadonlyMap<string, HeldBackend>,
    backends: readonly WantedBackend[],
  ): Uint32Array {
    return Uint32Array.from(backends, ({ address }) => {
      const index = held.get(formatIpAddress(address))?.index;
      if (index === undefined) throw new InvariantError(`backend ${formatIpAddress(address)} has no index`);
      return index;
    });
  }

  function freeBackend(vipId: number, { index, serverId }: HeldBackend): void {
    if (serverId !== undefined) forgetServerId(vipId, serverId, index);
    freeIndex(index);
  }

  /** Takes a server id from a backend, unless the same change has given it to another one already. */
  function forgetServerId(vipId: number, serverId: string, index: number): void {
    if (maps.readQuicServer(vipId, serverId) === index) maps.deleteQuicServer(vipId, serverId);
  }

  function freeIndex(index: number): void {
    const record = maps.readBackend(index);
    // The new generation makes flows of the old owner find nothing.
    maps.writeBackend(index, {
      ...record,
      mac: undefined,
      state: 'up',
      forward: 'l2',
      egress: 0,
      port: undefined,
      generation: record.generation + 1,
      vipId: 0,
    });
    if (record.forward === 'vxlan') maps.deleteVxlanEnd(index);
    tunnelEnds.use(index, undefined);
    backendIndices.release(index);
  }

  function releaseLater(region: Region): void {
    if (region.size > 0) clock.after(tableGrace, () => regions.release(region));
  }

  function sourcesOf(identity: string): { readonly classes?: readonly WantedSource[] } {
    const classes = sourceLists.held(identity);
    return classes.length === 0 ? {} : { classes };
  }
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
