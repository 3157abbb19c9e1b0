import { InvariantError, OperatorError, SyscallError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd, mapShared } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Egress } from '../../core/forwarding/egress.ts';
import type { FlowSettings } from '../../core/forwarding/flow-settings.ts';
import type { VipPolicy } from '../../core/forwarding/forwarding-plan.ts';
import type { FragmentHost } from '../../core/forwarding/fragment-hosts.ts';
import type { NatSettings } from '../../core/forwarding/nat-settings.ts';
import {
  type ProxyFar,
  type ProxyHost,
  type ProxySlot,
  proxySlots,
} from '../../core/forwarding/proxy-hosts.ts';
import type { TrafficCounter } from '../../core/forwarding/traffic-counter.ts';
import type { TunnelEnd } from '../../core/forwarding/tunnel-end.ts';
import type { VxlanEnd } from '../../core/forwarding/vxlan-end.ts';
import { type CounterSnapshot, openCounterSnapshot } from './counter-snapshot.ts';
import type { BackendRecord, Feature, MapCodec, SourceRecord, VipKey, VipRecord } from './map-codec.ts';
import { createSharedValues } from './shared-values.ts';

/** Names of the maps that are pinned: the whole state of the data plane. */
export const pinnedMaps = [
  'vips4',
  'vips6',
  'vip_epoch',
  'maglev_slots',
  'backends',
  'flows4',
  'flows6',
  'flows4_by_cpu',
  'flows6_by_cpu',
  'embryonic4',
  'embryonic6',
  'flow_settings',
  'vip_turns',
  'backend_loads',
  'quic_servers',
  'vip_sources',
  'vip_counters',
  'class_counters',
  'backend_counters',
  'reasons',
  'egress',
  'egress_devices',
  'vxlan_ends',
  'tunnel_ends',
  'path_mtu_tick',
  'features',
  'fragments',
  'fragment_hosts',
  'proxy_slots',
  'proxy_marks',
  'proxy_far',
  'proxy_far_numbers',
  'nat_settings',
  'nat4_out',
  'nat4_in',
  'nat6_out',
  'nat6_in',
] as const;

/** Maps that are data sections, which pins may not be named like. */
const sections: Partial<Record<(typeof pinnedMaps)[number], string>> = {
  features: '.data.features',
  path_mtu_tick: '.data.path_mtu',
};

/** Name of a pinned map within the object. */
export function objectMapName(name: (typeof pinnedMaps)[number]): string {
  return sections[name] ?? name;
}

/** Of a VIP with sources, what does not go to backends. */
export interface ClassCounters {
  readonly l7: TrafficCounter;
  readonly drop: TrafficCounter;
}

/** Slots in one element of `maglev_slots` (SLOTS_PER_PAIR of bpf/include/l4d.h). */
export const slotsPerPair = 2;

/** Descriptors by map name. */
export type MapFds = Readonly<Record<(typeof pinnedMaps)[number], number>>;

/** Typed access to the pinned maps. All calls are direct system calls; they throw SyscallError. */
export type ForwardingMaps = ReturnType<typeof createForwardingMaps>;

const slotSize = 4;
/** Words of struct backend_load: flows, weight. */
const loadWords = 2;
const loadSize = 4 * loadWords;
/** Of struct proxy_host; a slot has two. */
const proxyHostSize = 8;
const pageSize = 4096;
const wholePages = (bytes: number): number => Math.ceil(bytes / pageSize) * pageSize;

/** Access to the maps behind `fds`, which stay open for as long as it is used. */
export function createForwardingMaps(fds: MapFds, codec: MapCodec) {
  const cpus = libbpf.possibleCpus();
  const capacity = {
    vips: Math.min(libbpf.mapInfo(fds.vips4).maxEntries, libbpf.mapInfo(fds.vip_counters).maxEntries),
    backends: libbpf.mapInfo(fds.backends).maxEntries,
    slots: libbpf.mapInfo(fds.maglev_slots).maxEntries * slotsPerPair,
    flows: libbpf.mapInfo(fds.flows4).maxEntries,
    sources: libbpf.mapInfo(fds.vip_sources).maxEntries,
    natFlows: libbpf.mapInfo(fds.nat4_in).maxEntries,
  };
  const slotBytes = mapShared(fds.maglev_slots, wholePages(capacity.slots * slotSize));
  const slots = new Uint32Array(slotBytes.buffer, slotBytes.byteOffset, capacity.slots);
  const epochBytes = mapShared(fds.vip_epoch, pageSize);
  const vipEpoch = new Uint32Array(epochBytes.buffer, epochBytes.byteOffset, 1);
  const loadBytes = mapShared(fds.backend_loads, wholePages(capacity.backends * loadSize));
  const loads = new Int32Array(loadBytes.buffer, loadBytes.byteOffset, capacity.backends * loadWords);
  const proxySlotBytes = mapShared(fds.proxy_slots, wholePages(proxySlots * 2 * proxyHostSize));
  const proxyWords = new BigUint64Array(proxySlotBytes.buffer, proxySlotBytes.byteOffset, proxySlots * 2);
  /** Features that were said to be used or not, and those that are. */
  let [told, used] = [0, 0];
  const shared = createSharedValues();
  let deletedTunnelEnds = 0;
  const vipMap = (family: 4 | 6) => (family === 4 ? fds.vips4 : fds.vips6);
  // A writer before may have been killed between a change and telling of it.
  tellVipsChanged();

  return {
    capacity,

    readVip(key: VipKey): VipRecord | undefined {
      const value = new Uint8Array(codec.vipSize);
      const found = libbpf.lookupElement(vipMap(key.address.family), codec.encodeVipKey(key), value);
      return found ? codec.decodeVip(value) : undefined;
    },

    writeVip(key: VipKey, record: VipRecord): void {
      libbpf.updateElement(vipMap(key.address.family), codec.encodeVipKey(key), codec.encodeVip(record));
      tellVipsChanged();
    },

    deleteVip(key: VipKey): boolean {
      const existed = libbpf.deleteElement(vipMap(key.address.family), codec.encodeVipKey(key));
      tellVipsChanged();
      return existed;
    },

    readAllVips(): Array<{ key: VipKey; record: VipRecord }> {
      const all: Array<{ key: VipKey; record: VipRecord }> = [];
      for (const family of [4, 6] as const) {
        for (const bytes of libbpf.mapKeys(vipMap(family), codec.vipKeySize(family))) {
          const value = new Uint8Array(codec.vipSize);
          if (!libbpf.lookupElement(vipMap(family), bytes, value)) continue;
          all.push({ key: codec.decodeVipKey(family, bytes), record: codec.decodeVip(value) });
        }
      }
      return all;
    },

    /** Writes one prefix of a list of sources. Throws OperatorError when the map is full. */
    writeSource(source: SourceRecord): void {
      try {
        libbpf.updateElement(
          fds.vip_sources,
          codec.encodeSourceKey(source),
          codec.encodeSourceClass(source.policy),
        );
      } catch (error) {
        if (!(error instanceof SyscallError) || error.code !== 'ENOSPC') throw error;
        throw new OperatorError(
          `no room for another prefix in sources: all VIPs together may have about ${capacity.sources / 2}`,
        );
      }
    },

    deleteSource(source: SourceRecord): boolean {
      return libbpf.deleteElement(fds.vip_sources, codec.encodeSourceKey(source));
    },

    /** What a list says of the clients of a prefix as a whole; undefined: nothing. */
    readSource(list: number, prefix: IpPrefix): VipPolicy | undefined {
      const key = codec.encodeSourceKey({ list, prefix });
      const value = new Uint8Array(4);
      return libbpf.lookupElement(fds.vip_sources, key, value)
        ? codec.decodeSource(key, value).policy
        : undefined;
    },

    /** Every source of every list. */
    readAllSources(): SourceRecord[] {
      return libbpf.mapKeys(fds.vip_sources, codec.sourceKeySize).flatMap((key) => {
        const value = new Uint8Array(4);
        return libbpf.lookupElement(fds.vip_sources, key, value) ? [codec.decodeSource(key, value)] : [];
      });
    },

    readBackend: (index: number): BackendRecord => codec.decodeBackend(backendBytes(index)),

    /** How often an index was freed. */
    readGeneration: (index: number): number => codec.backendGeneration(backendBytes(index)),

    writeBackend(index: number, record: BackendRecord): void {
      libbpf.updateElement(fds.backends, indexKey(index), codec.encodeBackend(record));
    },

    /** Every used entry, by index. */
    readAllBackends(): Map<number, BackendRecord> {
      const values = libbpf.lookupArray(fds.backends, codec.backendSize, capacity.backends);
      const view = new DataView(values.buffer);
      const used = new Map<number, BackendRecord>();
      for (let index = 0; index < capacity.backends; index++) {
        const at = index * codec.backendSize;
        if (view.getBigUint64(at, true) === 0n && view.getBigUint64(at + 8, true) === 0n) continue;
        const record = codec.decodeBackend(values.subarray(at, at + codec.backendSize));
        if (record.vipId !== 0) used.set(index, record);
      }
      return used;
    },

    readSlots: (offset: number, size: number): Uint32Array => slots.slice(offset, offset + size),

    writeSlots(offset: number, values: Uint32Array): void {
      slots.set(values, offset);
    },

    /** Starts the count of a backend's flows anew. */
    clearBackendLoad(index: number): void {
      Atomics.store(loads, index * loadWords, 0);
    },

    /** What least-connections weighs the flows of a backend with. */
    writeBackendWeight(index: number, weight: number): void {
      loads[index * loadWords + 1] = weight;
    },

    /**
     * Flows that the programs count for a backend; kept for VIPs that compare them alone. Below zero for a moment, when
     * ends were counted of flows whose begins were not.
     */
    readBackendFlows: (index: number): number => loads[index * loadWords] ?? 0,

    /** Corrects that count; the programs add to it in the same moment. */
    addBackendFlows(index: number, change: number): void {
      Atomics.add(loads, index * loadWords, change);
    },

    /** Gives each CPU a flow table of its share of the shared one's size, where it has none. Throws SyscallError. */
    makeTablesByCpu(): void {
      const entries = Math.ceil(capacity.flows / cpus);
      for (const family of [4, 6] as const) {
        const outer = family === 4 ? fds.flows4_by_cpu : fds.flows6_by_cpu;
        for (let cpu = 0; cpu < cpus; cpu++) {
          if (libbpf.lookupElement(outer, indexKey(cpu), new Uint8Array(4))) continue;
          const { key, value } = codec.flowSizes(family);
          const inner = libbpf.createLruMap(`flows${family}_of_cpu`, key, value, entries);
          libbpf.updateElement(outer, indexKey(cpu), indexKey(inner));
          closeFd(inner);
        }
      }
    },

    /** Frees those tables. */
    removeTablesByCpu(): void {
      for (const outer of [fds.flows4_by_cpu, fds.flows6_by_cpu]) {
        for (let cpu = 0; cpu < cpus; cpu++) libbpf.deleteElement(outer, indexKey(cpu));
      }
    },

    writeFlowSettings(settings: FlowSettings): void {
      libbpf.updateElement(fds.flow_settings, indexKey(0), codec.encodeFlowSettings(settings));
    },

    writeQuicServer(vipId: number, serverId: string, backend: number): void {
      libbpf.updateElement(fds.quic_servers, codec.encodeQuicServer({ vipId, serverId }), indexKey(backend));
    },

    /** Index of the backend of a server id. */
    readQuicServer(vipId: number, serverId: string): number | undefined {
      const value = new Uint8Array(4);
      const found = libbpf.lookupElement(
        fds.quic_servers,
        codec.encodeQuicServer({ vipId, serverId }),
        value,
      );
      return found ? new DataView(value.buffer).getUint32(0, true) : undefined;
    },

    deleteQuicServer(vipId: number, serverId: string): void {
      libbpf.deleteElement(fds.quic_servers, codec.encodeQuicServer({ vipId, serverId }));
    },

    /** Backend index by VIP and server id; the id with the zeros behind it that the key has. */
    readQuicServers(): Array<{ vipId: number; serverId: string; backend: number }> {
      return libbpf.mapKeys(fds.quic_servers, codec.quicServerSize).flatMap((key) => {
        const value = new Uint8Array(4);
        if (!libbpf.lookupElement(fds.quic_servers, key, value)) return [];
        const backend = new DataView(value.buffer).getUint32(0, true);
        return [{ ...codec.decodeQuicServer(key), backend }];
      });
    },

    /** Where a backend with `forward: vxlan` is; undefined when nothing is said of that index. */
    readVxlanEnd(index: number): VxlanEnd | undefined {
      const value = new Uint8Array(codec.vxlanEndSize);
      return libbpf.lookupElement(fds.vxlan_ends, indexKey(index), value)
        ? codec.decodeVxlanEnd(value)
        : undefined;
    },

    writeVxlanEnd(index: number, end: VxlanEnd): void {
      libbpf.updateElement(fds.vxlan_ends, indexKey(index), codec.encodeVxlanEnd(end));
    },

    deleteVxlanEnd: (index: number): boolean => libbpf.deleteElement(fds.vxlan_ends, indexKey(index)),

    /** What is known of the way to an end of tunnels; undefined when it is not in the kernel. */
    readTunnelEnd(remote: IpAddress): TunnelEnd | undefined {
      const value = new Uint8Array(codec.tunnelEndSize);
      return libbpf.lookupElement(fds.tunnel_ends, codec.encodeTunnelEndKey(remote), value)
        ? codec.decodeTunnelEnd(value)
        : undefined;
    },

    /** Tells the programs of an end of tunnels, and by which interface it is reached; what is known of the way stays. */
    writeTunnelEnd(remote: IpAddress, egress: number): void {
      const key = codec.encodeTunnelEndKey(remote);
      const value = new Uint8Array(codec.tunnelEndSize);
      const isKnown = libbpf.lookupElement(fds.tunnel_ends, key, value);
      if (isKnown && codec.decodeTunnelEnd(value).egress === egress) return;
      codec.setTunnelEndEgress(value, egress);
      libbpf.updateElement(fds.tunnel_ends, key, value);
    },

    deleteTunnelEnd(remote: IpAddress): boolean {
      deletedTunnelEnds += 1;
      return libbpf.deleteElement(fds.tunnel_ends, codec.encodeTunnelEndKey(remote));
    },

    /** How often an end of tunnels was taken out: what was read of them before may be of one that is gone. */
    deletedTunnelEnds: (): number => deletedTunnelEnds,

    /** All ends of tunnels that the kernel has. */
    readTunnelEnds(): Array<{ readonly remote: IpAddress; readonly end: TunnelEnd }> {
      const sizes = { key: codec.tunnelEndKeySize, value: codec.tunnelEndSize };
      const all: Array<{ readonly remote: IpAddress; readonly end: TunnelEnd }> = [];
      for (let cursor: Uint8Array | undefined; ; ) {
        const read = libbpf.lookupHash(fds.tunnel_ends, sizes.key, sizes.value, 4096, cursor);
        for (let n = 0; n < read.count; n++) {
          all.push({
            remote: codec.decodeTunnelEndKey(read.keys.subarray(n * sizes.key, (n + 1) * sizes.key)),
            end: codec.decodeTunnelEnd(read.values.subarray(n * sizes.value, (n + 1) * sizes.value)),
          });
        }
        if (read.cursor === undefined) return all;
        cursor = read.cursor;
      }
    },

    /** Names of the interfaces by number; empty: the number is free. */
    readEgressNames(): string[] {
      return Array.from({ length: codec.egressCount }, (_, number) => {
        const value = new Uint8Array(codec.egressSize);
        libbpf.lookupElement(fds.egress, indexKey(number), value);
        return codec.decodeEgressName(value);
      });
    },

    /** Gives a number to an interface, or (undefined) takes it away. */
    writeEgress(number: number, egress: Egress | undefined): void {
      if (egress === undefined) {
        libbpf.deleteElement(fds.egress_devices, indexKey(number));
        libbpf.updateElement(fds.egress, indexKey(number), new Uint8Array(codec.egressSize));
        return;
      }
      libbpf.updateElement(fds.egress_devices, indexKey(number), indexKey(egress.interfaceIndex));
      libbpf.updateElement(fds.egress, indexKey(number), codec.encodeEgress(egress));
    },

    /** Who may place fragments; at most `maxFragmentHosts`. */
    writeFragmentHosts(hosts: readonly FragmentHost[]): void {
      const value = codec.encodeFragmentHosts(hosts);
      shared.set('the hosts that may place fragments', fds.fragment_hosts, value);
    },

    /** Who may hand connections of the proxy over: `known`, this host too. Of others, what they send is a client's. */
    writeProxyMarks(known: readonly ProxyHost[]): void {
      const marks = known.flatMap((host) => codec.encodeProxyMarks(host));
      const wanted = new Set(marks.map(({ key }) => Buffer.from(key).toString('hex')));
      for (const { key, mark } of marks) libbpf.updateElement(fds.proxy_marks, key, indexKey(mark));
      for (const key of libbpf.mapKeys(fds.proxy_marks, codec.proxyMarkSize)) {
        if (!wanted.has(Buffer.from(key).toString('hex'))) libbpf.deleteElement(fds.proxy_marks, key);
      }
    },

    /** Which host's proxy gets the connections of each slot; without slots each host keeps what it gets. */
    writeProxySlots(hosts: readonly ProxyHost[], slots: readonly ProxySlot[]): void {
      const words = hosts.map((host) => codec.proxyHostWord(host));
      const askedFirst = hosts.map((host) => codec.proxyHostWord(host, true));
      for (let index = 0; index < proxySlots; index++) {
        const { owner, alternate, isAlternateFirst } = slots[index] ?? { owner: -1, alternate: undefined };
        const other = isAlternateFirst === true ? askedFirst : words;
        proxyWords[2 * index] = words[owner] ?? 0n;
        proxyWords[2 * index + 1] = other[alternate ?? -1] ?? 0n;
      }
    },

    /** The ways to hosts in other subnets; what comes from other addresses is no packet of a host. */
    writeProxyFar(hosts: readonly ProxyFar[]): void {
      const wanted = new Map(
        hosts.map((host) => [Buffer.from(codec.encodeTunnelEndKey(host.remote)).toString('hex'), host]),
      );
      for (const key of libbpf.mapKeys(fds.proxy_far_numbers, codec.tunnelEndKeySize)) {
        if (wanted.has(Buffer.from(key).toString('hex'))) continue;
        for (const name of farNames(codec.decodeTunnelEndKey(key))) shared.forget(name);
        libbpf.deleteElement(fds.proxy_far_numbers, key);
      }
      for (const host of hosts) {
        const [way, number] = farNames(host.remote);
        const key = codec.encodeTunnelEndKey(host.remote);
        shared.set(way, fds.proxy_far, codec.encodeProxyFar(host), indexKey(host.number));
        shared.set(number, fds.proxy_far_numbers, indexKey(host.number), key);
      }
    },

    /** The numbers of hosts in other subnets that the kernel has. */
    readProxyFarNumbers(): Array<{ readonly remote: IpAddress; readonly number: number }> {
      return libbpf.mapKeys(fds.proxy_far_numbers, codec.tunnelEndKeySize).flatMap((key) => {
        const value = new Uint8Array(4);
        if (!libbpf.lookupElement(fds.proxy_far_numbers, key, value)) return [];
        return [
          { remote: codec.decodeTunnelEndKey(key), number: new DataView(value.buffer).getUint32(0, true) },
        ];
      });
    },

    writeNatSettings(settings: NatSettings): void {
      shared.set('the settings of NAT', fds.nat_settings, codec.encodeNatSettings(settings));
    },

    /** Says whether anything on this host uses a part of the program that most packets do not need. */
    setFeature(feature: Feature, isUsed: boolean): void {
      const before = readFeatures();
      const bit = codec.featureBit(feature);
      told |= bit;
      used = isUsed ? used | bit : used & ~bit;
      const after = isUsed ? before | bit : before & ~bit;
      if (after === before) return;
      libbpf.updateElement(fds.features, indexKey(0), indexKey(after));
      // Some decide how a VIP is found.
      tellVipsChanged();
    },

    /** What all VIPs share and the kernel holds otherwise than it was written last, in words; undefined: nothing. */
    sharedDifference(): string | undefined {
      return (readFeatures() & told) === used
        ? shared.difference()
        : 'the parts of the program that are in use';
    },

    /** Writes all of that again. */
    writeSharedAgain(): void {
      libbpf.updateElement(fds.features, indexKey(0), indexKey((readFeatures() & ~told) | used));
      shared.writeAgain();
      tellVipsChanged();
    },

    hasFeature: (feature: Feature): boolean => (readFeatures() & codec.featureBit(feature)) !== 0,

    clearVipCounter(id: number): void {
      clear(fds.vip_counters, id, codec.counterSize);
      for (const index of Object.values(classIndices(id)))
        clear(fds.class_counters, index, codec.counterSize);
    },
    /** What a VIP with sources has given to the proxy, and dropped by class. */
    readClassCounters(id: number): ClassCounters {
      const { l7, drop } = classIndices(id);
      return { l7: readCounter(fds.class_counters, l7), drop: readCounter(fds.class_counters, drop) };
    },
    clearBackendCounter: (index: number) => clear(fds.backend_counters, index, codec.counterSize),
    readVipCounter: (id: number): TrafficCounter => readCounter(fds.vip_counters, id),
    readBackendCounter: (index: number): TrafficCounter => readCounter(fds.backend_counters, index),

    /** Counters of VIPs by number: see CounterSnapshot. */
    snapshotVipCounters: (): CounterSnapshot =>
      openCounterSnapshot(fds.vip_counters, codec, cpus, libbpf.mapInfo(fds.vip_counters).maxEntries),
    /** Counters of their classes, alike; see classIndices. */
    snapshotClassCounters: (): CounterSnapshot =>
      openCounterSnapshot(fds.class_counters, codec, cpus, libbpf.mapInfo(fds.class_counters).maxEntries),
    /** Counters of backends by index, alike. */
    snapshotBackendCounters: (): CounterSnapshot =>
      openCounterSnapshot(fds.backend_counters, codec, cpus, libbpf.mapInfo(fds.backend_counters).maxEntries),

    /** Packets by reason since the maps were made. */
    readReasons(): Record<string, number> {
      const counts: Record<string, number> = {};
      for (const [index, name] of codec.reasonNames.entries()) {
        const value = new Uint8Array(8 * cpus);
        libbpf.lookupElement(fds.reasons, indexKey(index), value);
        counts[name] = Number(new BigUint64Array(value.buffer).reduce((sum, one) => sum + one, 0n));
      }
      return counts;
    },
  };

  function readFeatures(): number {
    const value = new Uint8Array(4);
    if (!libbpf.lookupElement(fds.features, indexKey(0), value)) throw new SyscallError('read features', 2);
    return new Uint32Array(value.buffer)[0] ?? 0;
  }

  /** After each change: what the processors remember of VIPs no longer holds. Others may write it too. */
  function tellVipsChanged(): void {
    Atomics.add(vipEpoch, 0, 1);
  }

  function backendBytes(index: number): Uint8Array {
    const value = new Uint8Array(codec.backendSize);
    if (!libbpf.lookupElement(fds.backends, indexKey(index), value)) {
      throw new InvariantError(`backend index ${index} lies outside its map`);
    }
    return value;
  }

  function readCounter(fd: number, index: number): TrafficCounter {
    const value = new Uint8Array(codec.counterSize * cpus);
    if (!libbpf.lookupElement(fd, indexKey(index), value)) throw new SyscallError('read counter', 2);
    return codec.sumCounter(value);
  }

  function clear(fd: number, index: number, size: number): void {
    libbpf.updateElement(fd, indexKey(index), new Uint8Array(size * cpus));
  }
}

/** Where in `class_counters` those of a VIP are. */
export function classIndices(id: number): Readonly<Record<keyof ClassCounters, number>> {
  return { l7: 2 * id, drop: 2 * id + 1 };
}

function indexKey(index: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(index).buffer);
}

/** What is read back of a host in another subnet. */
function farNames(remote: IpAddress): readonly [way: string, number: string] {
  const text = formatIpAddress(remote);
  return [`the way to the host ${text}`, `the number of the host ${text}`];
}
